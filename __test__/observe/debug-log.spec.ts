// `NODE_DEBUG=pglisten` prints the life of listening sessions.

import test from 'ava'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { serverDsn } from '../../lab/server/test-server.js'
import { uniqueName } from '../../lab/unique-name.js'
import { within } from '../../lab/wait.js'
import { uniqueChannel } from '../support/listener.js'

const FIXTURE = fileURLToPath(new URL('../fixtures/debug-log.mjs', import.meta.url))

/** What the process says on its standard error, line by line, and what it found. */
async function said(secret: string, debug: string) {
  const dsn = await serverDsn()
  const args = [FIXTURE, uniqueChannel(), 'orders', secret]
  const child = spawn(process.execPath, args, {
    env: { ...process.env, NODE_OPTIONS: '', NODE_DEBUG: debug, PGLISTEN_TEST_DSN: dsn },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let [output, errors] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (output += chunk))
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (errors += chunk))
  const [code] = await within(once(child, 'close'), { what: `the process to end:\n${errors}` })
  if (code !== 0) throw new Error(errors)
  const found = JSON.parse(output) as { pid: number; sessions: [number, number] }
  return { ...found, errors, lines: errors.trim().split('\n'), dsn: new URL(dsn) }
}

test('the life of a session is printed, and nothing that may be secret', async (t) => {
  const secret = uniqueName('secret')
  const { pid, sessions, errors, lines, dsn } = await said(secret, 'pglisten')
  const [first, own] = sessions
  const second = /connected: session (\d+)/.exec(lines.filter((l) => / connected/.test(l))[1]!)![1]!
  const expected = [
    'connecting',
    `connected: session ${first}`,
    'error [ERR_PGLISTEN_LISTENER_CALLBACK]',
    `lost session ${first} [ERR_PGLISTEN_DATABASE 57P01]`,
    /^attempt 1 to connect again in \d+ ms \[ERR_PGLISTEN_DATABASE 57P01\]$/,
    `connected: session ${second}`,
    /^gap \(disconnect\): notifications may be missing, \d+ ms$/,
    `moved to session ${own}, its own`,
    'closed',
  ]
  const prefix = `PGLISTEN ${pid}: listener 1 orders: `
  t.is(lines.length, expected.length, errors)
  for (const [at, line] of lines.entries()) {
    t.true(line.startsWith(prefix), line)
    const text = line.slice(prefix.length)
    const what = expected[at]!
    if (typeof what === 'string') t.is(text, what)
    else t.regex(text, what)
  }
  for (const text of [secret, dsn.password, dsn.hostname, dsn.port])
    t.false(errors.includes(text), text)
})

test('without NODE_DEBUG nothing is printed', async (t) => {
  t.is((await said('nothing', '')).errors, '')
})
