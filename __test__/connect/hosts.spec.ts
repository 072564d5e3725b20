// Several hosts, and the role that a server must have: a primary and its standby, asked for in each of libpq's six ways.

import test from 'ava'
import { once } from 'node:events'
import {
  ConnectionFailedError,
  ConnectionPool,
  type ConnectionPoolOptions,
  DatabaseError,
  type TargetSessionAttrs,
} from 'pglisten'
import type { DevServer } from '../../lab/server/dev-server.mjs'
import { Arena } from '../../lab/faults/arena.js'
import { collect, within } from '../../lab/wait.js'

let arena: Arena
let standby: DevServer

test.before(async () => {
  arena = await Arena.open()
  standby = await arena.makeStandby()
  await standby.start()
})

test.after.always(async () => {
  await standby?.stop('immediate')
  await arena?.close()
})

type Place = 'primary' | 'standby' | 'nowhere'

const port = (place: Place) =>
  ({ primary: arena.server.port, standby: standby.port, nowhere: 1 })[place]

/** A pool that knows these hosts, in this order. */
function open(places: Place[], options: ConnectionPoolOptions = {}): ConnectionPool {
  const { username, password, pathname } = new URL(arena.directDsn)
  return new ConnectionPool({
    hosts: places.map(() => '127.0.0.1'),
    ports: places.map(port),
    username,
    password: decodeURIComponent(password),
    dbName: pathname.slice(1),
    ...options,
  })
}

/** Where a connection of a pool ends. */
async function where(pool: ConnectionPool): Promise<Place> {
  try {
    const connection = await pool.connection()
    const isStandby = await connection.fetchVal<boolean>('SELECT pg_is_in_recovery()')
    await connection.close()
    return isStandby ? 'standby' : 'primary'
  } catch (error) {
    if (error instanceof ConnectionFailedError && /targetSessionAttrs/.test(error.message))
      return 'nowhere'
    throw error
  } finally {
    await pool.close()
  }
}

const ROLES: [TargetSessionAttrs, onlyPrimary: Place, onlyStandby: Place, both: Place][] = [
  ['any', 'primary', 'standby', 'primary'],
  ['read-write', 'primary', 'nowhere', 'primary'],
  ['read-only', 'nowhere', 'standby', 'standby'],
  ['primary', 'primary', 'nowhere', 'primary'],
  ['standby', 'nowhere', 'standby', 'standby'],
  ['prefer-standby', 'primary', 'standby', 'standby'],
]

for (const [targetSessionAttrs, onlyPrimary, onlyStandby, both] of ROLES) {
  test.serial(`${targetSessionAttrs} takes the server that it asks for`, async (t) => {
    const options = { targetSessionAttrs }
    t.is(await where(open(['primary'], options)), onlyPrimary)
    t.is(await where(open(['standby'], options)), onlyStandby)
    t.is(await where(open(['primary', 'standby'], options)), both)
    t.is(await where(open(['nowhere', 'primary', 'standby'], options)), both)
  })
}

test.serial('sessions that may not write by default are read-only, on a primary too', async (t) => {
  await arena.setForRole('default_transaction_read_only', 'on')
  try {
    t.is(await where(open(['primary'], { targetSessionAttrs: 'read-only' })), 'primary')
    t.is(await where(open(['primary'], { targetSessionAttrs: 'read-write' })), 'nowhere')
    t.is(await where(open(['primary'], { targetSessionAttrs: 'primary' })), 'primary')
  } finally {
    await arena.setForRole('default_transaction_read_only', undefined)
  }
})

test.serial('a host that has not the role says so', async (t) => {
  for (const [place, targetSessionAttrs, message] of [
    ['primary', 'standby', /is a primary, but targetSessionAttrs asks for `standby`/],
    ['standby', 'primary', /is a standby, but targetSessionAttrs asks for `primary`/],
    ['standby', 'read-write', /is read-only, but targetSessionAttrs asks for `read-write`/],
    ['primary', 'read-only', /is read-write, but targetSessionAttrs asks for `read-only`/],
  ] as const) {
    await using pool = open([place], { targetSessionAttrs })
    await t.throwsAsync(pool.connection(), { instanceOf: ConnectionFailedError, message })
  }
})

test.serial('a listener finds the primary while queries go to the standby', async (t) => {
  await using pool = open(['standby', 'primary'], { targetSessionAttrs: 'prefer-standby' })
  const listener = pool.listener({ channels: ['roles'] })
  await listener.startup()
  t.false(await listener.connection.fetchVal('SELECT pg_is_in_recovery()'))
  const messages = collect(listener.messages(), 1)
  await arena.direct.notify('roles', 'here')
  t.like(await messages, [{ payload: 'here' }])
  const connection = await pool.connection()
  t.true(await connection.fetchVal('SELECT pg_is_in_recovery()'))
  await connection.close()
})

test.serial('a listener that must be on a standby cannot start, and says why', async (t) => {
  await using pool = open(['standby', 'primary'], { targetSessionAttrs: 'standby' })
  const listener = pool.listener({ channels: ['roles'] })
  const error = await t.throwsAsync(listener.startup())
  t.true(error instanceof DatabaseError || error instanceof ConnectionFailedError, String(error))
  t.false(listener.isStarted)
})

test.serial('hosts in random order are all used', async (t) => {
  const places = new Set<Place>()
  for (let round = 0; round < 60 && places.size < 2; round += 1)
    places.add(await where(open(['primary', 'standby'], { loadBalanceHosts: 'random' })))
  t.is(places.size, 2)
})

test.serial('a DSN may name several hosts, a Unix-domain socket among them', async (t) => {
  const { username, password } = new URL(arena.directDsn)
  const account = `${username}:${password}`
  const socket = encodeURIComponent(arena.server.folder)
  for (const [hosts, place] of [
    [`127.0.0.1:1,127.0.0.1:${arena.server.port}`, 'primary'],
    [`127.0.0.1:${standby.port},127.0.0.1:${arena.server.port}`, 'standby'],
    [`127.0.0.1:1,${socket}:${arena.server.port}`, 'primary'],
    [`${socket}:${arena.server.port}`, 'primary'],
  ] as const) {
    t.is(await where(new ConnectionPool(`postgres://${account}@${hosts}/victim`)), place, hosts)
  }
  const query = new URLSearchParams({ host: arena.server.folder, port: `${arena.server.port}` })
  const dsn = `postgres://${account}@/victim?${query.toString()}`
  t.is(await where(new ConnectionPool(dsn)), 'primary')
})

test.serial('a listener follows the role to another host', async (t) => {
  await using pool = open(['standby', 'primary'], { targetSessionAttrs: 'read-write' })
  const listener = pool.listener({
    channels: ['roles'],
    reconnect: { initialDelayMs: 10, maxDelayMs: 100 },
  })
  await listener.startup()
  const processId = await listener.connection.fetchVal<number>('SELECT pg_backend_pid()')
  const back = once(listener, 'reconnected')
  await arena.terminate(processId)
  await within(back)
  t.false(await listener.connection.fetchVal('SELECT pg_is_in_recovery()'))
})

test('an attempt that fails at several hosts names each of them with its reason', async (t) => {
  const pool = open(['nowhere', 'standby'], {
    targetSessionAttrs: 'primary',
    applicationName: 'named',
  })
  const listener = pool.listener()
  for (const call of [() => pool.connection(), () => listener.startup()]) {
    const { message } = await t.throwsAsync(call(), { instanceOf: ConnectionFailedError })
    t.regex(message, /^none of 2 hosts can be used: could not connect to 127\.0\.0\.1:1: .*refused/)
    t.true(message.includes(`; 127.0.0.1:${port('standby')} is a standby`), message)
  }
  await pool.close()
})

test('an address that nobody gave is told when it fails', async (t) => {
  const assumed = new ConnectionPool({ port: 1, connectTimeoutSec: 5 })
  const refused = { instanceOf: ConnectionFailedError }
  const { message } = await t.throwsAsync(assumed.connection(), refused)
  t.regex(message, /; no address was given \(`dsn`, `host`, PGHOST\), so localhost:1 was tried$/)
  await assumed.close()
  for (const options of [{ host: 'localhost', port: 1 }, { dsn: 'postgres://localhost:1' }]) {
    await using given = new ConnectionPool(options)
    t.notRegex((await t.throwsAsync(given.connection(), refused)).message, /no address/)
  }
})
