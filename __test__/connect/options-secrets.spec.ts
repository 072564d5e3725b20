// What must never happen with a configuration: a password that is shown, encryption that is left out.

import test, { type ExecutionContext } from 'ava'
import * as fc from 'fast-check'
import { once } from 'node:events'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { inspect } from 'node:util'
import {
  type Connection,
  ConnectionFailedError,
  ConnectionPool,
  ConnectionPoolConfigurationError,
  ConnectionTlsError,
  DatabaseError,
  type ConnectionPoolOptions,
} from 'pglisten'
import { ask, openListener, uniqueChannel } from '../support/listener.js'
import { startProxy } from '../../lab/network/proxy.js'
import { serverDsn } from '../../lab/server/test-server.js'
import { within } from '../../lab/wait.js'

const SECRET = 'hunter2-31415'

/** Everything that could be logged of a value: with all its properties, hidden ones and causes too. */
function everythingOf(value: unknown): string {
  const texts = [inspect(value, { depth: Infinity, showHidden: true, getters: true })]
  texts.push(String(value), JSON.stringify(value) ?? '')
  for (let error = value; error instanceof Error; error = error.cause) {
    texts.push(error.message, `${error.stack}`, JSON.stringify(Object.entries(error)))
  }
  return texts.join('\n')
}

function expectNoSecret(t: ExecutionContext, value: unknown, secret = SECRET): void {
  const text = everythingOf(value)
  t.false(text.includes(secret), text)
}

/** Sets environment variables for the time of a call. */
function withEnvironment<Result>(variables: Record<string, string>, call: () => Result): Result {
  const before = { ...process.env }
  Object.assign(process.env, variables)
  try {
    return call()
  } finally {
    for (const name of Object.keys(variables)) delete process.env[name]
    Object.assign(process.env, before)
  }
}

for (const dsn of [
  `postgres://user:${SECRET}@[::1`,
  `postgres://user:${SECRET}@localhost:port/db`,
  `postgres://user:${SECRET}@localhost/db?unknown=1`,
  `postgres://user:${SECRET}@localhost/db?connect_timeout=soon`,
  `mysql://user:${SECRET}@localhost/db`,
  `user=me password=${SECRET} host='`,
  `user=me password='${SECRET} host=localhost`,
  `user=me pasword=${SECRET}`,
  SECRET,
]) {
  test(`a DSN that does not parse is refused and not shown: ${dsn}`, (t) => {
    for (const options of [dsn, { dsn }]) {
      const error = t.throws(() => new ConnectionPool(options), {
        instanceOf: ConnectionPoolConfigurationError,
      })
      t.is(error.option, 'dsn')
      t.regex(error.message, /dsn/)
      expectNoSecret(t, error)
    }
  })
}

test('a password with an @ that was not encoded is not taken for a host and shown', async (t) => {
  const pools = [
    () => new ConnectionPool(`postgres://user:first@${SECRET}@127.0.0.1:1/db`),
    () => new ConnectionPool({ host: `postgres://user:${SECRET}@127.0.0.1:1/db` }),
    () => new ConnectionPool({ hosts: [`user:${SECRET}@127.0.0.1`], port: 1 }),
  ]
  for (const open of pools) {
    const error = await t.throwsAsync(async () => {
      await using pool = open()
      await pool.connection()
    })
    expectNoSecret(t, error)
  }
})

test('a wrong password is not shown when a secret has the wrong type or form', (t) => {
  for (const options of [{ password: [SECRET] }, { password: `${SECRET}\0` }, { dsn: [SECRET] }]) {
    expectNoSecret(
      t,
      t.throws(() => new ConnectionPool(options as never)),
    )
  }
})

const ADDRESSES = [
  `postgres://app:${SECRET}@db.example/app`,
  `host=db.example user=app password=${SECRET}`,
]
const PEM = `-----BEGIN PRIVATE KEY-----\n${SECRET}\n-----END PRIVATE KEY-----\n`
const FILES = ['caFile', 'certFile', 'keyFile'] as const

test('an address in the place of another option is refused, and not shown', (t) => {
  for (const option of [
    ...([
      'username',
      'host',
      'hosts',
      'port',
      'ports',
      'dbName',
      'options',
      'applicationName',
    ] as const),
    ...([
      'targetSessionAttrs',
      'loadBalanceHosts',
      'primaryCheckSec',
      'connectTimeoutSec',
    ] as const),
    ...(['keepalives', 'keepalivesRetries', 'maxDbPoolSize', 'connRecyclingMethod'] as const),
    ...(['sslMode', 'sslNegotiation', 'channelBinding', 'schemas', 'types', 'logger'] as const),
    ...(['diagnostics', 'queueWatch', ...FILES] as const),
  ] satisfies (keyof ConnectionPoolOptions)[]) {
    for (const address of ADDRESSES) {
      // A logger may be any object.
      for (const value of option === 'logger' ? [address] : [address, [address]]) {
        const error = t.throws(
          () => new ConnectionPool({ [option]: value }),
          { instanceOf: ConnectionPoolConfigurationError },
          option,
        )
        expectNoSecret(t, error)
      }
    }
  }
})

test('an address in the place of another variable is refused, and not shown', (t) => {
  for (const variable of [
    ...['PGHOST', 'PGHOSTADDR', 'PGPORT', 'PGDATABASE', 'PGUSER', 'PGPASSFILE', 'PGOPTIONS'],
    ...['PGAPPNAME', 'PGCONNECT_TIMEOUT', 'PGCLIENTENCODING', 'PGSSLMODE', 'PGSSLCERT', 'PGSSLKEY'],
    ...['PGSSLROOTCERT', 'PGTARGETSESSIONATTRS', 'PGLOADBALANCEHOSTS', 'PGGSSENCMODE'],
  ]) {
    for (const address of ADDRESSES) {
      const error = t.throws(
        () => withEnvironment({ [variable]: address }, () => new ConnectionPool()),
        { instanceOf: ConnectionPoolConfigurationError },
        variable,
      )
      expectNoSecret(t, error)
    }
  }
})

test('the text of a key in the place of its path is refused, and not shown', (t) => {
  const refused = (open: () => unknown, option: string) => {
    const message = /the path of a file, got the text of one \(not shown\)/
    const error = t.throws(open, { instanceOf: ConnectionPoolConfigurationError, message }, option)
    t.is(error?.option, option)
    expectNoSecret(t, error)
  }
  // A text on one line as it often comes from the environment, and one that is not PEM's.
  for (const text of [PEM, PEM.replaceAll('\n', String.raw`\n`), `db:5432:*:app:${SECRET}\n`]) {
    for (const [index, option] of FILES.entries()) {
      const keyword = ['sslrootcert', 'sslcert', 'sslkey'][index]!
      refused(() => new ConnectionPool({ [option]: text }), option)
      refused(
        () => new ConnectionPool(`postgres:///?${keyword}=${encodeURIComponent(text)}`),
        option,
      )
      const variables = { [`PG${keyword.toUpperCase()}`]: text }
      refused(() => withEnvironment(variables, () => new ConnectionPool()), option)
    }
    const variables = { PGPASSFILE: text }
    refused(() => withEnvironment(variables, () => new ConnectionPool()), 'passfile')
  }
})

test('no failure to connect shows the password', async (t) => {
  const listening = async (serve: (socket: Socket) => void) => {
    const server = createServer((socket) => serve(socket.on('error', () => {})))
    t.teardown(() => server.close())
    await once(server.listen(0, '127.0.0.1'), 'listening')
    return (server.address() as AddressInfo).port
  }
  const silent = await listening(() => {})
  const rude = await listening((socket) => socket.destroy())
  const wrong = await listening((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'))
  const good = new URL(await serverDsn())
  const at = (port: number | string) =>
    `postgres://${good.username}:${SECRET}@127.0.0.1:${port}/postgres`
  const ways: [ConnectionPoolOptions, new (...args: never[]) => Error][] = [
    [{ dsn: at(good.port) }, DatabaseError],
    [{ dsn: good.href, password: SECRET }, DatabaseError],
    [{ dsn: at(silent), connectTimeoutSec: 0.1 }, ConnectionFailedError],
    [{ dsn: at(rude) }, ConnectionFailedError],
    [{ dsn: at(wrong) }, ConnectionFailedError],
    [{ dsn: at(1) }, ConnectionFailedError],
    [{ host: 'no-such-host.invalid', password: SECRET }, ConnectionFailedError],
    [{ host: '/no/such/folder', password: SECRET }, ConnectionFailedError],
    [{ dsn: good.href, password: () => SECRET }, DatabaseError],
    [{ dsn: good.href, password: async () => SECRET }, DatabaseError],
    [{ dsn: good.href, password: () => `${SECRET}\0` }, ConnectionFailedError],
    [{ dsn: good.href, password: () => [SECRET] as never }, ConnectionFailedError],
    [{ dsn: good.href, password: () => Promise.reject(new Error(SECRET)) }, ConnectionFailedError],
    [
      {
        dsn: good.href,
        password: () => {
          throw Object.assign(new Error(SECRET), { token: SECRET })
        },
      },
      ConnectionFailedError,
    ],
    [{ dsn: at(silent), password: () => SECRET, connectTimeoutSec: 0.1 }, ConnectionFailedError],
    [
      { hosts: ['127.0.0.1', 'localhost'], ports: [1, rude], password: () => SECRET },
      ConnectionFailedError,
    ],
  ]
  for (const [options, instanceOf] of ways) {
    await using pool = new ConnectionPool(options)
    const listener = pool.listener({ channels: ['channel'] })
    for (const call of [pool.connection(), pool.notify('channel'), listener.startup()]) {
      expectNoSecret(t, await t.throwsAsync(call, { instanceOf }))
    }
    expectNoSecret(t, pool)
    expectNoSecret(t, listener)
    expectNoSecret(t, pool.status())
  }
})

test('neither objects nor events of a listener that loses its server show the password', async (t) => {
  const proxy = await startProxy(t)
  const secret = new URL(proxy.dsn).password
  const { listener, pool } = await openListener(
    t,
    {
      channels: [uniqueChannel()],
      reconnect: { initialDelayMs: 1, maxDelayMs: 2, maxAttempts: 3 },
    },
    { dsn: proxy.dsn },
  )
  const told: unknown[] = []
  for (const name of ['connected', 'disconnected', 'warning', 'error'] as const) {
    listener.on(name, (...args: unknown[]) => told.push(args))
  }
  await listener.startup()
  const { connection } = listener
  await connection.execute('SELECT 1')
  const message = listener.messages().next()
  const failed = t.throwsAsync(message)
  const closed = once(listener, 'closed')
  proxy.cut()
  told.push(await within(closed), await failed, pool, listener, connection, listener.stats())
  t.true(told.length > 6)
  for (const one of told) expectNoSecret(t, one, secret)
})

test('encryption that was asked for is not left out, wherever it was asked for', async (t) => {
  const plain = await serverDsn()
  if (await serverEncrypts()) {
    t.pass('this server has TLS')
    return
  }
  const url = new URL(plain)
  const pairs = `host=${url.hostname} port=${url.port} user=${url.username} password=${url.password}`
  const demanding = {
    'an option': { dsn: plain, sslMode: 'require' },
    'an option over a laxer DSN': { dsn: `${plain}?sslmode=disable`, sslMode: 'require' },
    'a URL': { dsn: `${plain}?sslmode=require` },
    'a URL with another option first': { dsn: `${plain}?connect_timeout=3&sslmode=require` },
    'a URL in other letters': { dsn: `${plain}?ssl%6Dode=require` },
    'a URL that says both': { dsn: `${plain}?sslmode=prefer&sslmode=require` },
    'a URL in the way of JDBC': { dsn: `${plain}?ssl=true` },
    'a URL that binds the channel': { dsn: `${plain}?channel_binding=require` },
    'key/value pairs': { dsn: `${pairs} sslmode=require` },
    'quoted key/value pairs': { dsn: `${pairs} sslmode='require'` },
    'key/value pairs with blanks': { dsn: `${pairs} sslmode = require` },
    'key/value pairs that bind the channel': { dsn: `${pairs} channel_binding=require` },
  } satisfies Record<string, ConnectionPoolOptions>
  const refuses = async (pool: ConnectionPool, where: string) => {
    await t.throwsAsync(pool.connection(), { instanceOf: ConnectionTlsError }, where)
    await pool.close()
  }
  for (const [where, options] of Object.entries(demanding))
    await refuses(new ConnectionPool(options), where)
  for (const variables of [
    { PGSSLMODE: 'require' },
    { PGREQUIRESSL: '1' },
    { PGCHANNELBINDING: 'require' },
  ] as Record<string, string>[]) {
    const pool = withEnvironment(variables, () => new ConnectionPool(plain))
    await refuses(pool, JSON.stringify(variables))
  }
})

test('encryption that was only preferred is done without where there is none', async (t) => {
  const dsn = await serverDsn()
  if (await serverEncrypts()) {
    t.pass('this server has TLS')
    return
  }
  for (const sslMode of ['disable', 'allow', 'prefer'] as const) {
    for (const options of [{ dsn, sslMode }, { dsn: `${dsn}?sslmode=${sslMode}` }]) {
      await using pool = new ConnectionPool(options)
      t.false(await isEncrypted(await pool.connection()))
    }
  }
})

async function serverEncrypts(): Promise<boolean> {
  return ask<boolean>("SELECT current_setting('ssl')::bool")
}

/** Whether a connection is, which is closed then. */
async function isEncrypted(connection: Connection): Promise<boolean> {
  const sql = 'SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()'
  const answer = await connection.fetchVal<boolean>(sql)
  await connection.close()
  return answer
}

test('the environment is used where neither an option nor the DSN says otherwise', async (t) => {
  const { hostname, port, username, password } = new URL(await serverDsn())
  const variables = {
    PGHOST: hostname,
    PGPORT: port,
    PGUSER: username,
    PGPASSWORD: password,
    PGDATABASE: 'postgres',
    PGAPPNAME: 'from the environment',
  }
  const ask = async (options?: ConnectionPoolOptions) => {
    await using pool = withEnvironment(variables, () => new ConnectionPool(options))
    await using connection = await pool.connection()
    return connection.fetchVal("SELECT current_setting('application_name')")
  }
  t.is(await ask(), 'from the environment')
  t.is(await ask({ applicationName: 'from an option' }), 'from an option')
  t.is(await ask({ dsn: 'application_name=from_the_dsn' }), 'from_the_dsn')
  for (const [name, value] of Object.entries({
    PGPORT: 'none',
    PGSSLMODE: 'on',
    PGTARGETSESSIONATTRS: 'master',
    PGCONNECT_TIMEOUT: 'soon',
  })) {
    const error = t.throws(
      () => withEnvironment({ ...variables, [name]: value }, () => new ConnectionPool()),
      { instanceOf: ConnectionPoolConfigurationError },
    )
    t.is(error.option, name)
    expectNoSecret(t, error, password)
  }
})

/** A password as people have them, of pieces that no other part of an address has. */
const LETTERS = fc.string({
  unit: fc.constantFrom(...'ABCDEFGHJKLMNPQRSTUVWXYZ'.split('')),
  minLength: 5,
  maxLength: 8,
})
const SECRETS = fc.array(LETTERS, { minLength: 1, maxLength: 4 })
const SPECIAL = fc.constantFrom('@', '/', '?', '&', '=', ':', '%', ' ', '#', ';', "'", '+')

const OPTIONS = fc.subarray(
  [
    'sslmode=require',
    'schema=public',
    'pgbouncer=true',
    'connection_limit=5',
    'ssl=true',
    'schemma=x',
    'sslidentity=x',
    'sslaccept=strict',
    'connectTimeout=soon',
    'channel_binding=x',
  ],
  { minLength: 0 },
)

/** An address with a secret that was not encoded, in a form that people use. */
const FORMS: ((secret: string, options: string[]) => string)[] = [
  (secret, options) => `postgres://app:${secret}@db.example:5432/app?${options.join('&')}`,
  (secret, options) => `postgresql+psycopg://app:${secret}@db.example/app?${options.join('&')}`,
  (secret, options) => `postgres://db.example/app?user=me&password=${secret}&${options.join('&')}`,
  (secret, options) => `jdbc:postgresql://db.example/app?password=${secret}&${options.join('&')}`,
  (secret, options) => `host=db.example user=me password=${secret} ${options.join(' ')}`,
  (secret, options) => `password=${secret} host=db.example ${options.join(' ')}`,
  (secret) => `Host=db.example;Username=me;Password=${secret};Database=app`,
  (secret) => `Server=db.example;User Id=me;Password=${secret};SSL Mode=Require`,
  (secret) => `prisma+postgres://accelerate.prisma-data.net/?api_key=${secret}`,
  (secret, options) => `psql "postgres://app:${secret}@db.example/app?${options.join('&')}"`,
  (secret, options) => `"postgres://app:${secret}@db.example/app?${options.join('&')}"`,
  (secret) => `mysql://app:${secret}@db.example/app`,
  (secret) => secret,
]

test('no address of any form shows a piece of its secret, however it is written', (t) => {
  let refused = 0
  fc.assert(
    fc.property(
      SECRETS,
      fc.array(SPECIAL, { minLength: 4, maxLength: 4 }),
      OPTIONS,
      fc.constantFrom(...FORMS),
      (pieces, specials, options, form) => {
        const secret = pieces.map((piece, index) => `${piece}${specials[index]}`).join('')
        let error: unknown
        try {
          void new ConnectionPool(form(secret, options))
        } catch (thrown) {
          error = thrown
        }
        if (error === undefined) return
        refused += 1
        if (!(error instanceof ConnectionPoolConfigurationError)) throw error
        const text = everythingOf(error).replaceAll(/at .*\n/g, '')
        for (const piece of pieces) if (text.includes(piece)) throw new Error(`${piece} in ${text}`)
      },
    ),
    { numRuns: 3000 },
  )
  t.true(refused > 500, `${refused}`)
})
