// Durable subscriptions as loops: a batch is done when it is acknowledged, and comes again whatever else happens to it.

import test from 'ava'
import {
  DurableError,
  SubscriptionStoppedError,
  type SubscriptionBatch,
  type SubscriptionOptions,
  type SubscriptionStream,
} from 'pglisten'
import { deferred, waitFor, within } from '../../lab/wait.js'
import { asleep, openPool, openScene } from './scene.js'
import type { ExecutionContext } from 'ava'

/** A scene with a stream of its subscription. */
async function openStream(t: ExecutionContext, options: Partial<SubscriptionOptions> = {}) {
  const scene = await openScene(t, options)
  const stream = (more: Partial<SubscriptionOptions> = {}, signal?: AbortSignal) => {
    const subscription = scene.subscription(more)
    const opened = subscription.batches({ signal })
    t.teardown(() => opened.return())
    return Object.assign(opened, { subscription })
  }
  await scene.witness.run(`CREATE TABLE ${scene.name} (payload text)`)
  /** What was committed. */
  const committed = async () =>
    [...(await scene.pool.fetch<{ payload: string }>(`SELECT payload FROM ${scene.name}`))].map(
      ({ payload }) => payload,
    )
  const insert = async ({ tx, events }: SubscriptionBatch) => {
    for (const { payload } of events)
      await tx.execute(`INSERT INTO ${scene.name} VALUES ($1)`, [payload])
  }
  return { ...scene, stream, committed, insert }
}

/** The payloads of the next batch, and the batch. */
async function next(stream: SubscriptionStream): Promise<[string[], SubscriptionBatch]> {
  const { value } = await within(stream.next())
  if (!value) throw new Error('the stream has ended')
  return [value.events.map(({ payload }) => payload), value]
}

const payloadsOf = ({ events }: SubscriptionBatch) => events.map(({ payload }) => payload)
const attemptsOf = ({ events }: SubscriptionBatch) => events.map(({ attempt }) => attempt)

test('a loop gets batches in order, and what it acknowledges is done together with its work', async (t) => {
  const { publish, subscription, insert, committed } = await openStream(t, { batchSize: 3 })
  await publish('1', '2', '3', '4', '5')
  const got: string[][] = []
  for await (const batch of subscription()) {
    got.push(payloadsOf(batch))
    await insert(batch)
    await batch.ack()
    if (got.flat().length === 5) break
  }
  t.deepEqual(got, [
    ['1', '2', '3'],
    ['4', '5'],
  ])
  t.deepEqual(await committed(), ['1', '2', '3', '4', '5'])
  await publish('6')
  for await (const { events, ack } of subscription()) {
    t.deepEqual(
      events.map(({ payload }) => payload),
      ['6'],
    )
    await ack()
    break
  }
})

test('a loop waits for what is published later, also asleep', async (t) => {
  const scene = await openStream(t)
  const stream = scene.stream()
  const waiting = next(stream)
  await asleep(scene)
  await scene.publish('late')
  const [payloads, batch] = await waiting
  t.deepEqual(payloads, ['late'])
  await batch.ack()
})

for (const [how, end] of [
  ['break', 'break'],
  ['an error in the loop', 'throw'],
  ['return()', 'return'],
] as const) {
  test(`${how} rolls back, and is an attempt at the first event`, async (t) => {
    const { publish, subscription, insert, committed, stream, witness, name } = await openStream(t)
    await publish('1', '2')
    const cause = new Error('no')
    const loop = async () => {
      const made = subscription()
      const failures: unknown[] = []
      made.on('failure', ({ event, error }) => failures.push([event.payload, String(error)]))
      const batches = made.batches()
      for await (const batch of batches) {
        await insert(batch)
        if (end === 'throw') throw cause
        if (end === 'break') break
        await batches.return()
      }
      return failures
    }
    if (end === 'throw') t.is(await t.throwsAsync(loop()), cause)
    else {
      const why = 'DurableError: the loop has ended before it called `ack()`'
      t.deepEqual(await loop(), [['1', why]])
    }
    t.deepEqual(await committed(), [])
    t.is(
      await witness.ask('SELECT attempts FROM pglisten.attempt WHERE subscription = $1', [name]),
      1,
    )
    // The transaction was over when the loop was: it would hold this lock.
    const lock = `SELECT count(*)::int FROM (
      SELECT FROM pglisten.position WHERE subscription = $1 FOR UPDATE NOWAIT) AS locked`
    t.is(await witness.ask(lock, [name]), 1)
    const again = stream()
    const [first, batch] = await next(again)
    t.deepEqual([first, attemptsOf(batch)], [['1'], [2]])
    await batch.ack()
    const [second, last] = await next(again)
    t.deepEqual([second, attemptsOf(last)], [['2'], [1]])
    await last.ack()
  })
}

test('what is refused comes again one by one, and what follows waits', async (t) => {
  const { publish, stream, insert, committed } = await openStream(t)
  await publish('1', '2', '3')
  const batches = stream()
  const failures: unknown[] = []
  batches.subscription.on('failure', ({ event, error }) => failures.push([event.payload, error]))
  const [all, refused] = await next(batches)
  t.deepEqual(all, ['1', '2', '3'])
  await insert(refused)
  const no = new Error('no')
  await refused.nack(no)
  t.deepEqual(await committed(), [])
  const got: [string[], number[]][] = []
  let refusals = 0
  while (got.length < 5) {
    const [payloads, batch] = await next(batches)
    got.push([payloads, attemptsOf(batch)])
    await insert(batch)
    if (payloads[0] === '2' && refusals < 2) {
      refusals += 1
      await batch.nack()
    } else await batch.ack()
  }
  t.deepEqual(got, [
    [['1'], [2]],
    [['2'], [1]],
    [['2'], [2]],
    [['2'], [3]],
    [['3'], [1]],
  ])
  t.deepEqual(await committed(), ['1', '2', '3'])
  t.deepEqual(failures[0], ['1', no])
  t.is(failures.length, 3)
  t.like(await batches.subscription.stats(), { done: 3, failures: 3, givenUp: 0 })
})

test('an event that is refused too often stops the stream, and the next one begins there', async (t) => {
  const { publish, stream } = await openStream(t, { maxAttempts: 3 })
  await publish('bad', '2')
  const batches = stream()
  const cause = new Error('no')
  const refuse = async () => {
    for (;;) await (await next(batches))[1].nack(cause)
  }
  const error = await within(t.throwsAsync(refuse(), { instanceOf: SubscriptionStoppedError }))
  t.is(error.cause, cause)
  t.deepEqual(await batches.next(), { done: true, value: undefined })
  const [payloads, batch] = await next(stream())
  t.deepEqual([payloads, attemptsOf(batch)], [['bad'], [4]])
})

test('an event that is refused too often is kept apart where that is wanted', async (t) => {
  const { publish, stream, pool, name } = await openStream(t, { maxAttempts: 3, onFailure: 'skip' })
  await publish('1', 'bad', '3')
  const batches = stream()
  const got: string[] = []
  while (!got.includes('3')) {
    const [payloads, batch] = await next(batches)
    if (payloads.includes('bad')) await batch.nack(new Error(`no ${payloads.join()}`))
    else {
      got.push(...payloads)
      await batch.ack()
    }
  }
  t.deepEqual(got, ['1', '3'])
  const failed = await pool.durable.failed(name)
  t.deepEqual(
    failed.map(({ payload, attempt, error }) => [payload, attempt, error]),
    [['bad', 3, 'Error: no bad']],
  )
  await pool.durable.retry(name)
  const [again, batch] = await next(batches)
  t.deepEqual([again, attemptsOf(batch)], [['bad'], [4]])
  await batch.ack()
  t.deepEqual(await pool.durable.failed(name), [])
})

test('loops that fail and begin anew give an event up all the same', async (t) => {
  const { publish, subscription, pool, name } = await openStream(t, {
    maxAttempts: 3,
    onFailure: 'skip',
  })
  await publish('bad', '2')
  const got: string[][] = []
  for (let loops = 0; loops < 4; loops += 1)
    for await (const batch of subscription()) {
      got.push(payloadsOf(batch))
      if (got.at(-1)!.includes('bad')) break
      await batch.ack()
      break
    }
  t.deepEqual(got, [['bad', '2'], ['bad'], ['bad'], ['2']])
  t.deepEqual(
    (await pool.durable.failed(name)).map(({ payload, attempt }) => [payload, attempt]),
    [['bad', 3]],
  )
})

test('a loop that asks for the next batch before it has decided gets an error, and nothing moves', async (t) => {
  const { publish, stream, insert, committed, witness, name } = await openStream(t)
  await publish('1', '2')
  const batches = stream()
  const [, batch] = await next(batches)
  await insert(batch)
  await t.throwsAsync(batches.next(), {
    instanceOf: DurableError,
    message:
      /^expected `ack\(\)` or `nack\(\)` of the batch before `next\(\)`, got neither: .* rolled back/,
  })
  t.deepEqual(await batches.next(), { done: true, value: undefined })
  t.deepEqual(await committed(), [])
  t.is(
    await witness.ask('SELECT count(*)::int FROM pglisten.attempt WHERE subscription = $1', [name]),
    0,
  )
  const [payloads, again] = await next(stream())
  t.deepEqual(
    [payloads, attemptsOf(again)],
    [
      ['1', '2'],
      [1, 1],
    ],
  )
})

test('a batch is decided about once, and a second `next()` waits for nobody', async (t) => {
  const { publish, stream } = await openStream(t, { batchSize: 1 })
  const batches = stream()
  const waiting = next(batches)
  await t.throwsAsync(batches.next(), { message: /^expected one `next\(\)` at a time/ })
  await publish('1', '2')
  const [, first] = await waiting
  await first.ack()
  for (const call of [first.ack, first.nack])
    await t.throwsAsync(call(), {
      instanceOf: DurableError,
      message:
        /^expected `n?ack\(\)` of an open batch, got one that is over: .* acknowledged before$/,
    })
  const [, second] = await next(batches)
  await second.nack()
  for (const call of [second.ack, second.nack])
    await t.throwsAsync(call(), { message: /was refused before$/ })
  const [payloads, third] = await next(batches)
  t.deepEqual(payloads, ['2'])
  const acknowledging = third.ack()
  await t.throwsAsync(third.ack(), { message: /acknowledged before$/ })
  await acknowledging
})

for (const [what, end] of [
  ['commit()', ({ tx }: SubscriptionBatch) => tx.commit()],
  ['rollback()', ({ tx }: SubscriptionBatch) => tx.rollback()],
  ['COMMIT', ({ tx }: SubscriptionBatch) => tx.executeBatch('COMMIT')],
  ['ROLLBACK; BEGIN', ({ tx }: SubscriptionBatch) => tx.executeBatch('ROLLBACK; BEGIN')],
  [
    'a deferred constraint',
    ({ tx, events }: SubscriptionBatch) =>
      tx.executeBatch(
        `CREATE TEMP TABLE u (n bigint UNIQUE DEFERRABLE INITIALLY DEFERRED);
     INSERT INTO u VALUES (${events[0]!.id}), (${events[0]!.id})`,
      ),
  ],
  ['a swallowed error', ({ tx }: SubscriptionBatch) => tx.execute('SELECT 1/0').catch(() => {})],
  [
    'the end of the session',
    ({ tx }: SubscriptionBatch) =>
      tx.execute('SELECT pg_terminate_backend(pg_backend_pid())').catch(() => {}),
  ],
] as const) {
  test(`ack() rejects after ${what}, and the event comes again`, async (t) => {
    const { publish, stream } = await openStream(t)
    await publish('1')
    const batches = stream()
    const [, batch] = await next(batches)
    await end(batch)
    await t.throwsAsync(within(batch.ack()))
    const [payloads, again] = await next(batches)
    t.deepEqual([payloads, attemptsOf(again)], [['1'], [2]])
    await again.ack()
  })
}

test('a batch that takes too long is over, and comes again', async (t) => {
  const { publish, stream } = await openStream(t, { maxHandlerMs: 2000 })
  await publish('1')
  const batches = stream()
  const failed = deferred()
  batches.subscription.on('failure', () => failed.resolve())
  const [, slow] = await next(batches)
  await within(failed.promise)
  await t.throwsAsync(slow.ack(), { message: /the transaction of the batch is over/ })
  const [payloads, again] = await next(batches)
  t.deepEqual([payloads, attemptsOf(again)], [['1'], [2]])
  await again.ack()
})

test('a signal ends the loop, and the batch at hand may still be acknowledged', async (t) => {
  const { publish, stream, subscription } = await openStream(t, { batchSize: 1 })
  await publish('1', '2')
  const ending = new AbortController()
  const batches = stream({}, ending.signal)
  const [, batch] = await next(batches)
  ending.abort()
  await batch.ack()
  t.deepEqual(await within(batches.next()), { done: true, value: undefined })
  // Also while it waits, and before it has begun.
  const later = new AbortController()
  const waiting = stream({}, later.signal)
  await (await next(waiting))[1].ack()
  const end = waiting.next()
  later.abort()
  t.deepEqual(await within(end), { done: true, value: undefined })
  for await (const _ of subscription().batches({ signal: later.signal })) t.fail()
})

test('a subscription runs once at a time, and a stream that has ended leaves nothing behind', async (t) => {
  const { publish, subscription, witness, name } = await openStream(t)
  const made = subscription()
  const stream = made.batches()
  const waiting = stream.next()
  await t.throwsAsync(made.batches().next(), { message: /runs already/ })
  await t.throwsAsync(
    made.run(() => {}),
    { message: /runs already/ },
  )
  await publish('1')
  const { value } = await within(waiting)
  await value!.ack()
  await stream[Symbol.asyncDispose]()
  t.deepEqual(await stream.next(), { done: true, value: undefined })
  t.is(
    await witness.ask('SELECT count(*)::int FROM pglisten.sleeper WHERE subscription = $1', [name]),
    0,
  )
  t.false((await made.stats()).isRunning)
  await made.batches().return()
})

test('the partitions of a subscription take turns in a loop, each in its order', async (t) => {
  const { pool, channel, subscription } = await openStream(t, { partitions: 3, batchSize: 2 })
  const keys = Array.from({ length: 12 }, (_, index) => `key ${index}`)
  for (let n = 1; n <= 10; n += 1)
    for (const key of keys) await pool.publish(channel, `${n}`, { key })
  const got = new Map<string, number[]>()
  let count = 0
  for await (const { events, ack } of subscription()) {
    for (const { key, payload } of events)
      got.set(key!, [...(got.get(key!) ?? []), Number(payload)])
    count += events.length
    await ack()
    if (count === 120) break
  }
  for (const key of keys) t.deepEqual(got.get(key), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], key)
})

test('a loop with one connection in the pool may use the pool between its batches', async (t) => {
  const { publish, subscription } = await openStream(t, { batchSize: 1 })
  const pool = await openPool(t, { maxDbPoolSize: 1, acquireTimeoutSec: 5 })
  await publish('1', '2', '3')
  let count = 0
  for await (const { ack } of subscription({}, pool)) {
    await ack()
    t.is(await pool.fetchVal('SELECT 1'), 1)
    count += 1
    if (count === 3) break
  }
})

test('a subscription that is always busy leaves the only connection to others now and then', async (t) => {
  const { publish, run, channel } = await openStream(t, { batchSize: 1 })
  const pool = await openPool(t, { maxDbPoolSize: 1, acquireTimeoutSec: 10 })
  await publish('1')
  let isAnswered = false
  // Each event makes the next one, so there is always work.
  run(
    async (tx, { payload }) => void (!isAnswered && (await tx.publish(channel, payload))),
    {},
    pool,
  )
  await waitFor(() => pool.status().size === 1 && pool.status().available === 0)
  t.is(await pool.fetchVal('SELECT 1'), 1)
  isAnswered = true
})

test('a loop ends with the error of a pool that is closed', async (t) => {
  const { subscription } = await openStream(t)
  const pool = await openPool(t)
  const stream = subscription({}, pool).batches()
  const waiting = stream.next()
  await waitFor(() => pool.status().size > 0)
  await pool.close()
  await within(t.throwsAsync(waiting, { code: 'ERR_PGLISTEN_POOL_EXECUTE' }))
  t.deepEqual(await stream.next(), { done: true, value: undefined })
})

test('a payload that does not fit its schema is an attempt at its event, and never reaches the loop', async (t) => {
  const { publish, channel, name, pool: plain } = await openStream(t)
  const schema = {
    '~standard': {
      version: 1 as const,
      vendor: 'test',
      validate: (value: unknown) => (value === 2 ? { issues: [{ message: 'two' }] } : { value }),
    },
  }
  const pool = await openPool(t, { schemas: { [channel]: schema } })
  await publish('1', '2', '3')
  const got: unknown[] = []
  const options = {
    channels: [channel],
    from: 'beginning',
    retryDelayMs: 1,
    maxAttempts: 2,
  } as const
  for await (const { events, ack } of pool.subscription(name, { ...options, onFailure: 'skip' })) {
    got.push(...events.map(({ payload }) => payload))
    await ack()
    if (got.includes(3)) break
  }
  t.deepEqual(got, [1, 3])
  t.deepEqual(
    (await plain.durable.failed(name)).map(({ payload }) => payload),
    ['2'],
  )
})
