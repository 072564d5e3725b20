// The table of libpq's parameters and variables in docs/configuration.md, held against what happens; password files.

import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { lookup } from 'node:dns/promises'
import fs from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { MAJOR } from '../support/since.js'
import { postgresBinaries } from '../../lab/server/postgres-binaries.mjs'
import {
  ConnectionFailedError,
  ConnectionPool,
  ConnectionPoolConfigurationError,
  type ConnectionPoolOptions,
  DatabaseError,
} from 'pglisten'
import { serverDsn } from '../../lab/server/test-server.js'

interface Row {
  keyword: string | undefined
  variable: string | undefined
  what: string
}

/** The lines of the table. */
const rows: Row[] = fs
  .readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8')
  .split(/^## libpq's parameters and variables$/m)[1]!
  .split('\n')
  .map((line) => line.split('|').map((cell) => cell.trim()))
  .filter(([, keyword, variable]) => /^[`–]/.test(keyword ?? '') && /^[`–]/.test(variable ?? ''))
  .map(([, keyword, variable, , what]) => {
    const name = (cell: string) => (cell === '–' ? undefined : cell.slice(1, -1))
    return { keyword: name(keyword!), variable: name(variable!), what: what! }
  })

const home = fs.mkdtempSync(path.join(os.tmpdir(), 'pglisten-home-'))
const variablesBefore = { ...process.env }

test.before(() => {
  // What is asked must not depend on who asks.
  for (const name of Object.keys(process.env)) {
    if (name.startsWith('PG') && !name.startsWith('PGLISTEN')) delete process.env[name]
  }
  process.env['HOME'] = home
})

test.after.always(() => {
  Object.assign(process.env, variablesBefore)
  fs.rmSync(home, { recursive: true, force: true })
})

/** A pool that is made while these variables are set. */
function openWith(
  variables: Record<string, string>,
  options?: ConnectionPoolOptions | string,
): ConnectionPool {
  Object.assign(process.env, variables)
  try {
    return new ConnectionPool(options)
  } finally {
    for (const name of Object.keys(variables)) delete process.env[name]
  }
}

async function value(pool: ConnectionPool, sql: string): Promise<unknown> {
  try {
    const connection = await pool.connection()
    const answer = await connection.fetchVal(sql)
    await connection.close()
    return answer
  } finally {
    await pool.close()
  }
}

const setting = (name: string) => `SELECT current_setting('${name}')`

/** The parameters that every connection needs. */
async function place(): Promise<Record<string, string>> {
  const { hostname, port, username, password, pathname } = new URL(await serverDsn())
  return {
    host: hostname,
    port,
    user: decodeURIComponent(username),
    password: decodeURIComponent(password),
    dbname: pathname.slice(1),
  }
}

const quoted = (text: string) => `'${text.replaceAll(/['\\]/g, String.raw`\$&`)}'`

function pairs(parameters: Record<string, string>): string {
  return Object.entries(parameters)
    .map(([keyword, text]) => `${keyword}=${quoted(text)}`)
    .join(' ')
}

function url(parameters: Record<string, string>): string {
  return `postgres:///?${Object.entries(parameters)
    .map(([keyword, text]) => `${keyword}=${encodeURIComponent(text)}`)
    .join('&')}`
}

/** The version of the package that the tests use. */
const NEWEST = 18

test('the table has every parameter and variable of the installed libpq', (t) => {
  const library = postgresBinaries().postgres.replace(/bin\/postgres$/, 'lib/libpq.so.5')
  if (MAJOR < NEWEST || !fs.existsSync(library)) {
    t.pass('there is no libpq here, or an older one that has not all of them')
    return
  }
  const text = fs.readFileSync(library, 'latin1')
  const variables = new Set(text.match(/\bPG[A-Z_]{2,}(?=\0)/g))
  t.true(variables.size > 35, `${variables.size}`)
  const known = new Set(rows.map(({ variable }) => variable))
  for (const variable of variables) {
    // Names of its constants.
    if (!/^PG(RES|COPY|ASYNC|QUERY|TRANS)/.test(variable)) t.true(known.has(variable), variable)
  }
  // A libpq before version 19 does not have all of them.
  const isOld = !variables.has('PGOAUTHCAFILE')
  for (const { keyword, what } of rows) {
    if (keyword && !(isOld && what.includes('from version 19 on')))
      t.true(text.includes(`${keyword}\0`), keyword)
  }
})

/** Values that are taken, and what a session then says of itself. */
const USED: Record<string, [value: string, asked?: string, answer?: string]> = {
  application_name: ['by name', setting('application_name'), 'by name'],
  fallback_application_name: ['at last', setting('application_name'), 'at last'],
  options: ['-c statement_timeout=4321', setting('statement_timeout'), '4321ms'],
  connect_timeout: ['7'],
  channel_binding: ['disable'],
  keepalives: ['1'],
  keepalives_idle: ['30'],
  keepalives_interval: ['5'],
  keepalives_count: ['3'],
  tcp_user_timeout: ['1500'],
  sslmode: ['disable', 'SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()', 'false'],
  sslnegotiation: ['postgres'],
  sslcert: ['/no/such/file'],
  sslkey: ['/no/such/file'],
  sslrootcert: ['/no/such/file'],
  sslcertmode: ['disable'],
  sslsni: ['0'],
  ssl_min_protocol_version: ['TLSv1.3'],
  ssl_max_protocol_version: ['TLSv1.2'],
  target_session_attrs: ['primary', 'SELECT pg_is_in_recovery()::text', 'false'],
  load_balance_hosts: ['random'],
  passfile: ['/no/such/file'],
  PGTZ: ['Asia/Kathmandu', setting('TimeZone'), 'Asia/Kathmandu'],
  PGDATESTYLE: ['German, DMY', setting('DateStyle'), 'German, DMY'],
  PGGEQO: ['off', setting('geqo'), 'off'],
  PGREQUIRESSL: ['0'],
}

/** Values that are none, and what is said to them. */
const WRONG: Record<string, [value: string, message: RegExp]> = {
  hostaddr: ['localhost', /an IPv4 or IPv6 address/],
  port: ['0', /an integer between 1 and 65535/],
  channel_binding: ['yes', /one of `disable`, `prefer`, `require`/],
  connect_timeout: ['soon', /an integer >= 0, in seconds/],
  keepalives: ['on', /an integer >= 0/],
  keepalives_idle: ['-1', /an integer >= 0/],
  keepalives_interval: ['1.5', /an integer >= 0/],
  keepalives_count: ['x', /an integer >= 0/],
  tcp_user_timeout: ['x', /an integer >= 0/],
  sslmode: ['on', /one of `disable`, `allow`, `prefer`, `require`, `verify-ca`, `verify-full`/],
  sslnegotiation: ['now', /one of `postgres`, `direct`/],
  sslcertmode: ['require', /one of `disable`, `allow`/],
  sslsni: ['2', /one of `0`, `1`/],
  ssl_min_protocol_version: ['TLSv2', /one of .*`TLSv1\.3`/],
  ssl_max_protocol_version: ['TLSv1', /one of `TLSv1\.2`, `TLSv1\.3`/],
  target_session_attrs: ['master', /one of `any`, .*`prefer-standby`/],
  load_balance_hosts: ['yes', /one of `disable`, `random`/],
}

const SECRET = 'hunter2-27182'

function refuses(
  t: ExecutionContext,
  open: () => unknown,
  option: string,
  name: string,
  message = /./,
): void {
  const error = t.throws(open, { instanceOf: ConnectionPoolConfigurationError, message }, name)
  t.is(error?.option, option)
  t.true(error?.message.includes(name), error?.message)
  t.false(error?.message.includes(SECRET))
}

for (const { keyword, variable, what } of rows) {
  const name = keyword ?? variable!
  test(`${name} is ${what.split(/[;:,]/)[0]!}, as the table says`, async (t) => {
    const base = { ...(await place()), password: SECRET }
    /** The same in a URL, in key/value pairs, and in the environment. */
    const inDsn = keyword
      ? (text: string) =>
          [url, pairs].map((form) => () => new ConnectionPool(form({ ...base, [keyword]: text })))
      : () => []
    const inEnvironment = variable
      ? (text: string) => [() => openWith({ [variable]: text }, pairs({}) || undefined)]
      : () => []
    if (what.startsWith('refused')) {
      for (const open of inDsn('x')) refuses(t, open, 'dsn', name, /not supported: /)
      for (const open of inEnvironment('x'))
        refuses(t, open, variable!, variable!, /not supported: /)
    } else if (what.startsWith('only')) {
      const accepted = [...what.split(/[:;]/)[0]!.matchAll(/`([^`]+)`/g)].map((match) => match[1]!)
      t.true(accepted.length > 0)
      for (const text of accepted)
        for (const open of [...inDsn(text), ...inEnvironment(text)]) t.notThrows(open, text)
      for (const open of inDsn('other')) refuses(t, open, 'dsn', name)
      for (const open of inEnvironment('other'))
        refuses(t, open, variable!, variable!, /got `other`/)
    } else if (what.startsWith('no effect')) {
      t.is(keyword, undefined)
      for (const open of inEnvironment('x')) t.notThrows(open)
    } else {
      t.true(what.startsWith('used'), what)
      const [wrong, message] = WRONG[name] ?? []
      if (wrong !== undefined) {
        for (const open of inDsn(wrong)) refuses(t, open, 'dsn', name, message)
        for (const open of inEnvironment(wrong)) refuses(t, open, variable!, variable!, message)
      }
      await isUsed(t, { keyword, variable, what })
    }
  })
}

const addressOf = async (host: string) => (await lookup(host)).address

async function isUsed(t: ExecutionContext, { keyword, variable }: Row): Promise<void> {
  const base = await place()
  if (keyword !== undefined && keyword in base) {
    // These are what every other connection here is made with; now from the other source.
    const { [keyword]: text, ...rest } = base
    if (variable) {
      const pool = openWith({ [variable]: text! }, pairs(rest))
      t.is(await value(pool, 'SELECT 1'), 1)
    }
    return
  }
  const name = keyword ?? variable!
  const [text, asked = 'SELECT 1', answer = 1] =
    name === 'hostaddr' ? [await addressOf(base['host']!)] : USED[name]!
  // A file that is not there is only in the way where it is needed.
  const extra = /^ssl(cert|key|rootcert)$/.test(name) ? { sslmode: 'disable' } : {}
  const pools: ConnectionPool[] = []
  const all: Record<string, string> = { ...base, ...extra }
  if (keyword) {
    pools.push(...[url, pairs].map((form) => new ConnectionPool(form({ ...all, [keyword]: text }))))
  }
  if (variable) {
    // An address belongs to the hosts of its source.
    const { host, ...rest } = all
    const variables = { [variable]: text, PGHOST: host! }
    pools.push(openWith(variables, name === 'hostaddr' ? pairs(rest) : pairs(all)))
  }
  for (const pool of pools) t.is(await value(pool, asked), answer)
}

test('an address is where a host is, and the host only its name', async (t) => {
  const { host: name, ...base } = await place()
  const host = await addressOf(name!)
  const dsn = pairs({ ...base, host: 'no-such-host.invalid', hostaddr: host })
  t.is(await value(new ConnectionPool(dsn), 'SELECT 1'), 1)
  const both = pairs({
    ...base,
    host: 'a.invalid,b.invalid',
    hostaddr: `127.0.0.2,${host}`,
    port: `1,${base['port']}`,
  })
  t.is(await value(new ConnectionPool(both), 'SELECT 1'), 1)
  t.throws(() => new ConnectionPool('host=a,b hostaddr=127.0.0.1'), {
    instanceOf: ConnectionPoolConfigurationError,
    message: /as many `hostaddr` as `host`, got 1 and 2/,
  })
})

test('of two settings of the server the DSN counts more than the environment', async (t) => {
  const dsn = `${url(await place())}&statement_timeout=5000`
  const PGOPTIONS = '-c statement_timeout=0 -c lock_timeout=7000'
  t.is(await value(openWith({ PGOPTIONS }, dsn), setting('statement_timeout')), '5s')
  t.is(await value(openWith({ PGOPTIONS }, dsn), setting('lock_timeout')), '7s')
  const options = '-c statement_timeout=6000'
  const both = () => openWith({ PGOPTIONS }, { dsn, options })
  t.is(await value(both(), setting('statement_timeout')), '6s')
  t.is(await value(both(), setting('lock_timeout')), '0')
})

test('the ports of a URL with several hosts are its own', async (t) => {
  const { user, password, dbname } = await place()
  const hosts = '127.0.0.1,127.0.0.1'
  const account = `${encodeURIComponent(user!)}:${encodeURIComponent(password!)}`
  const pool = openWith({ PGPORT: '2' }, `postgres://${account}@${hosts}/${dbname}`)
  // A server may listen there.
  const asked = value(pool, 'SELECT 1').catch((error: Error) => error.message)
  t.notRegex(String(await asked), /127\.0\.0\.1:2/)
})

test('`default` in a variable is what the server does by itself', async (t) => {
  const dsn = pairs(await place())
  const variables = { PGTZ: 'default', PGDATESTYLE: 'Default', PGGEQO: 'DEFAULT' }
  for (const name of ['TimeZone', 'DateStyle', 'geqo']) {
    const asked = value(new ConnectionPool(dsn), setting(name))
    t.is(await value(openWith(variables, dsn), setting(name)), await asked)
  }
})

test("a zero among keepalives is the operating system's number", async (t) => {
  for (const name of [
    'keepalives_idle',
    'keepalives_interval',
    'keepalives_count',
    'keepalives_retries',
  ]) {
    const pool = new ConnectionPool(pairs({ ...(await place()), [name]: '0' }))
    t.is(await value(pool, 'SELECT 1'), 1, name)
  }
})

test('a bound in a DSN bounds', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const pool = new ConnectionPool(`postgres://127.0.0.1:${port}/?connect_timeout=1`)
  t.teardown(() => pool.close())
  await t.throwsAsync(pool.connection(), {
    instanceOf: ConnectionFailedError,
    message: /no answer within 1 s/,
  })
})

test('what is none of libpq’s is an error in a DSN, and is not shown', (t) => {
  for (const dsn of [`host=h ${SECRET}=x`, `postgres://h/?${SECRET}=x`]) {
    refuses(t, () => new ConnectionPool(dsn), 'dsn', '`dsn`', /none of libpq's/)
  }
  t.notThrows(() => openWith({ PGSOMETHING: 'x' }))
})

function passwordFile(name: string, lines: string[], mode = 0o600): string {
  const file = path.join(home, name)
  fs.writeFileSync(file, lines.join('\n'))
  fs.chmodSync(file, mode)
  return file
}

const escaped = (text: string) => text.replaceAll(/[:\\]/g, String.raw`\$&`)

test.serial('a password is looked for in a file, by host, port, database and user', async (t) => {
  const { password, ...base } = await place()
  const { host, port, dbname, user } = base as Record<'host' | 'port' | 'dbname' | 'user', string>
  const secret = escaped(password!)
  const file = passwordFile('passwords', [
    '# hostname:port:database:username:password',
    'other:*:*:*:wrong',
    `${host}:1:*:*:wrong`,
    `*:*:${dbname}x:*:wrong`,
    `*:*:*:nobody:wrong`,
    `${host}:${port}:${dbname}:${user}:${secret}`,
    '*:*:*:*:wrong',
  ])
  t.is(await value(new ConnectionPool(pairs({ ...base, passfile: file })), 'SELECT 1'), 1)
  t.is(await value(openWith({ PGPASSFILE: file }, pairs(base)), 'SELECT 1'), 1)
  // It is read for each connection, and only when there is no password.
  const pool = new ConnectionPool(pairs({ ...base, passfile: file }))
  passwordFile('passwords', ['*:*:*:*:wrong'])
  const error = await t.throwsAsync(value(pool, 'SELECT 1'), { instanceOf: DatabaseError })
  t.regex(error.message, /password authentication failed.*the password is from .*passwords/)
  const given = pairs({ ...base, password: password!, passfile: file })
  t.is(await value(new ConnectionPool(given), 'SELECT 1'), 1)
})

test.serial(
  "libpq's own password file is used, and passed over with a word when others can read it",
  async (t) => {
    const { password, ...base } = await place()
    const lines = [`*:*:*:*:${escaped(password!)}`]
    const file = passwordFile('.pgpass', lines)
    t.is(await value(new ConnectionPool(pairs(base)), 'SELECT 1'), 1)
    passwordFile('.pgpass', lines, 0o644)
    const asks = /asks for a password, and none is configured/
    const failed = async (message: RegExp) => {
      const instanceOf = ConnectionPoolConfigurationError
      const error = await t.throwsAsync(value(new ConnectionPool(pairs(base)), 'SELECT 1'), {
        instanceOf,
      })
      t.regex(error.message, asks)
      t.regex(error.message, message)
      t.is(error.option, 'password')
    }
    await failed(/password file is not used: .*\.pgpass: others have access to it.*0600.*0644/)
    fs.rmSync(file)
    await failed(/configured$/)
  },
)

test.serial('a password file that was named and cannot be used is an error', async (t) => {
  const { password: _, ...base } = await place()
  const open = passwordFile('open', ['*:*:*:*:x'], 0o640)
  for (const [file, message] of [
    [path.join(home, 'missing'), /there is no such file/],
    [home, /not a regular file/],
    [open, /others have access to it/],
  ] as const) {
    const pool = new ConnectionPool(pairs({ ...base, passfile: file }))
    const error = await t.throwsAsync(value(pool, 'SELECT 1'), {
      instanceOf: ConnectionPoolConfigurationError,
      message,
    })
    t.is(error.option, 'passfile')
    t.true(error.message.includes(file))
  }
})

test('counts that do not fit are told of where they stand', (t) => {
  for (const [variables, options, option, text = option] of [
    [{ PGHOSTADDR: '127.0.0.1,::1', PGHOST: 'a' }, {}, 'PGHOSTADDR'],
    [{ PGPORT: '1,2', PGHOST: 'a' }, {}, 'PGPORT'],
    [{ PGPORT: '1,2' }, { host: 'a' }, 'PGPORT'],
    [{ PGPORT: '1,2' }, 'postgres:///x', 'PGPORT'],
    [{}, 'host=a port=1,2', 'dsn', 'DSN'],
    [{}, 'host=a hostaddr=127.0.0.1,::1', 'dsn', 'hostaddr'],
    [{}, { host: 'a', ports: [1, 2] }, 'ports', 'one port'],
  ] as [Record<string, string>, ConnectionPoolOptions | string, string, string?][]) {
    refuses(t, () => openWith(variables, options), option, text)
  }
})
