// The demo does what its help says, and leaves a user's database as it was.

import test from 'ava'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { ConnectionPool } from 'pglisten'
import { serverDsn } from '../../lab/server/test-server.js'

const DEMO = fileURLToPath(new URL('../../scripts/demo.mjs', import.meta.url))

function start(...args: string[]) {
  const child = spawn(process.execPath, [DEMO, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  // Its last words may come after its exit.
  const closed = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>
  const seen = { output: '' }
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      seen.output += chunk
    })
  }
  return { child, closed, seen }
}

async function demoSchemas(): Promise<unknown> {
  const pool = new ConnectionPool({ dsn: await serverDsn() })
  try {
    const connection = await pool.connection()
    return await connection.fetchVal(
      "SELECT count(*)::int FROM pg_namespace WHERE nspname LIKE 'pglisten_demo_%'",
    )
  } finally {
    await pool.close()
  }
}

test.serial('everything arrives in order at both consumers, and nothing is left', async (t) => {
  const { closed, seen } = start('--rows', '3000', '--clients', '3', '--dsn', await serverDsn())
  t.deepEqual(await closed, [0, null], seen.output)
  t.regex(seen.output, /^sent +3,000 /m)
  for (const consumer of ['callback', 'iterator']) {
    t.regex(
      seen.output,
      new RegExp(`^${consumer} .*received 3,000 .*missing 0 .*out of order 0 `, 'm'),
    )
  }
  t.is(await demoSchemas(), 0)
})

test.serial('an interrupt in the middle leaves nothing', async (t) => {
  const { child, closed, seen } = start('--rows', '2000000', '--dsn', await serverDsn())
  while (!/sent [1-9]/.test(seen.output)) await once(child.stdout, 'data')
  child.kill('SIGINT')
  t.deepEqual(await closed, [130, null], seen.output)
  t.is(await demoSchemas(), 0)
})

for (const [args, problem] of [
  [['--rows', '0'], /Expected --rows to be a whole number from 1 to \d+, got `0`/],
  [['--clients', 'many'], /Expected --clients to be a whole number from 1 to \d+, got `many`/],
  [['--colour'], /--colour/],
] as const) {
  test(`${args.join(' ')} is refused with the reason`, async (t) => {
    const { closed, seen } = start(...args)
    t.deepEqual(await closed, [2, null])
    t.regex(seen.output, problem)
  })
}
