// `npm run example`: asks before it makes tables in somebody's database, and leaves nothing behind when it is ended.

import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import test, { type ExecutionContext } from 'ava'
import { root } from '../support/code-blocks.js'
import { createdBy, examples, knowsInstall } from '../../scripts/lib/examples.mjs'
import { openDatabase } from '../support/example.js'
import { waitFor, within } from '../../lab/wait.js'

const command = path.join(root, 'scripts/examples/run.mjs')
const env = { ...process.env, NODE_OPTIONS: '', PORT: '0' }

test('tables are made in a database of the user’s only after a yes', async (t) => {
  const { dsn, ask } = await openDatabase(t)
  const running = promisify(execFile)(process.execPath, [command, 'cache'], {
    env: { ...env, DATABASE_URL: dsn },
  })
  running.child.stdin?.end()
  const { code, stderr } = await t.throwsAsync<Error & { code: number; stderr: string }>(running)
  t.is(code, 1)
  t.regex(stderr, /creates in the database of DATABASE_URL.*: settings\. Expected --install/)
  t.false(stderr.includes(new URL(dsn).password))
  t.is(await ask(`SELECT to_regclass('settings')::text`), null)
})

test('what each example creates is known before it is started', (t) => {
  const told = Object.fromEntries(examples().map((it) => [it.name, createdBy(it)]))
  t.like(told, {
    cache: ['settings'],
    'server-sent-events': ['events'],
    prisma: ['example_orders'],
    drizzle: ['example_orders'],
    kysely: ['example_orders'],
    'pg-boss': ['the schema pgboss'],
    'graphile-worker': ['the schema graphile_worker'],
  })
  const silent = examples().filter((it) => createdBy(it).length === 0)
  t.deepEqual(silent.map(({ name }) => name).sort(), [
    ...[
      'container',
      'express',
      'fastify',
      'graceful-shutdown',
      'graphql',
      'jobs',
      'nestjs',
      'next',
    ],
    ...['procrastinate', 'socket.io'],
  ])
  t.deepEqual(
    silent
      .filter(knowsInstall)
      .map(({ name }) => name)
      .sort(),
    ['jobs', 'procrastinate'],
  )
})

/** As a terminal starts it, and as npm does: npm hands a signal on to a shell, and that to nobody. */
const STARTED = {
  'by node': [process.execPath, command, 'cache'],
  'by npm': ['npm', 'run', 'example', 'cache'],
}

for (const [how, [program, ...args]] of Object.entries(STARTED)) {
  // There npm is a batch file, and no signal ends it.
  if (program === 'npm' && process.platform === 'win32') continue
  test(`an example that is started ${how} and ended leaves neither a process nor a folder`, (t) =>
    leavesNothing(t, program!, args))
}

async function leavesNothing(t: ExecutionContext, program: string, args: string[]) {
  const folder = await mkdtemp(path.join(tmpdir(), 'pglisten-example-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  // The server may run under another account.
  await chmod(folder, 0o755)
  const child = spawn(program, args, {
    cwd: root,
    env: { ...env, DATABASE_URL: undefined, TMPDIR: folder },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => child.kill('SIGTERM'))
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (output += chunk))
  const ended = once(child, 'exit')
  await waitFor(() => /^http:/m.test(output), {
    what: `the address:\n${output}`,
    timeoutMs: 60_000,
  })
  const [, port] = /@[^/]*:(\d+)\//.exec(output)!
  /** Without what tsx keeps of what it has translated. */
  const folders = async () => (await readdir(folder)).filter((name) => !name.startsWith('tsx-'))
  t.is((await folders()).length, 1)
  child.kill('SIGTERM')
  const [code, signal] = await within(ended, { what: 'the end' })
  if (program === 'npm') t.true(signal === 'SIGTERM' || code === 143, `${code} ${signal}`)
  else t.deepEqual([code, signal], [0, null])
  await waitFor(async () => (await folders()).length === 0, { what: 'the folder to go' })
  const refused = await fetch(`http://127.0.0.1:${port}`).catch((error: Error) => error)
  t.true(refused instanceof Error)
  t.deepEqual(await folders(), [])
}
