// Start-up with servers that do more than the client library knows.

import test, { type ExecutionContext } from 'ava'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { Readable } from 'node:stream'
import { promisify } from 'node:util'
import {
  ConnectionFailedError,
  ConnectionPool,
  ConnectionPoolConfigurationError,
  DatabaseError,
} from 'pglisten'
import { MessageProxy } from '../../lab/network/message-proxy.mjs'
import { serverDsn } from '../../lab/server/test-server.js'
import { uniqueName } from '../../lab/unique-name.js'
import { within } from '../../lab/wait.js'
import { run } from '../support/listener.js'
import { since } from '../support/since.js'

/** `scram_iterations` came with PostgreSQL 16. */
const since16 = since(16)

/** The most iterations that the client library does. */
const MOST = 100_000

/** A role whose password was made with so many iterations. */
async function role(t: ExecutionContext, iterations: number): Promise<string> {
  const name = uniqueName('role')
  await run(
    `BEGIN; SET LOCAL scram_iterations = ${iterations}; CREATE ROLE ${name} LOGIN PASSWORD 'x'; COMMIT`,
  )
  t.teardown(() => run(`DROP ROLE IF EXISTS ${name}`))
  const dsn = new URL(await serverDsn())
  dsn.username = name
  dsn.password = 'x'
  return dsn.href
}

since16('more iterations of SCRAM than are done are told, with the remedy', async (t) => {
  const dsn = await role(t, MOST + 1)
  await using pool = new ConnectionPool(dsn)
  const error = await t.throwsAsync(pool.connection(), {
    instanceOf: ConnectionPoolConfigurationError,
    message:
      /asks for 100001 iterations of SCRAM .* at most 100000 are done; lower the server's `scram_iterations` and set the password again/,
  })
  t.is(error.option, 'password')
})

since16(
  'a listener that meets too many iterations tells of it, and asks at the slowest pace',
  async (t) => {
    const dsn = await role(t, 4096)
    const name = new URL(dsn).username
    await using pool = new ConnectionPool(dsn)
    const listener = pool.listener({
      channels: ['channel'],
      reconnect: { initialDelayMs: 1, maxDelayMs: 60_000 },
    })
    await listener.startup()
    await run(`SET scram_iterations = ${MOST + 1}; ALTER ROLE ${name} PASSWORD 'x'`)
    let attempts = 0
    for (const event of ['error', 'warning'] as const) listener.on(event, () => (attempts += 1))
    const told = once(listener, 'error') as Promise<[Error]>
    await run(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '${name}'`)
    const [error] = await within(told)
    t.regex(error.message, /iterations of SCRAM/)
    const before = attempts
    await new Promise((resolve) => setTimeout(resolve, 500))
    t.true(attempts <= before + 1, `${attempts - before} attempts in 0.5 s`)
    await listener.shutdown()
  },
)

since16('as many iterations as are done are done', async (t) => {
  await using pool = new ConnectionPool({ dsn: await role(t, MOST), connectTimeoutSec: 60 })
  await using connection = await pool.connection()
  t.is(await connection.fetchVal<number>('SELECT 1'), 1)
})

/** `NegotiateProtocolVersion`: protocol 3.0, and an option that is not known. */
function negotiation(...options: string[]): Buffer {
  const names = Buffer.from(options.map((name) => `${name}\0`).join(''))
  const head = Buffer.alloc(13)
  head.write('v')
  head.writeUInt32BE(12 + names.length, 1)
  head.writeUInt32BE(0x0003_0000, 5)
  head.writeUInt32BE(options.length, 9)
  return Buffer.concat([head, names])
}

for (const options of [[], ['_pq_.command_tag_format'], Array<string>(2000).fill('_pq_.x')]) {
  test(`a server that negotiates the protocol, ${options.length} options, is taken`, async (t) => {
    const proxy = new MessageProxy(await serverDsn(), () => {
      let isFirst = true
      return (message: Buffer) => {
        if (!isFirst) return message
        isFirst = false
        return Buffer.concat([negotiation(...options), message])
      }
    })
    t.teardown(() => proxy.stop())
    await using pool = new ConnectionPool({ dsn: await proxy.start(), sslMode: 'disable' })
    await using connection = await pool.connection()
    t.is(await connection.fetchVal<number>('SELECT 1'), 1)
    const channel = uniqueName('channel')
    const listener = pool.listener({ channels: [channel] })
    await listener.startup()
    const messages = listener.messages()
    await pool.notify(channel, 'heard')
    const { value } = await within(messages.next())
    t.is(value!.payload, 'heard')
    await listener.shutdown()
  })
}

const AUTHENTICATED = Buffer.from('R\0\0\0\x08\0\0\0\0', 'latin1')

/** What a server may say at first that is no PostgreSQL server, or a broken one. */
const BEGINNINGS = {
  'a question that is too long': Buffer.from('R\0\x01\0\0', 'latin1'),
  'an error that never ends': Buffer.from('E\x7f\xff\xff\xff', 'latin1'),
  'parameters without end': Buffer.from(`S\0\0\x04\x07a\0${'b'.repeat(1024)}\0`, 'latin1'),
  'another protocol': Buffer.from('HTTP/1.1 200 OK\r\n', 'latin1'),
}

for (const [what, beginning] of Object.entries(BEGINNINGS)) {
  test(`${what} is refused before it has come`, async (t) => {
    const isRepeated = what === 'parameters without end'
    const server = createServer((socket) => {
      socket.on('error', () => {})
      socket.once('data', () => {
        if (!isRepeated) return socket.write(beginning)
        socket.write(AUTHENTICATED)
        return Readable.from(repeat(beginning)).pipe(socket)
      })
    }).listen(0, '127.0.0.1')
    t.teardown(() => server.close())
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    await using pool = new ConnectionPool(`postgres://127.0.0.1:${port}/?sslmode=disable`)
    const listener = pool.listener({ channels: ['channel'] })
    for (const call of [() => pool.connection(), () => listener.startup()]) {
      // The time for a connection is 10 s.
      const { message } = await t.throwsAsync(within<unknown>(call(), { timeoutMs: 8000 }), {
        instanceOf: ConnectionFailedError,
      })
      const kind = beginning.toString('latin1', 0, 1)
      t.true(message.includes(`the server sent a message of kind \`${kind}\` and length `), message)
    }
  })
}

/** The same without end, many times at once. */
function* repeat(message: Buffer): Generator<Buffer> {
  const piece = Buffer.concat(Array.from({ length: 64 }, () => message))
  for (;;) yield piece
}

test('every keepalive that the options allow is taken by the system', async (t) => {
  for (const options of [
    { keepalivesIdleSec: 0.001 },
    { keepalivesIdleSec: 0.5, keepalivesIntervalSec: 0.001 },
    { keepalivesIdleSec: 100_000, keepalivesIntervalSec: 2_147_483 },
    { keepalivesRetries: 1000 },
  ]) {
    await using pool = new ConnectionPool({ dsn: await serverDsn(), ...options })
    t.is(await pool.fetchVal('SELECT 1'), 1)
  }
})

test('an empty name in a DSN is that of the default', async (t) => {
  const dsn = new URL(await serverDsn())
  for (const name of ['sslrootcert', 'sslcert', 'sslkey', 'passfile', 'sslmode=prefer&sslcert']) {
    await using pool = new ConnectionPool(`${dsn.href}${dsn.search ? '&' : '?'}${name}=`)
    t.is(await pool.fetchVal('SELECT 1'), 1, name)
  }
})

test('a blank that is none to libpq is part of a value without quotes', async (t) => {
  const { hostname, port, username, password } = new URL(await serverDsn())
  const name = `no\u00a0break`
  await using pool = new ConnectionPool(
    `host=${hostname} port=${port}\tuser=${username}\vpassword=${password} dbname=postgres application_name=${name}`,
  )
  // The server shows it with an escape.
  t.regex(await pool.fetchVal<string>("SELECT current_setting('application_name')"), /^no.+break$/)
})

/** A server's message. */
function message(kind: string, body: string): Buffer {
  const head = Buffer.alloc(5)
  head.write(kind)
  head.writeUInt32BE(4 + body.length, 1)
  return Buffer.concat([head, Buffer.from(body, 'latin1')])
}

const READY = message('Z', 'I')
const IS_PRIMARY = Buffer.concat([
  message('T', `\0\x01in\0${'\0'.repeat(6)}\0\0\0\x10\0\x01\0\0\0\0\0\0`),
  message('D', '\0\x01\0\0\0\x01f'),
  message('C', 'SELECT 1\0'),
  READY,
])
const FATAL = message('E', 'SFATAL\0VFATAL\0C28P01\0Mno password\0\0')

/** The port of a server that lets everybody in, answers each question with the next of these, and closes the connection. */
async function answering(t: ExecutionContext, ...answers: Buffer[]): Promise<number> {
  const server = createServer((socket) => {
    const left = [...answers]
    socket.on('error', () => {})
    socket.once('data', () => {
      socket.write(Buffer.concat([AUTHENTICATED, READY]))
      socket.on('data', () => {
        const answer = left.shift()
        if (answer) socket.write(answer)
        if (left.length === 0) socket.end()
      })
    })
  }).listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

for (const [asked, ...before] of [['for its role'], ['for its timeline', IS_PRIMARY]] as [
  string,
  ...Buffer[],
][]) {
  test(`what a server says at last that is asked ${asked} is told`, async (t) => {
    const port = await answering(t, ...before, FATAL)
    await using pool = new ConnectionPool({
      dsn: `postgres://127.0.0.1:${port},127.0.0.1:${port}/?sslmode=disable`,
      targetSessionAttrs: 'primary',
    })
    const error = await t.throwsAsync(pool.connection(), { instanceOf: DatabaseError })
    t.is(error.sqlState, '28P01')
    t.regex(error.message, /no password/)
  })

  test(`a server that ends the connection when it is asked ${asked} is passed over`, async (t) => {
    const port = await answering(t, ...before, Buffer.alloc(0))
    const dsn = new URL(await serverDsn())
    const hosts = `127.0.0.1:${port},${dsn.host}`
    await using pool = new ConnectionPool({
      dsn: dsn.href.replace(dsn.host, hosts),
      sslMode: 'disable',
      targetSessionAttrs: 'primary',
    })
    t.is(await pool.fetchVal('SELECT 1'), 1)
  })
}

/** Only root may become another user. */
const asRoot = process.getuid?.() === 0 ? test : test.skip

asRoot('a process whose user has no name is told so', async (t) => {
  const port = await answering(t)
  const program = `
    const { ConnectionPool } = await import('pglisten')
    process.setuid(54321)
    const pool = new ConnectionPool({ host: '127.0.0.1', port: ${port}, sslMode: 'disable' })
    await pool.connection().catch(({ code, option, message }) => console.log(JSON.stringify({ code, option, message })))
    await pool.close()
  `
  const { PGUSER: _, ...env } = process.env
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--input-type=module', '-e', program],
    { env: { ...env, NODE_OPTIONS: '' }, cwd: import.meta.dirname },
  )
  const error = JSON.parse(stdout) as Record<string, string>
  t.like(error, { code: 'ERR_PGLISTEN_POOL_CONFIGURATION', option: 'username' })
  t.regex(error['message']!, /no user is given \(`username`, PGUSER\)/)
})
