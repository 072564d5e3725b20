// A panic ends nothing but what it struck: the host lives, nothing hangs, and everybody else goes on.
//
// The panics are real, in a copy of the package whose addon has fail points.

import test, { type ExecutionContext } from 'ava'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import type * as Package from 'pglisten'
import type { ConnectionPool, ConnectionPoolOptions, Gap, Listener } from 'pglisten'
import { serverDsn } from '../../lab/server/test-server.js'
import { uniqueName } from '../../lab/unique-name.js'
import { deferred, waitFor, within } from '../../lab/wait.js'
import { root } from '../../scripts/lib/run.mjs'
import { addons, setupWithFailPoints } from '../../scripts/lib/setup.mjs'

const points = mkdtempSync(path.join(tmpdir(), 'pglisten-fail-points-'))
process.env['PGLISTEN_FAIL_POINTS'] = points
// Each panic tells of itself on standard error; one line is enough.
process.env['RUST_BACKTRACE'] = '0'
let copy = ''
let pglisten: typeof Package

/** What nobody has caught. */
const uncaught: unknown[] = []
process.on('uncaughtException', (error) => uncaught.push(error))
process.on('unhandledRejection', (error) => uncaught.push(error))

test.before(async (t) => {
  t.timeout(600_000)
  copy = await setupWithFailPoints()
  pglisten = (await import(
    pathToFileURL(path.join(copy, 'dist', 'index.js')).href
  )) as typeof Package
})

test.after.always(() => rmSync(points, { recursive: true }))

/** Whoever comes to the point next panics there. */
const arm = (point: string) => writeFileSync(path.join(points, point), '')
const wasReached = (point: string) => !existsSync(path.join(points, point))

async function openPool(
  t: ExecutionContext,
  options: ConnectionPoolOptions = {},
): Promise<ConnectionPool> {
  const pool = new pglisten.ConnectionPool({ dsn: await serverDsn(), ...options })
  t.teardown(() => pool.close())
  return pool
}

/** A started listener, with what its callback and an iterator have got, and its events. */
async function openScene(t: ExecutionContext) {
  const pool = await openPool(t)
  const channel = uniqueName('panics')
  // A panic of a shared session's tasks is everybody's who shares it.
  const listener = pool.listener({ channels: [channel], session: 'own' })
  const called: string[] = []
  const iterated: (string | Gap)[] = []
  const events: string[] = []
  const errors: Error[] = []
  for (const name of ['connected', 'disconnected', 'reconnected', 'gap', 'closed'] as const)
    listener.on(name, () => events.push(name))
  listener.on('error', (error) => errors.push(error))
  await listener.addCallback(channel, (_, payload) => called.push(payload))
  listener.addGapCallback(() => called.push('gap'))
  await listener.startup()
  const iterator = listener.messages({ gaps: 'include' })
  const ended = (async () => {
    for await (const message of iterator)
      iterated.push('payload' in message ? message.payload : message)
  })().catch((error: unknown) => error)
  listener.listen()
  /** Notifies from elsewhere, and waits until every consumer has got it. */
  const arrives = async (payload: string) => {
    await pool.notify(channel, payload)
    await waitFor(() => called.includes(payload) && iterated.includes(payload), { what: payload })
  }
  return { pool, channel, listener, called, iterated, events, errors, ended, arrives }
}

/** The first argument of each event. */
type Told = { [Name in keyof Package.ListenerEvents]: Package.ListenerEvents[Name][0] }

/** The argument of the next event of that name. `once()` of `node:events` would reject with an `error` event. */
const next = <Name extends keyof Told>(listener: Listener, name: Name) =>
  within(
    new Promise<Told[Name]>((resolve) =>
      (listener as NodeJS.EventEmitter).once(name, (told: Told[Name]) => resolve(told)),
    ),
    { what: `the event ${name}` },
  )

/** The integers from the first to the last, as payloads. */
const numbers = (first: number, last: number) =>
  Array.from({ length: last - first + 1 }, (_, index) => String(first + index))

const isDefect = (t: ExecutionContext, error: unknown, point: string) => {
  t.true(error instanceof pglisten.PglistenError, String(error))
  const { code, message } = error as Package.PglistenError
  t.is(code, 'ERR_PGLISTEN_INTERNAL', message)
  t.true(message.includes(`fail point ${point} was reached`), message)
}

/** A test of its own, with a listener beside it that must notice nothing. */
function panics(point: string, what: string, body: (t: ExecutionContext) => Promise<void>) {
  test.serial(`a panic ${what}`, async (t) => {
    const beside = await openScene(t)
    await body(t)
    t.true(wasReached(point), 'nobody came to the point')
    await within(beside.arrives('beside'))
    t.deepEqual(beside.called, ['beside'])
    t.deepEqual(beside.iterated, ['beside'])
    t.deepEqual(beside.events, ['connected'])
    t.deepEqual(beside.errors, [])
    t.deepEqual(uncaught.splice(0), [])
  })
}

for (const point of ['session', 'publish']) {
  panics(point, `of the task that reads a session (${point}) is one gap`, async (t) => {
    const { pool, channel, listener, called, iterated, events, errors, arrives } =
      await openScene(t)
    await arrives('before')
    const disconnected = next(listener, 'disconnected')
    const reconnected = next(listener, 'reconnected')
    arm(point)
    await pool.notify(channel, 'lost')
    isDefect(t, (await disconnected).error, point)
    const { gap } = await reconnected
    t.true(gap.message.includes(`fail point ${point} was reached`), gap.message)
    await arrives('after')
    await within(listener.sync())
    t.deepEqual(called, ['before', 'gap', 'after'])
    t.deepEqual(
      iterated.map((it) => (typeof it === 'string' ? it : it.reason)),
      ['before', 'disconnect', 'after'],
    )
    t.deepEqual(events, ['connected', 'disconnected', 'connected', 'gap', 'reconnected'])
    t.deepEqual(errors, [])
    await within(listener.shutdown())
  })
}

panics('session', 'of the task that reads a shared session is one gap for each', async (t) => {
  const pool = await openPool(t)
  const channel = uniqueName('panics')
  const heard: string[][] = [[], [], []]
  const listeners = await Promise.all(
    heard.map((own) =>
      pool.listen({ [channel]: (_connection, payload) => void own.push(payload) }),
    ),
  )
  listeners.forEach((listener, number) => listener.on('gap', () => heard[number]!.push('gap')))
  t.is(listeners[0]!.stats().session?.listeners, 3)
  const back = listeners.map((listener) => next(listener, 'reconnected'))
  arm('session')
  await pool.notify(channel, 'wakes the task')
  await within(Promise.all(back))
  await pool.notify(channel, 'after')
  await within(Promise.all(listeners.map((listener) => listener.sync())))
  for (const own of heard) t.deepEqual(own.slice(-2), ['gap', 'after'])
  t.is(listeners[0]!.stats().session?.listeners, 3)
})

panics(
  'attempt',
  'in an attempt to connect rejects startup(), and is tried again later',
  async (t) => {
    const { listener, arrives } = await openScene(t)
    const warned = next(listener, 'warning')
    const other = (await openPool(t)).listener()
    arm('attempt')
    isDefect(t, await t.throwsAsync(within(other.startup())), 'attempt')
    t.is(other.state, 'idle')
    await within(other.startup())

    arm('attempt')
    const reconnected = next(listener, 'reconnected')
    await listener.connection
      .execute('SELECT pg_terminate_backend(pg_backend_pid())')
      .catch(() => {})
    isDefect(t, (await warned).error, 'attempt')
    await reconnected
    await arrives('after')
  },
)

panics(
  'supervisor',
  'of a listener’s supervisor closes the listener, with its cause',
  async (t) => {
    const { channel, listener, called, events, ended, arrives, pool } = await openScene(t)
    await arrives('before')
    const { connection } = listener
    const running = connection.fetchVal('SELECT pg_sleep(60)')
    const closed = next(listener, 'closed')
    arm('supervisor')
    const settled = [listener.sync(), listener.addChannel(uniqueName('new')), running]
    const [sync, added, statement] = (await within(
      Promise.allSettled(settled),
    )) as PromiseRejectedResult[]
    const cause = 'fail point supervisor was reached'
    for (const { reason } of [sync!, added!]) {
      t.true(reason instanceof pglisten.ListenerClosedError, String(reason))
      t.true((reason as Error).message.includes(cause), String(reason))
    }
    t.true(statement!.reason instanceof pglisten.ConnectionClosedError, String(statement!.reason))
    const error = await closed
    t.true(error instanceof pglisten.ListenerClosedError, String(error))
    t.true(error?.message.includes(cause), error?.message)
    const end = (await within(ended)) as Error
    t.true(end instanceof pglisten.ListenerClosedError && end.message.includes(cause), String(end))
    t.deepEqual(events, ['connected', 'closed'])
    t.throws(() => listener.connection, { code: 'ERR_PGLISTEN_LISTENER_START' })
    await within(listener.shutdown())

    await within(listener.startup())
    listener.listen()
    await pool.notify(channel, 'again')
    await within(listener.sync())
    t.deepEqual(called, ['before', 'again'])
  },
)

panics('connection', 'of the task that reads a connection fails its statements only', async (t) => {
  const pool = await openPool(t, { maxDbPoolSize: 1 })
  const held = await pool.connection()
  await held.fetchVal('SELECT 1')
  arm('connection')
  for (const error of [
    await t.throwsAsync(within(held.fetchVal('SELECT pg_sleep(0.2)'))),
    await t.throwsAsync(within(held.fetchVal('SELECT 1'))),
  ]) {
    t.true(error instanceof pglisten.ConnectionClosedError, String(error))
    t.true(error?.message.includes('fail point connection was reached'), error?.message)
  }
  await within(held.close())
  t.is(await within(pool.fetchVal<number>('SELECT 2')), 2)
  await within(pool.close())
})

panics('borrowed', 'while JavaScript reads a connection fails its statement only', async (t) => {
  const pool = await openPool(t, { maxDbPoolSize: 1 })
  const held = await pool.connection()
  // It is borrowed from the second run on, when it is prepared.
  for (const _ of [1, 2]) await held.fetchVal('SELECT 1')
  arm('borrowed')
  const error = await t.throwsAsync(within(held.fetchVal('SELECT 1')))
  t.true(error instanceof pglisten.ConnectionClosedError, String(error))
  t.true(error?.message.includes('fail point borrowed was reached'), error?.message)
  await within(held.close())
  t.is(await within(pool.fetchVal<number>('SELECT 2')), 2)
  await within(pool.close())
})

panics('borrowed', 'while JavaScript reads a listening session is one gap', async (t) => {
  const { pool, channel, listener, called, events, errors, arrives } = await openScene(t)
  const reconnected = next(listener, 'reconnected')
  // The session is borrowed once notifications come steadily; until then nobody comes to the point.
  arm('borrowed')
  await pool.execute(`DO $$ BEGIN FOR n IN 1..500 LOOP
    PERFORM pg_notify('${channel}', n::text); COMMIT; PERFORM pg_sleep(0.001);
  END LOOP; END $$`)
  const { gap } = await reconnected
  t.true(gap.message.includes('fail point borrowed was reached'), gap.message)
  await arrives('after')
  await within(listener.sync())
  t.is(called.filter((entry) => entry === 'gap').length, 1)
  // In order, with one hole where the gap stands.
  const [before, after] = [called.indexOf('gap'), called.length - called.indexOf('gap') - 2]
  t.deepEqual(called.slice(0, before), numbers(1, before))
  t.deepEqual(called.slice(before + 1, -1), numbers(501 - after, 500))
  t.true(before + after < 500, `${before} before, ${after} after`)
  t.deepEqual(events, ['connected', 'disconnected', 'connected', 'gap', 'reconnected'])
  t.deepEqual(errors, [])
})

panics(
  'statement',
  'while a statement is run rejects it, and the connection goes on',
  async (t) => {
    const pool = await openPool(t, { maxDbPoolSize: 1 })
    const connection = await pool.connection()
    arm('statement')
    isDefect(t, await t.throwsAsync(within(connection.fetchVal('SELECT 1'))), 'statement')
    t.is(await within(connection.fetchVal<number>('SELECT 2')), 2)
    await within(connection.close())
  },
)

panics('open', 'while a connection is opened takes no place of the pool', async (t) => {
  const pool = await openPool(t, { maxDbPoolSize: 1 })
  arm('open')
  isDefect(t, await t.throwsAsync(within(pool.connection())), 'open')
  const connection = await within(pool.connection())
  t.is(await within(connection.fetchVal<number>('SELECT 1')), 1)
  await within(connection.close())
})

panics('give-back', 'while a connection is given back leaves the pool whole', async (t) => {
  const pool = await openPool(t, { maxDbPoolSize: 1 })
  const connection = await pool.connection()
  await connection.execute('BEGIN')
  arm('give-back')
  const warned = new Promise<Error>((resolve) => process.once('warning', resolve))
  await within(connection.close())
  const warning = await within(warned)
  t.true(warning.message.includes('fail point give-back was reached'), warning.message)
  const next = await within(pool.connection())
  t.is(await within(next.fetchVal('SELECT pg_current_xact_id_if_assigned()::text')), null)
  await within(next.close())
})

panics(
  'limits',
  'of the task that closes idle connections does not end their limits',
  async (t) => {
    const pool = await openPool(t, { idleTimeoutSec: 0.05 })
    arm('limits')
    await (await pool.connection()).close()
    await waitFor(() => wasReached('limits'))
    await waitFor(() => pool.status().size === 0)
  },
)

panics('status', 'in a function that JavaScript calls is thrown', async (t) => {
  const pool = await openPool(t)
  arm('status')
  isDefect(
    t,
    t.throws(() => pool.status()),
    'status',
  )
  t.is(pool.status().size, 0)
})

panics('execute', 'in a function that begins a call rejects the call', async (t) => {
  const pool = await openPool(t, { maxDbPoolSize: 1 })
  const connection = await pool.connection()
  arm('execute')
  isDefect(t, await t.throwsAsync(within(connection.fetchVal('SELECT 1'))), 'execute')
  t.is(await within(connection.fetchVal<number>('SELECT 2')), 2)
  await within(connection.close())
})

panics('listener', 'in a constructor rejects startup()', async (t) => {
  const listener = (await openPool(t)).listener()
  arm('listener')
  isDefect(t, await t.throwsAsync(within((async () => listener.startup())())), 'listener')
  t.is(listener.state, 'idle')
  await within(listener.startup())
  await within(listener.shutdown())
})

for (const point of ['result', 'entry']) {
  panics(point, `while a result is converted (${point}) rejects the call`, async (t) => {
    const pool = await openPool(t, { maxDbPoolSize: 1 })
    const connection = await pool.connection()
    arm(point)
    isDefect(t, await t.throwsAsync(within(connection.fetchVal('SELECT 1'))), point)
    t.is(await within(connection.fetchVal<number>('SELECT 2')), 2)
    await within(connection.close())
  })
}

panics('wake', 'in the wake of JavaScript delays what is ready', async (t) => {
  const pool = await openPool(t)
  arm('wake')
  const connection = await within(pool.connection())
  t.is(await within(connection.fetchVal<number>('SELECT 1')), 1)
  await within(connection.close())
})

panics('wake', 'where JavaScript reads an answer itself delays what is ready', async (t) => {
  const pool = await openPool(t)
  const connection = await within(pool.connection())
  // Not before some statements have come one after the other.
  for (let round = 0; round < 10; round += 1) {
    t.is(await within(connection.fetchVal<number>('SELECT 1')), 1)
    arm('wake')
    t.is(await within(connection.fetchVal<number>('SELECT 2')), 2)
    t.true(wasReached('wake'))
  }
  await within(connection.close())
})

panics(
  'drain',
  'while notifications are taken is an `error` event, and none is lost',
  async (t) => {
    const { pool, channel, listener, called, iterated, errors } = await openScene(t)
    await pool.notify(channel, 'here')
    // What comes alone is handed over; a fence is always drained.
    arm('drain')
    await within(listener.sync())
    isDefect(t, errors[0], 'drain')
    t.is(errors.length, 1)
    t.deepEqual(called, ['here'])
    t.deepEqual(iterated, ['here'])
  },
)

// What comes alone is handed over with the wake, and what comes together is drained.
for (const together of [1, 3]) {
  panics(
    'hand-over',
    `while one of ${together} is handed over is an \`error\` event, and a gap counts it`,
    async (t) => {
      const { pool, channel, listener, called, iterated, errors, arrives } = await openScene(t)
      const told = next(listener, 'gap')
      arm('hand-over')
      await pool.execute(
        'SELECT pg_notify($1, number::text) FROM generate_series(1, $2::int) AS number',
        [channel, together],
      )
      const { dropped } = await told
      isDefect(t, errors[0], 'hand-over')
      await arrives('last').catch(() => {})
      await within(listener.sync())
      // One of the two consumers has lost what was handed over together with it, and only that one.
      const count = (got: readonly unknown[]) =>
        got.filter((one) => typeof one === 'string' && one !== 'gap').length
      const counts = [count(called), count(iterated)].sort((a, b) => a - b)
      t.deepEqual(counts, [together + 1 - dropped!, together + 1])
      t.true(dropped! >= 1 && called.includes('last') && iterated.includes('last'))
    },
  )
}

panics(
  'hand-over',
  'while a gap is handed over is an `error` event, and each consumer has the gap all the same',
  async (t) => {
    const { pool, listener, called, iterated, errors, arrives } = await openScene(t)
    await arrives('before')
    const failed = next(listener, 'error')
    arm('hand-over')
    await pool.execute('SELECT pg_terminate_backend($1)', [listener.stats().session!.processId])
    isDefect(t, await failed, 'hand-over')
    await arrives('after')
    t.deepEqual(called, ['before', 'gap', 'after'])
    t.is(iterated.length, 3)
    t.is((iterated[1] as Gap).reason, 'disconnect')
    t.is(errors.length, 1)
  },
)

panics('events', 'while events are taken is an `error` event, and they come later', async (t) => {
  const listener = (await openPool(t)).listener()
  const failed = deferred<Error>()
  listener.on('error', failed.resolve)
  const connected = next(listener, 'connected')
  arm('events')
  const started = listener.startup()
  isDefect(t, await within(failed.promise), 'events')
  await connected
  await within(started)
  t.is(listener.state, 'connected')
})

panics('finalizer', 'in a finalizer of the garbage collector is over with it', async (t) => {
  arm('finalizer')
  const leave = async () => {
    const pool: ConnectionPool = new pglisten.ConnectionPool({ dsn: await serverDsn() })
    const listener: Listener = pool.listener()
    return listener.state
  }
  t.is(await leave(), 'idle')
  await waitFor(() => {
    globalThis.gc?.()
    return wasReached('finalizer')
  })
})

test('the addon that is published has no fail point', (t) => {
  const holds = (file: string, text: string) => readFileSync(file).includes(text)
  t.true(addons().length > 0)
  for (const name of addons()) {
    for (const text of ['PGLISTEN_FAIL_POINTS', 'fail point']) {
      t.true(holds(path.join(copy, 'native', name), text), 'the search finds what is there')
      t.false(holds(path.join(root, 'native', name), text))
    }
  }
})
