// What other clients' options are here.

import test from 'ava'
import { ConnectionPool } from 'pglisten'
import type { ClientConfig } from 'pg'
import type { Options as Theirs } from 'postgres'
import createSubscriber, { type ConnectionConfig } from 'pglisten/compat/pg-listen'
import type { Options } from 'pglisten/compat/postgres'
import { poolOptions as fromPg } from '../../src-ts/compat/pg-listen-options.js'
import { poolOptions as fromPostgres } from '../../src-ts/compat/postgres-options.js'

const VERIFIED = { sslMode: 'verify-full', caFile: 'system' }

test('each option of pg has its place', (t) => {
  const options = fromPg({
    ...{ host: 'db', port: '5433' as unknown as number, user: 'app', password: 'secret' },
    ...{ database: 'shop', application_name: 'orders', fallback_application_name: 'other' },
    ...{ connectionTimeoutMillis: 2500, keepAliveInitialDelayMillis: 0, keepAlive: true },
    ...{ options: '-c geqo=off', statement_timeout: 5000, lock_timeout: 0 },
    ...({ max: 20, idleTimeoutMillis: 5, types: {}, applicationName: undefined } as object),
  })
  t.deepEqual(options, {
    ...{ host: 'db', port: 5433, username: 'app', password: 'secret', dbName: 'shop' },
    ...{ applicationName: 'orders', connectTimeoutSec: 2.5 },
    options: '-c geqo=off -c statement_timeout=5000 -c lock_timeout=0',
  })
  t.notThrows(() => new ConnectionPool(options))
  t.deepEqual(fromPg({ fallback_application_name: 'other' }), { applicationName: 'other' })
  for (const name of ['query_timeout', 'stream', 'nonsense'])
    t.throws(() => createSubscriber({ [name]: 5 }), { message: new RegExp(`\`${name}\``) })
})

test('encryption of pg: what the address says counts', (t) => {
  t.deepEqual(fromPg({ ssl: true }), VERIFIED)
  t.deepEqual(fromPg({ ssl: false }), { sslMode: 'disable' })
  t.deepEqual(fromPg({ ssl: {} }), VERIFIED)
  t.deepEqual(fromPg({ ssl: { rejectUnauthorized: false, ca: 'CA' } }), { sslMode: 'require' })
  t.deepEqual(fromPg({ ssl: { ca: [Buffer.from('A'), 'B'], cert: 'C', key: Buffer.from('K') } }), {
    ...{ sslMode: 'verify-full', ca: 'A\nB', cert: 'C', key: 'K' },
  })
  t.throws(() => fromPg({ ssl: { servername: 'db' } }), { message: /`ssl\.servername`/ })
  const connectionString = 'postgres://db/shop?sslmode=verify-full&sslrootcert=system'
  t.deepEqual(fromPg({ connectionString, ssl: false }), { dsn: connectionString })
})

test('each option of postgres.js has its place', (t) => {
  const pass = () => 'secret'
  const options = fromPostgres({
    ...{ host: ['one', 'two'], port: [5432, 5433], user: 'app', pass, database: 'shop' },
    ...{ max: 3, idle_timeout: 20, max_lifetime: null, connect_timeout: 5, keep_alive: 30 },
    ...{ target_session_attrs: 'primary', ssl: 'allow', backoff: true, debug: true, types: {} },
    connection: { application_name: 'orders', search_path: 'my schema', statement_timeout: 5 },
  })
  t.deepEqual(options, {
    ...{ hosts: ['one', 'two'], ports: [5432, 5433], username: 'app', password: pass },
    ...{ dbName: 'shop', maxDbPoolSize: 3, idleTimeoutSec: 20, connectTimeoutSec: 5 },
    ...{ keepalivesIdleSec: 30, targetSessionAttrs: 'primary', sslMode: 'require' },
    applicationName: 'orders',
    options: String.raw`-c search_path=my\ schema -c statement_timeout=5`,
  })
  t.notThrows(() => new ConnectionPool(options))
  t.deepEqual(fromPostgres({ host: 'one:5433,two' }), {
    hosts: ['one', 'two'],
    ports: [5433, 5432],
  })
  t.deepEqual(fromPostgres({ host: 'one,two', port: 5433 }), { hosts: ['one', 'two'], port: 5433 })
  t.deepEqual(fromPostgres({ host: 'db:5433' }), { hosts: ['db'], ports: [5433] })
  t.deepEqual(fromPostgres({ host: 'a:1,b', port: 2 }), { hosts: ['a', 'b'], ports: [1, 2] })
  t.deepEqual(fromPostgres({ port: 2, host: 'a:1,b' }), { hosts: ['a', 'b'], ports: [1, 2] })
  t.deepEqual(fromPostgres({ host: 'a,b', port: [1, 2] }), { hosts: ['a', 'b'], ports: [1, 2] })
  t.deepEqual(fromPostgres({ host: '::1' }), { host: '::1' })
  t.deepEqual(fromPostgres({ path: '/tmp/.s.PGSQL.5433' }), { host: '/tmp', port: 5433 })
  t.deepEqual(fromPostgres({ path: '/tmp' }), { host: '/tmp' })
  t.deepEqual(fromPostgres({ ssl: 'verify-full' }), VERIFIED)
  // What postgres.js does not send either.
  const none = { statement_timeout: undefined, lock_timeout: null, geqo: '', jit: 0, log: false }
  const nameless = { application_name: '', ...none }
  t.deepEqual(fromPostgres({ connection: nameless }), {})
  t.deepEqual(fromPostgres({ connection: { ...none, application_name: null, work_mem: 64 } }), {
    options: '-c work_mem=64',
  })
})

test('settings with spaces and backslashes arrive as they are', async (t) => {
  const { serverDsn } = await import('../../lab/server/test-server.js')
  const value = String.raw`a b\c`
  const pool = new ConnectionPool({
    dsn: await serverDsn(),
    ...fromPostgres({ connection: { 'some.var': value } }),
  })
  t.teardown(() => pool.close())
  t.is(await pool.fetchVal("SELECT current_setting('some.var')"), value)
})

test('the types of the other clients’ options fit', (t) => {
  const pg = (config: ClientConfig): ConnectionConfig => config
  const postgres = (options: Theirs<{}>): Options => options
  t.deepEqual(pg({ host: 'a' }), { host: 'a' })
  t.deepEqual(postgres({ host: 'a' }), { host: 'a' })
})
