// What the README shows is run as it is shown, and prints what it says.

import { execFile } from 'node:child_process'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import test from 'ava'
import { ConnectionPool } from 'pglisten'
import { serverDsn } from './support/server.js'

const root = path.resolve(import.meta.dirname, '..')
// Inside node_modules, from where `pglisten` is found as for any user of the package.
const folder = path.join(root, 'node_modules', '.cache', `readme-${process.pid}`)

/** Databases of their own, so that nobody else notifies on the examples' channels. */
async function withDatabase<Result>(
  name: string,
  work: (dsn: string) => Promise<Result>,
): Promise<Result> {
  const dsn = await serverDsn()
  await using pool = new ConnectionPool(dsn)
  await using connection = await pool.connection()
  const database = `readme_${name}_${process.pid}`
  await connection.executeBatch(`CREATE DATABASE ${database}`)
  try {
    const url = new URL(dsn)
    url.pathname = `/${database}`
    return await work(url.href)
  } finally {
    await connection.executeBatch(`DROP DATABASE ${database}`)
  }
}

test.before(() => mkdir(folder, { recursive: true }))
test.after.always(() => rm(folder, { recursive: true, force: true }))

async function blocks(language: string): Promise<string[]> {
  const readme = await readFile(path.join(root, 'README.md'), 'utf8')
  return [...readme.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'gms'))].map(
    (match) => match[1]!,
  )
}

/** Runs a program in a process of its own; gives what it printed. */
async function run(name: string, source: string): Promise<string> {
  const file = path.join(folder, `${name}.mts`)
  await writeFile(file, source)
  return withDatabase(name, async (dsn) => {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, ['--import=tsx', file], {
      cwd: root,
      env: { ...process.env, DATABASE_URL: dsn },
      timeout: 60_000,
    })
    return stdout + stderr
  })
}

test('the first example prints what the README says', async (t) => {
  const [example] = await blocks('ts')
  const [output] = await blocks('text')
  const withoutIds = (text: string) => text.replace(/backend \d+/g, 'backend N')
  t.is(withoutIds(await run('first', example!)), withoutIds(output!))
})

test('the examples of consuming and of typed payloads run', async (t) => {
  const examples = await blocks('ts')
  t.is(examples.length, 3)
  t.regex(await run('consume', examples[1]!), /^users first \d+\n\[ 'first' \]\n$/)
  t.is(await run('typed', examples[2]!), '7\n')
})
