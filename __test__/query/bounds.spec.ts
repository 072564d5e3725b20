// Signals and times of calls: they reach the server, and never the next statement.

import test, { type ExecutionContext } from 'ava'
import { getEventListeners } from 'node:events'
import {
  type CallOptions,
  type Connection,
  ConnectionClosedError,
  ConnectionPool,
  type ConnectionPoolOptions,
  ConnectionPoolExecuteError,
  ConnectionTimeoutError,
  type Cursor,
  type Listener,
  type Transaction,
  TransactionClosedError,
} from 'pglisten'
import { serverDsn } from '../../lab/server/test-server.js'
import { ServerWitness } from '../../lab/witness.js'
import { uniqueName } from '../../lab/unique-name.js'
import { waitFor, within } from '../../lab/wait.js'

async function openPool(t: ExecutionContext, options: ConnectionPoolOptions = {}) {
  const pool = new ConnectionPool({ dsn: await serverDsn(), ...options })
  t.teardown(() => pool.close({ timeoutMs: 100 }))
  return pool
}

const WAYS: Record<string, (connection: Connection, options: CallOptions) => Promise<unknown>> = {
  execute: (c, o) => c.execute('SELECT pg_sleep(60)', [], o),
  fetch: (c, o) => c.fetch('SELECT pg_sleep(60)', [], o),
  fetchRow: (c, o) => c.fetchRow('SELECT pg_sleep(60)', [], o),
  fetchVal: (c, o) => c.fetchVal('SELECT pg_sleep(60)', [], o),
  executeMany: (c, o) => c.executeMany('SELECT pg_sleep($1)', [[60], [60]], o),
  executeBatch: (c, o) => c.executeBatch('SELECT 1; SELECT pg_sleep(60)', [], o),
  'a statement of a transaction': (c, o) =>
    c.transaction((tx) => tx.execute('SELECT pg_sleep(60)', [], o)),
  transaction: (c, o) => c.transaction((tx) => tx.execute('SELECT pg_sleep(60)'), o),
}

for (const [name, run] of Object.entries(WAYS)) {
  test(`${name} is cancelled on the server by its time and by its signal, and the connection goes on`, async (t) => {
    const pool = await openPool(t, { maxDbPoolSize: 1 })
    await using connection = await pool.connection()
    const processId = await connection.fetchVal('SELECT pg_backend_pid()')
    const late = await t.throwsAsync(within(run(connection, { timeoutMs: 100 }), { what: name }))
    t.true(late instanceof ConnectionTimeoutError, late.stack)
    const abort = new AbortController()
    const reason = new Error('no longer wanted')
    setTimeout(() => abort.abort(reason), 100)
    const aborted = await t.throwsAsync(
      within(run(connection, { signal: abort.signal }), { what: name }),
    )
    t.is(aborted, reason)
    t.is(getEventListeners(abort.signal, 'abort').length, 0)
    t.is(await connection.fetchVal('SELECT pg_backend_pid()'), processId)
  })
}

test('a cancellation never hits the statement behind', async (t) => {
  const pool = await openPool(t, { maxDbPoolSize: 1 })
  await using connection = await pool.connection()
  let interrupted = 0
  for (let turn = 0; turn < 200; turn += 1) {
    // Around the moment at which the statement ends by itself.
    const first = connection
      .fetchVal('SELECT pg_sleep(0.005)', [], { timeoutMs: 3 + (turn % 5) })
      .catch((error: unknown) => {
        if (!(error instanceof ConnectionTimeoutError)) throw error
        interrupted += 1
      })
    const behind = connection.fetchVal('SELECT $1::int', [turn])
    await first
    t.is(await behind, turn)
  }
  t.log(`${interrupted} of 200 were interrupted`)
  t.true(interrupted > 0)
})

test('a call that is aborted before it begins, or while it waits for its turn, is not sent', async (t) => {
  const pool = await openPool(t, { maxDbPoolSize: 1 })
  await using connection = await pool.connection()
  const table = uniqueName('not_sent')
  await connection.execute(`CREATE TABLE ${table} (n int)`)
  const insert = `INSERT INTO ${table} VALUES (1)`
  await t.throwsAsync(connection.execute(insert, [], { signal: AbortSignal.abort() }), {
    any: true,
    name: 'AbortError',
  })
  const running = connection.execute('SELECT pg_sleep(0.3)')
  const error = await t.throwsAsync(connection.execute(insert, [], { timeoutMs: 50 }))
  t.true(error instanceof ConnectionTimeoutError)
  await running
  t.is(await connection.fetchVal(`SELECT count(*) FROM ${table}`), 0n)
  await connection.execute(`DROP TABLE ${table}`)
})

test('a transaction whose time is over is rolled back, although its work goes on', async (t) => {
  const pool = await openPool(t, { maxDbPoolSize: 1 })
  await using connection = await pool.connection()
  const table = uniqueName('rolled_back')
  await connection.execute(`CREATE TABLE ${table} (n int)`)
  const never = new Promise<void>(() => {})
  const error = await t.throwsAsync(
    connection.transaction(
      async (tx) => {
        await tx.execute(`INSERT INTO ${table} VALUES (1)`)
        await never
      },
      { timeoutMs: 100 },
    ),
  )
  t.true(error instanceof ConnectionTimeoutError)
  t.is(await connection.fetchVal(`SELECT count(*) FROM ${table}`), 0n)
  await connection.execute(`DROP TABLE ${table}`)
})

test('options in the place of parameters are refused, as is nonsense in them', async (t) => {
  const pool = await openPool(t)
  await using connection = await pool.connection()
  const second = { timeoutMs: 5 } as unknown as []
  await t.throwsAsync(connection.execute('SELECT 1', second), { message: /third argument/ })
  await t.throwsAsync(connection.execute('SELECT 1', [], { timeoutMs: -1 }), {
    code: 'ERR_PGLISTEN_ARGUMENT_RANGE',
  })
  const wrong = { timeout: 5 } as CallOptions
  await t.throwsAsync(connection.execute('SELECT 1', [], wrong), {
    message: /Unknown option `timeout`/,
  })
  await t.throwsAsync(pool.connection(wrong), { message: /Unknown option/ })
})

test('waiting for a connection ends in time, and the error tells who holds how many', async (t) => {
  const pool = await openPool(t, { maxDbPoolSize: 2, acquireTimeoutSec: 0.1 })
  const patient = { timeoutMs: 30_000 }
  const held = await Promise.all([pool.connection(patient), pool.connection(patient)])
  const waits: (() => Promise<unknown>)[] = [
    () => pool.connection(),
    () => pool.notify('x'),
    () => pool.connection({ timeoutMs: 50 }),
  ]
  for (const wait of waits) {
    const error = await t.throwsAsync(within(wait(), { what: 'the end of the wait' }))
    t.true(error instanceof ConnectionPoolExecuteError)
    t.regex(error.message, /all 2 may be in use, held by `pool\.connection\(\)` \(2\)/)
  }
  const abort = new AbortController()
  const waiting = pool.connection({ signal: abort.signal })
  abort.abort()
  await t.throwsAsync(waiting, { any: true, name: 'AbortError' })
  t.is(pool.status().waiting, 0)
  await Promise.all(held.map((connection) => connection.close()))
})

test('a statement on the listening session is cancelled when the listener shuts down, and the session is gone', async (t) => {
  const pool = await openPool(t)
  await using witness = new ServerWitness(await serverDsn())
  const close = [
    (listener: Listener) => listener.shutdown({ timeoutMs: 60_000 }),
    () => pool.close({ timeoutMs: 60_000 }),
  ]
  for (const end of close) {
    const listener = pool.listener()
    await listener.startup()
    const processId = await listener.connection.fetchVal<number>('SELECT pg_backend_pid()')
    const running = listener.connection.execute('SELECT pg_sleep(60)')
    const settled = running.then(
      () => 'resolved',
      (error: unknown) => error,
    )
    await waitFor(() => isActive(witness, processId), { what: 'a running statement' })
    // Neither the statement nor the time for the end is over as soon.
    await within(end(listener))
    t.true((await settled) instanceof ConnectionClosedError)
    const alive = 'SELECT count(*)::int FROM pg_stat_activity WHERE pid = $1'
    t.is(await witness.ask<number>(alive, [processId]), 0)
  }
})

async function isActive(witness: ServerWitness, processId: number): Promise<boolean> {
  const active = "SELECT count(*)::int FROM pg_stat_activity WHERE pid = $1 AND state = 'active'"
  return (await witness.ask<number>(active, [processId])) === 1
}

test('a callback that holds the last connection and waits for another is told of, and ends in time', async (t) => {
  const pool = await openPool(t, { maxDbPoolSize: 1, acquireTimeoutSec: 4 })
  const channel = uniqueName('waits_for_itself')
  const listener = pool.listener()
  const warnings: string[] = []
  const errors: unknown[] = []
  listener.on('warning', ({ message }) => warnings.push(message))
  listener.on('error', (error) => errors.push(error.cause))
  await listener.addCallback(channel, async (connection) => {
    await connection.fetchVal('SELECT 1')
    await pool.notify('elsewhere')
  })
  await listener.startup()
  listener.listen()
  await using beside = await openPool(t)
  await beside.notify(channel)
  await waitFor(() => errors.length > 0, { what: 'the end of the wait' })
  t.true(errors[0] instanceof ConnectionPoolExecuteError, String(errors[0]))
  t.is(warnings.length, 1)
  t.true(warnings[0]?.includes(`held by what handles channel \`${channel}\` (1)`), warnings[0])
})

test('the bounds of a callback’s statement hold while its connection is still to come', async (t) => {
  const pool = await openPool(t, { maxDbPoolSize: 1 })
  const channel = uniqueName('still_to_come')
  const listener = pool.listener()
  const outcomes: unknown[] = []
  await listener.addCallback(channel, async (connection) => {
    const options = { timeoutMs: 50 }
    for (const call of [
      () => connection.execute('SELECT 1', [], options),
      () => connection.transaction(() => 1, options),
      () => connection.fetchVal('SELECT 1', [], { signal: AbortSignal.timeout(50) }),
    ]) {
      outcomes.push(await call().catch((error: unknown) => error))
    }
  })
  await listener.startup()
  listener.listen()
  const held = await pool.connection()
  await held.execute('SELECT pg_notify($1, $2)', [channel, ''])
  await waitFor(() => outcomes.length === 3, { what: 'three rejections' })
  t.true(outcomes[0] instanceof ConnectionTimeoutError)
  t.true(outcomes[1] instanceof ConnectionTimeoutError)
  t.like(outcomes[2], { name: 'TimeoutError' })
  await held.close()
})

test('a transaction that was aborted, or is late, is not committed although its work resolves', async (t) => {
  const pool = await openPool(t, { maxDbPoolSize: 1 })
  await using connection = await pool.connection()
  const reason = new Error('no longer wanted')
  const abort = new AbortController()
  const aborted = connection.transaction(() => abort.abort(reason), { signal: abort.signal })
  t.is(await t.throwsAsync(aborted), reason)
  const late = await t.throwsAsync(connection.transaction(() => 1, { timeoutMs: 0 }))
  t.true(late instanceof ConnectionTimeoutError)
  t.is(await connection.transaction(() => 1, { timeoutMs: 60_000 }), 1)
})

test('a cancellation on a listening session never hits a subscription', async (t) => {
  const pool = await openPool(t)
  const listener = pool.listener({ channels: [uniqueName('hit')] })
  await listener.startup()
  const { connection } = listener
  for (let turn = 0; turn < 100; turn += 1) {
    const outcomes = await Promise.allSettled([
      listener.addChannel(`${uniqueName('hit')}_${turn}`),
      connection.execute('SELECT pg_sleep(0.005)', [], { timeoutMs: 1 + (turn % 6) }),
      connection.fetchVal('SELECT 1'),
      listener.addChannel(`${uniqueName('hit')}_${turn}`),
    ])
    t.is(outcomes[0]?.status, 'fulfilled')
    t.is(outcomes[2]?.status, 'fulfilled')
    t.is(outcomes[3]?.status, 'fulfilled')
  }
  await listener.shutdown()
})

test('a type that was dropped and created again is looked up again', async (t) => {
  const pool = await openPool(t)
  await using connection = await pool.connection()
  const type = uniqueName('again')
  for (const label of ['a', 'b']) {
    await connection.executeBatch(`CREATE TYPE ${type} AS ENUM ('${label}')`)
    t.is(await connection.fetchVal(`SELECT $1::${type}`, [label]), label)
    await connection.executeBatch(`DROP TYPE ${type}`)
  }
})

/** Many rows at once, and the last one after a minute: its result comes in parts, of which the first is there soon. */
const LARGE = 'SELECT n FROM generate_series(1, 40000) n UNION ALL SELECT 0 FROM pg_sleep(60)'
const ENCODED = { types: { encoders: { int4: Number } } }

const LONG: Record<string, (connection: Connection, options: CallOptions) => Promise<unknown>> = {
  'a large result': (c, o) => c.execute(LARGE, [], o),
  'a large result that is one row too many': (c, o) => c.fetchRow(LARGE, [], o),
  'a statement with encoders': (c, o) =>
    c.execute('SELECT pg_sleep(60), $1::int4', [1], { ...o, ...ENCODED }),
  'many runs with encoders': (c, o) =>
    c.executeMany('SELECT pg_sleep(60), $1::int4', [[1], [2]], { ...o, ...ENCODED }),
  'a pipeline with encoders': (c, o) =>
    c.pipeline([['SELECT pg_sleep(60), $1::int4', [1]]], { ...o, ...ENCODED }),
  'a cursor': async (c, o) => {
    for await (const _ of c.cursor(LARGE, [], o));
  },
  'a cursor with encoders': async (c, o) => {
    await using cursor = c.cursor('SELECT pg_sleep(60), $1::int4', [1], { ...o, ...ENCODED })
    await cursor.fetch()
  },
}

for (const [name, run] of Object.entries(LONG)) {
  test(`the bounds of ${name} count to its end`, async (t) => {
    const pool = await openPool(t, { maxDbPoolSize: 1 })
    await using connection = await pool.connection()
    const processId = connection.info.processId
    const abort = new AbortController()
    const reason = new Error('no longer wanted')
    setTimeout(() => abort.abort(reason), 300)
    const aborted = await t.throwsAsync(
      within(run(connection, { signal: abort.signal }), { what: name }),
    )
    t.is(aborted, reason)
    t.is(getEventListeners(abort.signal, 'abort').length, 0)
    await t.throwsAsync(within(run(connection, { timeoutMs: 300 }), { what: name }), {
      instanceOf: ConnectionTimeoutError,
    })
    const bounds = { timeoutMs: 300 }
    await t.throwsAsync(
      within(
        connection.transaction((tx) => run(tx as unknown as Connection, {}), bounds),
        { what: `${name} in a transaction` },
      ),
      { instanceOf: ConnectionTimeoutError },
    )
    t.is(await connection.fetchVal('SELECT pg_backend_pid()'), processId)
  })
}

test('the fetches of a cursor have the bounds of the transaction that it lives in', async (t) => {
  await using connection = await (await openPool(t)).connection()
  const sql = 'SELECT pg_sleep(60)'
  const late = { instanceOf: ConnectionTimeoutError }
  await using tx = await connection.begin()
  // The inner one of two.
  const inner = tx.transaction((nested) => nested.cursor(sql).fetch(), { timeoutMs: 200 })
  await t.throwsAsync(within(inner, { what: 'the inner transaction' }), late)
  t.is(await tx.fetchVal('SELECT 1'), 1)
  // Both, of which the outer one is over first; and the outer one alone, of which the inner one has become a part.
  for (const isOver of [false, true]) {
    const outer = tx.transaction(
      async (outer) => {
        const cursor = await outer.transaction(
          async (nested) => {
            const cursor = nested.cursor('SELECT 1 UNION ALL SELECT 1 FROM pg_sleep(60)')
            await cursor.fetch(1)
            if (!isOver) await cursor.fetch()
            return cursor
          },
          { timeoutMs: 30_000 },
        )
        await cursor.fetch()
      },
      { timeoutMs: 200 },
    )
    await t.throwsAsync(within(outer, { what: 'the outer transaction' }), late)
    t.is(await tx.fetchVal('SELECT 1'), 1)
  }
  const reason = new Error('no longer wanted')
  const abort = new AbortController()
  setTimeout(() => abort.abort(reason), 200)
  const aborted = tx.transaction((nested) => nested.cursor(sql).fetch(), { signal: abort.signal })
  t.is(await t.throwsAsync(within(aborted, { what: 'the aborted transaction' })), reason)
  t.is(getEventListeners(abort.signal, 'abort').length, 0)
})

test('a cursor of a nested transaction that was rolled back fails nothing of the outer one', async (t) => {
  await using connection = await (await openPool(t)).connection()
  await using tx = await connection.begin()
  let cursor!: Cursor
  const begun = async (nested: Transaction) => {
    cursor = nested.cursor('SELECT generate_series(1, 9) AS n')
    t.is((await cursor.fetch(1)).length, 1)
  }
  const late = { instanceOf: ConnectionTimeoutError }
  const slow = (nested: Transaction) => begun(nested).then(() => new Promise(() => {}))
  await t.throwsAsync(tx.transaction(slow, { timeoutMs: 200 }), late)
  await t.throwsAsync(cursor.fetch(1), late)
  await cursor.close()
  const failed = tx.transaction(async (nested) => {
    await nested.transaction(begun)
    throw new Error('no')
  })
  await t.throwsAsync(failed, { message: 'no' })
  await t.throwsAsync(cursor.fetch(1), { instanceOf: TransactionClosedError })
  await cursor.close()
  // One that was committed lives on in the outer one.
  await tx.transaction(begun)
  t.is((await cursor.fetch()).length, 8)
  t.is(await tx.fetchVal('SELECT 1'), 1)
})

test('a statement leaves no trace on its signal in a transaction that has bounds', async (t) => {
  await using connection = await (await openPool(t)).connection()
  const { signal } = new AbortController()
  await connection.transaction(
    async (tx) => {
      for (let n = 0; n < 10; n += 1) await tx.execute('SELECT 1', [], { signal })
      for await (const _ of tx.cursor('SELECT 1', [], { signal }));
    },
    { timeoutMs: 60_000 },
  )
  t.is(getEventListeners(signal, 'abort').length, 0)
  // Node.js keeps there what `AbortSignal.any()` has made of a signal.
  t.is(dependants(signal), 0)
  AbortSignal.any([signal])
  t.is(dependants(signal), 1)
})

function dependants(signal: AbortSignal): number {
  const symbols = Object.getOwnPropertySymbols(signal)
  const key = symbols.find(({ description }) => description === 'kDependantSignals')
  return key ? (Reflect.get(signal, key) as Set<unknown>).size : 0
}

test('of the signals of a statement and of its transaction, the one that is aborted gives the reason', async (t) => {
  await using connection = await (await openPool(t)).connection()
  const [statement, transaction] = [new AbortController(), new AbortController()]
  const sleep = (tx: Transaction) =>
    tx.execute('SELECT pg_sleep(60)', [], { signal: statement.signal })
  await connection.transaction(
    async (tx) => {
      await tx.createSavepoint('before')
      setTimeout(() => statement.abort(new Error('of the statement')), 100)
      await t.throwsAsync(within(sleep(tx)), { message: 'of the statement' })
      await tx.rollbackToSavepoint('before')
      t.is(await tx.fetchVal('SELECT 1'), 1)
      await t.throwsAsync(sleep(tx), { message: 'of the statement' }, 'nothing is sent')
      t.is(await tx.fetchVal('SELECT 1'), 1)
    },
    { signal: transaction.signal },
  )
  let running: Promise<unknown> | undefined
  const work = (tx: Transaction) =>
    (running = tx.execute('SELECT pg_sleep(60)', [], { signal: new AbortController().signal }))
  setTimeout(() => transaction.abort(new Error('of the transaction')), 100)
  const aborted = connection.transaction(work, { signal: transaction.signal })
  await t.throwsAsync(within(aborted), { message: 'of the transaction' })
  await t.throwsAsync(async () => running, { message: 'of the transaction' })
})
