// Handlers of durable subscriptions that fail, in each way: their event is tried again, and nothing else is lost.

import test from 'ava'
import { SubscriptionStoppedError, type FailedEvent } from 'pglisten'
import { deferred, waitFor, within } from '../../lab/wait.js'
import { openDatabase } from './database.js'
import { openPool, openScene } from './scene.js'

/** The integers from the first to the last, as payloads. */
const range = (first: number, last: number) =>
  Array.from({ length: last - first + 1 }, (_, index) => String(first + index))

test('the work and the position are one: a handler that fails undoes its work, and its event comes again', async (t) => {
  const { pool, name, publish, run, witness } = await openScene(t)
  await witness.run(`CREATE TABLE ${name} (payload text, attempt int)`)
  await publish('1', '2', '3')
  const attempts: [string, number][] = []
  const { subscription } = run(async (tx, { payload, attempt }) => {
    attempts.push([payload, attempt])
    await tx.execute(`INSERT INTO ${name} VALUES ($1, $2)`, [payload, attempt])
    if (payload === '2' && attempt < 3) throw new Error('not yet')
  })
  await waitFor(async () => (await subscription.stats()).done === 3)
  t.deepEqual(
    [...(await pool.execute(`SELECT * FROM ${name} ORDER BY payload`))],
    [
      { payload: '1', attempt: 1 },
      { payload: '2', attempt: 3 },
      { payload: '3', attempt: 1 },
    ],
  )
  t.deepEqual(attempts, [
    ['1', 1],
    ['2', 1],
    ['1', 1],
    ['2', 2],
    ['2', 3],
    ['3', 1],
  ])
  t.is((await subscription.stats()).failures, 2)
})

test('a subscription stops at an event that fails too often, and goes on there', async (t) => {
  const { publish, run, pool, name } = await openScene(t, { maxAttempts: 3 })
  await publish('1', 'bad', '3')
  const got: string[] = []
  const cause = new Error('no')
  const { ended } = run((_, { payload }) => {
    if (payload === 'bad') throw cause
    got.push(payload)
  })
  const error = await within(t.throwsAsync(ended, { instanceOf: SubscriptionStoppedError }))
  t.is(error.cause, cause)
  t.is(error.code, 'ERR_PGLISTEN_SUBSCRIPTION_STOPPED')
  t.regex(
    error.message,
    new RegExp(`subscription \`${name}\` has stopped: event ${error.eventId} .* 3 times`),
  )
  t.deepEqual(await pool.durable.failed(name), [])
  const rest: [string, number][] = []
  run((_, { payload, attempt }) => void rest.push([payload, attempt]))
  await waitFor(() => rest.length === 2)
  t.deepEqual(rest, [
    ['bad', 4],
    ['3', 1],
  ])
})

for (const place of ['first', 'middle', 'last', 'two']) {
  test(`an event that fails too often is kept apart where that is wanted (${place})`, async (t) => {
    const { publish, run, pool, name } = await openScene(t, { maxAttempts: 2, onFailure: 'skip' })
    const bad = { first: ['1'], middle: ['3'], last: ['5'], two: ['2', '3'] }[place]!
    await publish(...range(1, 5))
    let isMended = false
    const got: string[] = []
    const { subscription } = run((_, { payload }) => {
      if (bad.includes(payload) && !isMended) throw new Error(`no ${payload}`)
      got.push(payload)
    })
    const given: unknown[] = []
    subscription.on('givenUp', ({ event }) => given.push(event.payload))
    await waitFor(async () => {
      const { done, givenUp } = await subscription.stats()
      return done + givenUp === 5
    })
    const good = range(1, 5).filter((payload) => !bad.includes(payload))
    t.deepEqual([...new Set(got)], good)
    t.deepEqual(given, bad)
    const failed = await pool.durable.failed(name)
    t.deepEqual(
      failed.map(({ payload, attempt, error, isDue }: FailedEvent) => [
        payload,
        attempt,
        error,
        isDue,
      ]),
      bad.map((payload) => [payload, 2, `Error: no ${payload}`, false]),
    )
    isMended = true
    got.length = 0
    t.is(await pool.durable.retry(name), bad.length)
    await waitFor(async () => (await pool.durable.failed(name)).length === 0)
    t.deepEqual(got, bad)
  })
}

for (const isTrimmed of [false, true]) {
  const which = isTrimmed ? ', although it was trimmed meanwhile' : ''
  test(`an event that is retried and fails again stays among those that have failed${which}`, async (t) => {
    const scene = await openScene(t, { maxAttempts: 2, onFailure: 'skip' })
    const { publish, run, pool, name, witness, channel } = scene
    await publish('bad', 'worse', 'good')
    let isMended = false
    const got: string[] = []
    const { subscription } = run((_, { payload }) => {
      if (payload !== 'good' && !isMended) throw new Error(`no ${payload}`)
      got.push(payload)
    })
    const givenUp = (count: number) =>
      waitFor(async () => (await subscription.stats()).givenUp === count)
    await givenUp(2)
    await waitFor(() => got.includes('good'))
    if (isTrimmed)
      await witness.ask(
        'WITH d AS (DELETE FROM pglisten.event WHERE channel = $1 RETURNING 1) SELECT count(*) FROM d',
        [channel],
      )
    for (const round of [1, 2]) {
      t.is(await pool.durable.retry(name), 2)
      await givenUp(2 + 2 * round)
      const failed = await pool.durable.failed(name)
      t.deepEqual(
        failed.map(({ payload, attempt, error, isDue }) => [payload, attempt, error, isDue]),
        ['bad', 'worse'].map((payload) => [payload, 2 + round, `Error: no ${payload}`, false]),
      )
    }
    isMended = true
    got.length = 0
    t.is(await pool.durable.retry(name), 2)
    await waitFor(async () => (await pool.durable.failed(name)).length === 0)
    t.deepEqual(got, ['bad', 'worse'])
  })
}

test('an event that is retried stops no subscription, whatever its options say of others', async (t) => {
  const { publish, run, pool, name } = await openScene(t, { maxAttempts: 2, onFailure: 'skip' })
  await publish('bad')
  const fail = (_: unknown, { payload }: { payload: unknown }) => {
    if (payload === 'bad') throw new Error('no')
    got.push(payload)
  }
  const got: unknown[] = []
  const first = run(fail)
  await waitFor(async () => (await first.subscription.stats()).givenUp === 1)
  await first.stop()
  t.is(await pool.durable.retry(name), 1)
  await publish('good', 'other')
  const second = run(fail, { onFailure: 'stop' })
  await waitFor(() => got.length === 2)
  t.is((await second.subscription.stats()).givenUp, 1)
  t.like((await pool.durable.failed(name))[0], { payload: 'bad', attempt: 3, isDue: false })
  // Another one that fails stops it.
  await publish('bad')
  await within(t.throwsAsync(second.ended, { instanceOf: SubscriptionStoppedError }))
})

test('a handler that ends the transaction itself has failed, and its event is not passed', async (t) => {
  for (const end of [
    (tx: { commit(): Promise<void> }) => tx.commit(),
    (tx: { rollback(): Promise<void> }) => tx.rollback(),
    (tx: { executeBatch(sql: string): Promise<void> }) => tx.executeBatch('COMMIT'),
    (tx: { executeBatch(sql: string): Promise<void> }) => tx.executeBatch('ROLLBACK; BEGIN'),
  ]) {
    const { publish, run } = await openScene(t, { maxAttempts: 2 })
    await publish('1')
    const { ended } = run(async (tx) => end(tx))
    await within(t.throwsAsync(ended, { instanceOf: SubscriptionStoppedError }), {
      what: String(end),
    })
    const got: string[] = []
    run((_, { payload }) => void got.push(payload))
    await waitFor(() => got.length === 1, { what: String(end) })
  }
})

for (const [what, end] of [
  ['commits', 'COMMIT'],
  ['rolls back', 'ROLLBACK'],
  ['begins another one', 'ROLLBACK; BEGIN'],
  ['goes on after an error', 'SELECT 1 / 0'],
] as const) {
  test(`where a handler ${what} by a statement it is to blame, and what follows is done once`, async (t) => {
    const { publish, run, pool, name, witness } = await openScene(t, {
      maxAttempts: 2,
      onFailure: 'skip',
    })
    await witness.run(`CREATE TABLE ${name} (payload text)`)
    await publish('bad', '2', '3')
    const failures: unknown[] = []
    const { subscription } = run(async (tx, { payload }) => {
      if (payload === 'bad') await tx.executeBatch(end).catch(() => {})
      else await tx.execute(`INSERT INTO ${name} VALUES ($1)`, [payload])
    })
    subscription.on('failure', ({ event }) => failures.push(event.payload))
    await waitFor(async () => (await subscription.stats()).done === 2)
    const work = `SELECT array_agg(payload ORDER BY payload) FROM ${name}`
    t.deepEqual(await witness.ask(work), ['2', '3'])
    t.deepEqual(
      (await pool.durable.failed(name)).map(({ payload }) => payload),
      ['bad'],
    )
    // Of a transaction that was begun in place of the first one only the end tells.
    if (what !== 'begins another one') t.deepEqual(failures, ['bad', 'bad'])
  })
}

test('a handler whose connection is lost is not said to have ended its transaction', async (t) => {
  const { publish, run, witness } = await openScene(t, { maxAttempts: 2 })
  await publish('1')
  const reasons: unknown[] = []
  const { subscription, ended } = run(async (tx) => {
    await witness.ask('SELECT pg_terminate_backend($1)', [
      await tx.fetchVal('SELECT pg_backend_pid()'),
    ])
    const isLost = () =>
      tx.execute('SELECT').then(
        () => false,
        () => true,
      )
    await waitFor(isLost)
  })
  subscription.on('failure', ({ error }) => reasons.push(error))
  await within(t.throwsAsync(ended, { instanceOf: SubscriptionStoppedError }))
  t.is(reasons.length, 2)
  for (const reason of reasons) t.notRegex(String(reason), /has ended the transaction/)
})

test('events before one that cannot be fetched are done', async (t) => {
  const { owner } = await openDatabase(t)
  await owner.durable.install()
  for (const payload of ['1', '2', 'bad', '4']) await owner.publish('a', payload)
  // As if it were too much for the server, or for the client.
  const connection = await owner.connection()
  const signature = 'pglisten.take(text, int, int, int, text)'
  await connection.executeBatch(`
    ALTER FUNCTION ${signature} RENAME TO whole_take;
    CREATE FUNCTION ${signature}
    RETURNS TABLE (id bigint, xact xid8, channel text, payload text, key text, micros float8, attempt int) LANGUAGE plpgsql AS $$
    BEGIN
      FOR id, xact, channel, payload, key, micros, attempt IN SELECT * FROM pglisten.whole_take($1, $2, $3, $4, $5) LOOP
        IF payload = 'bad' THEN RAISE 'cannot be fetched'; END IF;
        RETURN NEXT;
      END LOOP;
    END $$`)
  const got: string[] = []
  const warnings: string[] = []
  const ending = new AbortController()
  const subscription = owner.subscription('s', { channels: ['a'], from: 'beginning' })
  subscription.on('warning', ({ message }) => warnings.push(message))
  const run = subscription.run((_, { payload }) => void got.push(payload), {
    signal: ending.signal,
  })
  t.teardown(() => ending.abort())
  await waitFor(() => got.length === 2)
  await waitFor(() => warnings.length > 2)
  t.deepEqual(got, ['1', '2'])
  for (const warning of warnings) t.regex(warning, /could not be worked: .*cannot be fetched/)
  await connection.executeBatch(
    `DROP FUNCTION ${signature}; ALTER FUNCTION pglisten.whole_take RENAME TO take`,
  )
  await connection.close()
  await waitFor(() => got.length === 4)
  t.deepEqual(got, ['1', '2', 'bad', '4'])
  ending.abort()
  await within(run)
})

test('what the session has set itself lengthens no transaction of a worker', async (t) => {
  const { pool, channel, name, publish } = await openScene(t)
  const version = Number(await pool.fetchVal<string>('SHOW server_version_num'))
  const names = ['statement_timeout', 'idle_in_transaction_session_timeout']
  if (version >= 170_000) names.push('transaction_timeout')
  const options = names.map((timeout) => `-c ${timeout}=1h`).join(' ')
  const patient = await openPool(t, { options })
  await pool.fetchVal('SELECT pglisten.subscribe($1, ARRAY[$2::text], 1, true)', [name, channel])
  await publish('1')
  const connection = await patient.connection()
  const work = connection.transaction(async (tx) => {
    await tx.execute('SELECT FROM pglisten.take($1, 0, 1, 300, NULL)', [name])
    await tx.execute('SELECT pg_sleep(30)')
  })
  await within(t.throwsAsync(work, { message: /timeout/ }))
  await connection.close()
})

test('the greatest time that a handler may have is one', async (t) => {
  const { publish, run } = await openScene(t, { maxHandlerMs: 2_147_483_647 })
  await publish('1')
  const got: string[] = []
  const { subscription } = run((_, { payload }) => void got.push(payload))
  const warnings: string[] = []
  subscription.on('warning', ({ message }) => warnings.push(message))
  await waitFor(() => got.length === 1)
  t.deepEqual(warnings, [])
})

test('a deferred constraint, a swallowed error and an error that ends the session are failures of the handler', async (t) => {
  const cases: [string, string][] = [
    ['deferred', 'INSERT INTO $T VALUES (1), (1)'],
    ['swallowed', 'SELECT 1/0'],
    ['ends', 'SELECT pg_terminate_backend(pg_backend_pid())'],
  ]
  for (const [what, sql] of cases) {
    const { publish, run, name, witness, pool } = await openScene(t, {
      maxAttempts: 2,
      onFailure: 'skip',
    })
    await witness.run(`CREATE TABLE ${name} (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)`)
    await publish('bad', 'good')
    const got: string[] = []
    run(async (tx, { payload }) => {
      if (payload === 'bad')
        await tx.execute(sql.replace('$T', name)).catch((error: unknown) => {
          if (what !== 'swallowed') throw error
        })
      else got.push(payload)
    })
    await waitFor(async () => (await pool.durable.failed(name)).length > 0, { what })
    t.deepEqual(
      (await pool.durable.failed(name)).map(({ payload }) => payload),
      ['bad'],
      what,
    )
  }
})

test('a serialization failure is tried again, and does not count', async (t) => {
  const { publish, run } = await openScene(t, { maxAttempts: 2 })
  await publish('1')
  let calls = 0
  const done = deferred<number>()
  run(async (tx, { attempt }) => {
    calls += 1
    if (calls <= 5)
      await tx.execute("DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END $$")
    done.resolve(attempt)
  })
  t.is(await within(done.promise), 1)
})

test('a handler that takes too long has failed, and another process goes on', async (t) => {
  // Nothing else than the end of the first worker's transaction lets the other one have the event soon.
  const { run, publish } = await openScene(t, { maxHandlerMs: 300, safetyNetMs: 60_000 })
  await publish('1')
  const got: number[] = []
  const other = await openPool(t)
  const begun = deferred()
  run((_, { attempt }) => {
    begun.resolve()
    return attempt === 1 ? new Promise(() => {}) : void got.push(attempt)
  })
  await within(begun.promise)
  run((_, { attempt }) => void got.push(attempt), {}, other)
  await waitFor(() => got.length > 0)
  t.is(got.length, 1)
})

test('one connection is enough for a subscription, also where its handler fails', async (t) => {
  const { run, publish, channel, name } = await openScene(t, {
    maxAttempts: 2,
    onFailure: 'skip',
    safetyNetMs: 300,
  })
  const pool = await openPool(t, { maxDbPoolSize: 1, acquireTimeoutSec: 5 })
  await publish('1', 'bad', 'ends', '2')
  const got: string[] = []
  const { subscription } = run(
    async (tx, { payload }) => {
      if (payload === 'bad') throw new Error('no')
      if (payload === 'ends') await tx.execute('SELECT pg_terminate_backend(pg_backend_pid())')
      got.push(payload)
    },
    {},
    pool,
  )
  const warnings: string[] = []
  subscription.on('warning', ({ message }) => warnings.push(message))
  await waitFor(() => got.includes('2'))
  await pool.publish(channel, '3')
  await waitFor(() => got.includes('3'))
  t.deepEqual([...new Set(got)], ['1', '2', '3'])
  t.deepEqual(
    (await pool.durable.failed(name)).map(({ payload }) => payload),
    ['bad', 'ends'],
  )
  t.deepEqual(warnings, [])
})

test('a payload that does not fit its schema is a failure of its event alone', async (t) => {
  const { channel, name, publish } = await openScene(t)
  const schema = {
    '~standard': {
      version: 1 as const,
      vendor: 'test',
      validate: (value: unknown) => (value === 2 ? { issues: [{ message: 'two' }] } : { value }),
    },
  }
  const pool = await openPool(t, { schemas: { [channel]: schema } })
  await publish('1', '2', 'no json', '3')
  const got: unknown[] = []
  const ending = new AbortController()
  const run = pool
    .subscription(name, {
      channels: [channel],
      from: 'beginning',
      retryDelayMs: 1,
      maxAttempts: 2,
      onFailure: 'skip',
    })
    .run((_, { payload }) => void got.push(payload), { signal: ending.signal })
  await waitFor(async () => (await pool.durable.failed(name)).length === 2 && got.includes(3))
  t.deepEqual([...new Set(got)], [1, 3])
  t.deepEqual(
    (await pool.durable.failed(name)).map(({ payload }) => payload),
    ['2', 'no json'],
  )
  ending.abort()
  await run
})

for (const [what, sql] of [
  ['makes its transaction read-only', 'SET LOCAL transaction_read_only = on'],
  ['gives rights up', 'SET LOCAL ROLE pg_monitor'],
  ['begins a block', 'SAVEPOINT s; SELECT 1/0'],
] as const) {
  test(`a handler that ${what} is one that fails, and others go on`, async (t) => {
    const { run, publish, pool, name } = await openScene(t, { maxAttempts: 2, onFailure: 'skip' })
    await publish('1', 'bad', '2')
    const got: string[] = []
    run(async (tx, { payload }) => {
      if (payload === 'bad') await tx.executeBatch(sql).catch(() => {})
      else got.push(payload)
    })
    await waitFor(async () => (await pool.durable.failed(name)).length === 1 && got.includes('2'))
    t.deepEqual(
      (await pool.durable.failed(name)).map(({ payload, attempt }) => [payload, attempt]),
      [['bad', 2]],
    )
  })
}

test('attempts are counted across workers, also those of pools that are gone', async (t) => {
  const scene = await openScene(t)
  const { pool, name, channel, publish, witness, run } = scene
  await publish('1')
  // Each attempt is one of a pool of its own, which is gone afterwards.
  for (let attempt = 1; attempt <= 3; attempt += 1) {
    const other = await openPool(t)
    const failed = deferred<number>()
    const { subscription, stop } = run(
      () => {
        throw new Error(`attempt ${attempt}`)
      },
      { maxAttempts: 100, retryDelayMs: 60_000 },
      other,
    )
    subscription.on('failure', ({ event }) => failed.resolve(event.attempt))
    t.is(await within(failed.promise), attempt)
    await stop()
    await other.close()
  }
  t.deepEqual(
    await witness.row('SELECT attempts, error FROM pglisten.attempt WHERE subscription = $1', [
      name,
    ]),
    {
      attempts: 3,
      error: 'Error: attempt 3',
    },
  )
  const got: number[] = []
  run((_, { attempt }) => void got.push(attempt))
  await waitFor(() => got.length === 1)
  t.deepEqual(got, [4])
  await waitFor(
    async () =>
      (await witness.ask('SELECT count(*)::int FROM pglisten.attempt WHERE subscription = $1', [
        name,
      ])) === 0,
  )
  t.is(
    await pool.fetchVal('SELECT count(*)::int4 FROM pglisten.event WHERE channel = $1', [channel]),
    1,
  )
})

test('a deadlock is tried again, and does not count', async (t) => {
  const { publish, run, witness, name, pool } = await openScene(t, { maxAttempts: 1 })
  await witness.run(`CREATE TABLE ${name} (n int PRIMARY KEY); INSERT INTO ${name} VALUES (1), (2)`)
  t.teardown(() => witness.run(`DROP TABLE ${name}`))
  const connection = await pool.connection()
  const { processId } = connection.info
  const other = await connection.begin()
  await other.execute(`UPDATE ${name} SET n = n WHERE n = 1`)
  await publish('1')
  let calls = 0
  const done = deferred<number>()
  let crossed: Promise<void> | undefined
  run(async (tx, { attempt }) => {
    calls += 1
    if (calls === 1) {
      await tx.executeBatch("SET LOCAL deadlock_timeout = '10ms'")
      await tx.execute(`UPDATE ${name} SET n = n WHERE n = 2`)
      const crossing = other.execute(`UPDATE ${name} SET n = n WHERE n = 2`)
      await waitFor(() =>
        witness.ask(
          "SELECT count(*)::int FROM pg_locks WHERE pid = $1 AND locktype = 'transactionid' AND NOT granted",
          [processId],
        ),
      )
      try {
        await tx.execute(`UPDATE ${name} SET n = n WHERE n = 1`)
      } finally {
        crossed = crossing.then(() => other.commit())
      }
    }
    done.resolve(attempt)
  })
  t.is(await within(done.promise), 1)
  t.is(calls, 2)
  await crossed
  await connection.close()
})

test('a batch whose commit fails, behind which the next one was asked for, comes again before that', async (t) => {
  const { publish, run, witness, name } = await openScene(t, { batchSize: 2, retryDelayMs: 1 })
  await witness.run(`
    CREATE TABLE ${name} (seq bigint GENERATED ALWAYS AS IDENTITY, payload text);
    CREATE TABLE ${name}_known (id int PRIMARY KEY);
    CREATE TABLE ${name}_check (id int REFERENCES ${name}_known DEFERRABLE INITIALLY DEFERRED)`)
  t.teardown(() => witness.run(`DROP TABLE ${name}, ${name}_check, ${name}_known`))
  await publish(...range(1, 8))
  let failures = 0
  const { subscription } = run(async (tx, { payload }) => {
    await tx.execute(`INSERT INTO ${name} (payload) VALUES ($1)`, [payload])
    if (payload !== '4' || failures > 2) return
    failures += 1
    // Only the commit finds out.
    await tx.execute(`INSERT INTO ${name}_check VALUES (1)`)
  })
  await waitFor(async () => (await subscription.stats()).done === 8)
  t.is(failures, 3)
  t.deepEqual(await witness.ask(`SELECT array_agg(payload ORDER BY seq) FROM ${name}`), range(1, 8))
})

// By itself: the clock that it moves is everybody's.
test.serial(
  'a batch ends before its time does: what is done is committed, and the rest comes next',
  async (t) => {
    const { publish, run, witness, name } = await openScene(t, { maxHandlerMs: 60_000 })
    await publish(...range(1, 12))
    const now = performance.now.bind(performance)
    let aheadMs = 0
    performance.now = () => now() + aheadMs
    t.teardown(() => {
      performance.now = now
    })
    const got: string[] = []
    const commits = () =>
      witness.ask<string>('SELECT moved::text FROM pglisten.position WHERE subscription = $1', [
        name,
      ])
    const positions = new Set<string>()
    const { subscription } = run(async (_, { payload, attempt }) => {
      positions.add(await commits())
      got.push(`${payload}/${attempt}`)
      aheadMs += 8000
    })
    await waitFor(async () => (await subscription.stats()).done === 12, { timeoutMs: 150_000 })
    t.deepEqual(
      got,
      range(1, 12).map((payload) => `${payload}/1`),
    )
    t.is((await subscription.stats()).failures, 0)
    // A batch ends after a quarter of its time, which two events take: before PostgreSQL 17 half of it bounds the pause between statements.
    t.is(positions.size, 6)
  },
)

test('a handler whose time is over is told that, also when it ends just then', async (t) => {
  const { publish, run } = await openScene(t, { maxHandlerMs: 200, maxAttempts: 3 })
  await publish('slow')
  const reasons: unknown[] = []
  const { subscription, ended } = run(async (tx) => {
    while (!tx.isEnded) await new Promise((resolve) => setImmediate(resolve))
  })
  subscription.on('failure', ({ error }) => reasons.push(error))
  await within(t.throwsAsync(ended, { instanceOf: SubscriptionStoppedError }))
  t.is(reasons.length, 3)
  for (const reason of reasons) t.regex(String(reason), /the transaction took longer than 200 ms/)
})
