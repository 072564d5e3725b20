// The recipe of docs/catching-up.md is run as it is shown, and no order stays behind.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import test from 'ava'
import { ConnectionPool } from 'pglisten'
import { NODE } from '../support/code-blocks.js'
import { createDatabase } from '../support/database.js'
import { serverDsn } from '../../lab/server/test-server.js'
import { waitFor } from '../../lab/wait.js'

const root = path.resolve(import.meta.dirname, '../..')

test('the recipe takes what was there before, what it is told of, and what it is not told of', async (t) => {
  const text = await readFile(path.join(root, 'docs/catching-up.md'), 'utf8')
  const recipe = /^```js\n(.*?)^```$/ms.exec(text)![1]!
  // Inside node_modules, from where `pglisten` is found as for any user of the package.
  const folder = path.join(root, 'node_modules', '.cache', `catching-up-${process.pid}`)
  await mkdir(folder, { recursive: true })
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const file = path.join(folder, 'recipe.mjs')
  await writeFile(file, recipe)

  const url = new URL(await serverDsn())
  url.pathname = `/${await createDatabase(t)}`
  await using pool = new ConnectionPool(url.href)
  await using connection = await pool.connection()
  await connection.executeBatch(
    'CREATE TABLE orders (id int PRIMARY KEY, taken boolean NOT NULL DEFAULT false)',
  )
  const order = (id: number) => connection.execute('INSERT INTO orders (id) VALUES ($1)', [id])

  await order(1)
  const child = spawn(NODE, [file], {
    cwd: root,
    env: { ...process.env, NODE_OPTIONS: '', DATABASE_URL: url.href },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const exited = once(child, 'exit')
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exited
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => (output += chunk))
  }
  const says = (line: string) =>
    waitFor(() => output.split('\n').includes(line), { what: `${line}, so far:\n${output}` })
  await says('order 1')
  await order(2)
  await connection.execute("SELECT pg_notify('orders', '')")
  await says('order 2')
  // It says so within its transaction, which is not to be struck.
  const busy = () =>
    connection.fetchVal<boolean>(
      `SELECT EXISTS (SELECT FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle')`,
    )
  await waitFor(async () => !(await busy()))
  // Nobody is told of this one, so only the gap can bring it to light.
  await order(3)
  // Only the session that listens: a callback may have begun again to look.
  const ended = await connection.fetchVal<bigint>(
    `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
      WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND query ~* '^ *listen |pglisten: [0-9]+ listeners|pglisten_fence'`,
  )
  t.is(ended, 1n)
  await says('order 3')
  t.is(output, 'order 1\norder 2\norder 3\n')
})
