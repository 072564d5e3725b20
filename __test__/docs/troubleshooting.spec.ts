// The page of error codes knows each code there is and no other, and its messages are those of real errors.

import { once } from 'node:events'
import { readFileSync, readdirSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import * as pglisten from 'pglisten'
import type { Connection, Listener, ListenerOptions, PglistenError } from 'pglisten'
import { outputPattern, root } from '../support/code-blocks.js'
import { openDatabase } from '../support/example.js'
import { type Certificate, makeCertificate } from '../../lab/tls/certificates.js'
import { TlsServer, makeAuthority } from '../../lab/tls/tls-server.js'
import { HAS_PGLITE, startPglite } from '../../lab/server/pglite.js'
import { POOLER, startPooler } from '../../lab/server/pooler.js'
import { uniqueName } from '../../lab/unique-name.js'
import { within } from '../../lab/wait.js'

const { ConnectionPool } = pglisten
const page = readFileSync(path.join(root, 'docs/troubleshooting.md'), 'utf8')

/** The text of each code's section. */
const sections = new Map(
  page
    .split(/^#{2,3} /m)
    .map((text) => [/^`(ERR_\w+)`\n/.exec(text)?.[1], text] as const)
    .filter((entry): entry is [string, string] => entry[0] !== undefined),
)
/** The codes of base classes, and the lines that tell of them. */
const families = new Map(
  [...page.matchAll(/^\| `(ERR_\w+)` .*$/gm)].map(([line, code]) => [code!, line]),
)

function codesInSources(): Set<string> {
  const folder = path.join(root, 'src-ts')
  const files = readdirSync(folder, { recursive: true, withFileTypes: true })
  const text = files
    .filter((file) => file.isFile())
    .map((file) => readFileSync(path.join(file.parentPath, file.name), 'utf8'))
  // Those that stand as values; comments name examples.
  return new Set([...text.join('\n').matchAll(/'(ERR_PGLISTEN_\w+)'/g)].map((match) => match[1]!))
}

test('the page has each code, once, and no other', (t) => {
  const told = [...sections.keys(), ...families.keys()].sort()
  t.deepEqual(told, [...codesInSources()].sort())
})

test('the page names the class of each code', (t) => {
  type ErrorClass = new (message: unknown) => PglistenError
  const classes = (Object.entries(pglisten) as [string, ErrorClass][]).filter(
    ([, it]) => it === pglisten.PglistenError || it.prototype instanceof pglisten.PglistenError,
  )
  t.true(classes.length > 15)
  for (const [name, Class] of classes) {
    const { code } = new Class({ message: '' })
    t.regex(sections.get(code) ?? families.get(code) ?? '', new RegExp(`\`${name}\``))
  }
})

/** The error that a promise rejects with. */
async function rejection(work: () => unknown): Promise<PglistenError> {
  try {
    await work()
  } catch (error) {
    return error as PglistenError
  }
  throw new Error('nothing was thrown')
}

/** Checks that the page shows each of these errors as an example of its code. */
async function shows(t: ExecutionContext, code: string, ...causes: (() => unknown)[]) {
  const examples = [...sections.get(code)!.matchAll(/^```text\n(.*?)\n```$/gms)].filter(
    ([text]) =>
      (POOLER !== undefined || !text.includes('a pooler between')) &&
      (HAS_PGLITE || !text.includes('share one session')),
  )
  const patterns = examples.map((match) => outputPattern(match[1]!))
  const messages: string[] = []
  for (const cause of causes) {
    const error = await within(rejection(cause), { what: `an error with ${code}` })
    t.is(error.code, code, error.stack)
    messages.push(error.message)
  }
  for (const message of messages) {
    t.true(
      patterns.some((pattern) => pattern.test(message)),
      `not on the page: ${message}`,
    )
  }
  for (const pattern of patterns) {
    t.true(
      messages.some((message) => pattern.test(message)),
      `not caused: ${pattern.source}`,
    )
  }
}

/** A pool on a database of its own, and ways to make trouble there. */
async function open(t: ExecutionContext) {
  const { dsn } = await openDatabase(t)
  const pool = new ConnectionPool({ dsn, maxDbPoolSize: 4 })
  t.teardown(() => pool.close())
  const listen = async (options: ListenerOptions<string> = {}) => {
    const listener = pool.listener({ channels: ['c'], ...options })
    await listener.startup()
    t.teardown(() => listener.shutdown())
    return listener
  }
  const using = async (work: (connection: Connection) => unknown) => {
    await using connection = await pool.connection()
    await work(connection)
  }
  const terminate = async (listener: Listener) => {
    const id = await listener.connection.fetchVal<number>('SELECT pg_backend_pid()')
    await using((connection) => connection.execute('SELECT pg_terminate_backend($1)', [id]))
  }
  return { dsn, pool, listen, using, terminate }
}

const any = (value: unknown) => value as never

test('arguments and options', async (t) => {
  const { pool } = await open(t)
  await shows(t, 'ERR_PGLISTEN_ARGUMENT_TYPE', () => pool.notify(any(5)))
  await shows(
    t,
    'ERR_PGLISTEN_ARGUMENT_RANGE',
    () => pool.notify('x'.repeat(64)),
    () => pool.notify('c', 'x'.repeat(8000)),
  )
  await shows(
    t,
    'ERR_PGLISTEN_POOL_CONFIGURATION',
    () => new ConnectionPool({ port: 70_000 }),
    () => new ConnectionPool(any({ prot: 5432 })),
    () => new ConnectionPool({ ca: String.raw`-----BEGIN CERTIFICATE-----\n` }),
    () => new ConnectionPool({ keyFile: '-----BEGIN PRIVATE KEY-----' }),
    () => new ConnectionPool({ dbName: 'postgres://me:secret@db.example/app' }),
    () => withManyIterations(t),
  )
})

/** Connects as a role whose password was stored with one iteration of SCRAM more than is done. */
async function withManyIterations(t: ExecutionContext): Promise<void> {
  const { dsn, using } = await open(t)
  const role = uniqueName('role')
  await using((connection) =>
    connection.executeBatch(
      `SET scram_iterations = 100001; CREATE ROLE ${role} LOGIN PASSWORD 'x'; RESET scram_iterations`,
    ),
  )
  t.teardown(() => using((connection) => connection.execute(`DROP ROLE ${role}`)))
  const own = new URL(dsn)
  own.username = role
  own.password = 'x'
  await using pool = new ConnectionPool(own.href)
  await pool.connection()
}

test('connecting', async (t) => {
  const { dsn, pool, using } = await open(t)
  const silent = createServer().listen(0, '127.0.0.1')
  await once(silent, 'listening')
  t.teardown(() => silent.close())
  const { port } = silent.address() as AddressInfo
  // As a server before 17 does it.
  const closing = createServer((socket) => socket.once('data', () => socket.end()))
  await once(closing.listen(0, '127.0.0.1'), 'listening')
  t.teardown(() => closing.close())
  const { port: old } = closing.address() as AddressInfo
  const web = createServer((socket) => {
    socket.on('error', () => {}).end('HTTP/1.1 400 Bad Request\r\n\r\n')
  })
  await once(web.listen(0, '127.0.0.1'), 'listening')
  t.teardown(() => web.close())
  const { port: wrongPort } = web.address() as AddressInfo
  const pglite = HAS_PGLITE ? await startPglite('pglite-socket') : undefined
  t.teardown(() => pglite?.stop())
  const at = (host: string, options = {}) =>
    new ConnectionPool({ dsn: `postgres://${host}/db`, ...options }).connection()
  const failures = [
    () => at('127.0.0.1:1'),
    () => at('nowhere.invalid'),
    () => at(`127.0.0.1:${port}`, { connectTimeoutSec: 0.2 }),
    () => at(`127.0.0.1:${old}`, { sslMode: 'require', sslNegotiation: 'direct' }),
    () => new ConnectionPool({ dsn, targetSessionAttrs: 'read-only' }).connection(),
    () =>
      new ConnectionPool({
        hosts: ['127.0.0.1', '127.0.0.1'],
        ports: [1, Number(new URL(dsn).port)],
        username: new URL(dsn).username,
        password: decodeURIComponent(new URL(dsn).password),
        targetSessionAttrs: 'read-only',
      }).connection(),
    () => new ConnectionPool({ port: 1 }).connection(),
    () => new ConnectionPool({ dsn, password: () => Promise.reject() }).connection(),
    ...(POOLER ? [() => throughPooler(t, dsn)] : []),
    ...(pglite ? [() => startAt(pglite.dsn)] : []),
    () => at(`127.0.0.1:${old}`, { sslMode: 'disable' }),
    () => at(`127.0.0.1:${wrongPort}`, { sslMode: 'disable' }),
  ]
  await shows(t, 'ERR_PGLISTEN_CONNECTION_FAILED', ...failures)

  const wrong = new URL(dsn)
  wrong.password = 'wrong'
  await shows(t, 'ERR_PGLISTEN_DATABASE', () => new ConnectionPool(wrong.href).connection())
  await shows(
    t,
    'ERR_PGLISTEN_CONNECTION_CLOSED',
    async () => {
      const connection = await pool.connection()
      await connection.close()
      await connection.execute('SELECT 1')
    },
    () =>
      using(async (connection) => {
        const end = connection.execute('SELECT pg_terminate_backend(pg_backend_pid())')
        await end.catch(() => {})
        await connection.execute('SELECT 1')
      }),
  )
  await shows(t, 'ERR_PGLISTEN_POOL_EXECUTE', async () => {
    const closed = new ConnectionPool(dsn)
    await closed.close()
    await closed.connection()
  })
})

test('connecting with TLS', async (t) => {
  const { authority, issue } = makeAuthority()
  const server = await TlsServer.start()
  t.teardown(() => server.stop())
  const sslMode = 'verify-full'
  const caFile = server.file(authority.certificate)
  const refused = (certificate: Certificate | undefined) => async () => {
    await server.change({ certificate })
    await using pool = new ConnectionPool({ dsn: server.dsn, sslMode, caFile })
    await pool.connection()
  }
  await shows(
    t,
    'ERR_PGLISTEN_CONNECTION_TLS',
    refused(undefined),
    refused(issue({ names: ['other.example'] })),
    refused(makeAuthority('stranger').issue()),
    refused(issue({ validFrom: -20, validTo: -10 })),
    refused(issue({ extendedKeyUsage: ['clientAuth'] })),
    async () => {
      const between = makeCertificate({ name: 'between', authority: true, issuer: authority })
      await server.change({ certificate: issue({ issuer: between }) })
      const own = server.file(between.certificate)
      await using pool = new ConnectionPool({ dsn: server.dsn, sslMode, caFile: own })
      await pool.connection()
    },
  )
})

async function throughPooler(t: ExecutionContext, dsn: string): Promise<void> {
  const pooler = await startPooler(dsn, 'transaction')
  t.teardown(() => pooler.stop())
  const url = new URL(dsn)
  url.port = String(pooler.port)
  await startAt(url.href)
}

async function startAt(dsn: string): Promise<void> {
  await using pool = new ConnectionPool(dsn)
  await pool.listener({ channels: ['c'] }).startup()
}

test('statements', async (t) => {
  const { using } = await open(t)
  const running = (sql: string, params?: string[]) => () =>
    using((connection) => connection.execute(sql, params))
  await shows(
    t,
    'ERR_PGLISTEN_CONNECTION_EXECUTE',
    running('SELECT $1::int'),
    () => using((connection) => connection.execute('SELECT $1::int', [true])),
    () => using((connection) => connection.fetchRow('SELECT 1 WHERE false')),
  )
  await shows(t, 'ERR_PGLISTEN_CONNECTION_TIMEOUT', () =>
    using((connection) => connection.execute('SELECT pg_sleep(60)', [], { timeoutMs: 100 })),
  )
  await shows(t, 'ERR_PGLISTEN_TRANSACTION_BEGIN', () =>
    using(async (connection) => {
      await connection.execute('BEGIN')
      await connection.transaction(() => {})
    }),
  )
  await shows(t, 'ERR_PGLISTEN_TRANSACTION_COMMIT', () =>
    using((connection) =>
      connection.transaction((tx) => tx.execute('SELECT 1 / 0').catch(() => {})),
    ),
  )
  await shows(t, 'ERR_PGLISTEN_TRANSACTION_CLOSED', () =>
    using(async (connection) => {
      const tx = await connection.transaction((it) => ({ it }))
      await tx.it.execute('SELECT 1')
    }),
  )
})

test('listening', async (t) => {
  const { pool, listen, terminate } = await open(t)
  await shows(
    t,
    'ERR_PGLISTEN_LISTENER_START',
    () => pool.listener().listen(),
    async () => (await listen()).startup(),
  )
  await shows(t, 'ERR_PGLISTEN_LISTENER_TIMEOUT', async () =>
    (await listen()).messages().next({ timeoutMs: 50 }),
  )
  await shows(
    t,
    'ERR_PGLISTEN_LISTENER_CLOSED',
    async () => {
      const listener = await listen()
      // The fence waits for an iterator that nobody reads.
      listener.messages()
      await Promise.all([listener.sync(), listener.shutdown()])
    },
    async () => {
      const listener = await listen({ reconnect: false })
      const messages = listener.messages()
      await terminate(listener)
      await messages.next()
    },
  )
  const failing = async (options: ListenerOptions<string>, callback: () => void) => {
    const listener = await listen(options)
    await listener.addCallback('c', callback)
    listener.listen()
    const failed = new Promise((_, reject) => listener.once('error', reject))
    await pool.notify('c', 'no JSON')
    try {
      await failed
    } finally {
      await listener.shutdown()
    }
  }
  await shows(
    t,
    'ERR_PGLISTEN_LISTENER_CALLBACK',
    () =>
      failing({}, () => {
        throw new Error('as intended')
      }),
    () => failing({ parse: JSON.parse }, () => {}),
    () => pool.listener().addCallback('c', any(5)),
  )
  await shows(t, 'ERR_PGLISTEN_LISTENER_OVERFLOW', async () => {
    const listener = await listen({ buffer: { maxMessages: 1, overflow: 'error' } })
    listener.messages()
    const closed = new Promise((_, reject) => listener.once('closed', reject))
    await pool.notify('c', '1')
    await pool.notify('c', '2')
    await closed
  })
  await shows(t, 'ERR_PGLISTEN_LISTENER_GAP', async () => {
    const listener = await listen()
    const messages = listener.messages({ gaps: 'throw' })
    await terminate(listener)
    await messages.next()
  })
})
