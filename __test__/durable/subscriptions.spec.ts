// Durable subscriptions: what they promise, one promise a test.

import { once } from 'node:events'
import net from 'node:net'
import test from 'ava'
import { DurableError, type DurableEvent } from 'pglisten'
import { deferred, waitFor, within } from '../../lab/wait.js'
import { asleep, openPool, openScene, take } from './scene.js'

/** The integers from the first to the last, as payloads. */
const range = (first: number, last: number) =>
  Array.from({ length: last - first + 1 }, (_, index) => String(first + index))

test('events that were published before, between and during runs are handled once, in order', async (t) => {
  const { publish, run } = await openScene(t)
  const got: string[] = []
  const handler = (_: unknown, { payload }: DurableEvent) => void got.push(payload)
  await publish('1', '2')
  const first = run(handler)
  await waitFor(() => got.length === 2)
  await publish('3')
  await waitFor(() => got.length === 3)
  await first.stop()
  await publish('4', '5')
  const second = run(handler)
  await waitFor(() => got.length === 5)
  await publish('6')
  await waitFor(async () => (await second.subscription.stats()).done === 3)
  t.deepEqual(got, range(1, 6))
  t.like(await second.subscription.stats(), {
    isRunning: true,
    working: 1,
    done: 3,
    failures: 0,
    lag: { events: 0, ageMs: undefined },
  })
})

test('an event tells what it is', async (t) => {
  const { pool, channel, run } = await openScene(t)
  const payload = 'grün '.repeat(100_000)
  const id = await pool.publish(channel, payload, { key: 'k' })
  const got = deferred<DurableEvent>()
  run((_, event) => got.resolve(event))
  const event = await within(got.promise)
  t.like(event, { id, channel, payload, key: 'k', attempt: 1 })
  t.regex(event.uid, new RegExp(`^${id}-\\d+-\\d{16}$`))
  t.true(Math.abs(Date.now() - Number(event.publishedAt)) < 60_000)
})

test('a new subscription begins with what is committed from then on, also by a transaction that is open', async (t) => {
  const { pool, name, channel, publish, run } = await openScene(t, { from: 'now' })
  await publish('before')
  const connection = await pool.connection()
  const open = await connection.begin()
  await open.publish(channel, 'open')
  const got: string[] = []
  run((_, { payload }) => void got.push(payload))
  await waitFor(async () => (await pool.durable.subscriptions()).some((one) => one.name === name))
  await publish('after')
  await waitFor(() => got.length === 1)
  await open.commit()
  await connection.close()
  await waitFor(() => got.length === 2)
  t.deepEqual(got, ['after', 'open'])
})

test('what is rolled back is nothing, and a long transaction holds nobody up', async (t) => {
  const { pool, channel, publish, run } = await openScene(t)
  const connection = await pool.connection()
  const open = await connection.begin()
  await open.publish(channel, 'rolled back')
  const got: string[] = []
  run((_, { payload }) => void got.push(payload))
  await publish('1', '2')
  await waitFor(() => got.length === 2)
  await open.rollback()
  await connection.close()
  await publish('3')
  await waitFor(() => got.length === 3)
  t.deepEqual(got, ['1', '2', '3'])
})

test('what a handler publishes to its own channel comes next, not in the same transaction', async (t) => {
  for (const batchSize of [1, 2, 100]) {
    const { publish, run, channel } = await openScene(t, { batchSize })
    await publish('1', '2')
    const got: string[] = []
    const transactions: string[] = []
    run(async (tx, { payload }) => {
      got.push(payload)
      transactions.push(await tx.fetchVal<string>('SELECT pg_current_xact_id()::text'))
      if (payload.length < 3) await tx.publish(channel, `${payload}+`)
    })
    await waitFor(() => got.length === 6)
    t.deepEqual(got.toSorted(), ['1', '1+', '1++', '2', '2+', '2++'])
    const of = (payload: string) => transactions[got.indexOf(payload)]
    for (const payload of ['1+', '1++', '2+', '2++'])
      t.not(of(payload), of(payload.slice(0, -1)), `${batchSize} ${payload}`)
  }
})

for (const [batchSize, count] of [
  [1, 5],
  [3, 3],
  [3, 4],
  [3, 9],
  [10, 1000],
  [1000, 10],
] as const) {
  test(`${count} events in batches of ${batchSize}`, async (t) => {
    const { pool, channel, run, publish } = await openScene(t, { batchSize })
    await pool.execute(
      'SELECT pglisten.publish($1, n::text) FROM generate_series(1, $2::int) AS n',
      [channel, count],
    )
    const got: string[] = []
    const sizes = new Map<string, number>()
    run(async (tx, { payload }) => {
      got.push(payload)
      const transaction = await tx.fetchVal<string>('SELECT pg_current_xact_id()::text')
      sizes.set(transaction, (sizes.get(transaction) ?? 0) + 1)
    })
    await waitFor(() => got.length === count)
    await publish('last')
    await waitFor(() => got.length === count + 1)
    t.deepEqual(got, [...range(1, count), 'last'])
    t.is(Math.max(...sizes.values()), Math.min(batchSize, count))
  })
}

test('a subscription that has done a multiple of its batches to the last one has nothing left, and sleeps', async (t) => {
  const scene = await openScene(t, { batchSize: 3 })
  const { pool, channel, run, witness, name } = scene
  await pool.execute('SELECT pglisten.publish($1, n::text) FROM generate_series(1, 6) AS n', [
    channel,
  ])
  const { subscription } = run(() => {})
  await waitFor(async () => (await subscription.stats()).done === 6)
  await asleep(scene)
  t.false(await witness.ask('SELECT pglisten.has_more($1, 0)', [name]))
})

test('a late event of an old transaction comes while many others are walked', async (t) => {
  const { pool, channel, run } = await openScene(t, { batchSize: 10 })
  const connection = await pool.connection()
  const old = await connection.begin()
  await old.publish(channel, 'late')
  await pool.execute('SELECT pglisten.publish($1, n::text) FROM generate_series(1, 100) AS n', [
    channel,
  ])
  const got: string[] = []
  run(async (_, { payload }) => {
    got.push(payload)
    if (got.length === 35) await old.commit()
  })
  await waitFor(() => got.length === 101)
  await connection.close()
  t.deepEqual(
    got.filter((payload) => payload !== 'late'),
    range(1, 100),
  )
})

test('partitions are worked beside each other, and each key keeps its order', async (t) => {
  const { pool, channel, run } = await openScene(t, { partitions: 4, batchSize: 3 })
  const keys = range(1, 20)
  for (const n of range(1, 5)) for (const key of keys) await pool.publish(channel, n, { key })
  const got = new Map<string, string[]>()
  let [present, most, count] = [0, 0, 0]
  const { subscription } = run(async (tx, { key, payload }) => {
    present += 1
    most = Math.max(most, present)
    await tx.execute('SELECT pg_sleep(0.005)')
    present -= 1
    got.set(key!, [...(got.get(key!) ?? []), payload])
    count += 1
  })
  await waitFor(() => count === 100)
  for (const key of keys) t.deepEqual(got.get(key), range(1, 5), key)
  t.true(most > 1)
  t.is((await subscription.stats()).working, 4)
})

test('two runs of one subscription share nothing: one works, the other takes over when it ends', async (t) => {
  const { run, publish } = await openScene(t)
  const got: [number, string][] = []
  const other = await openPool(t)
  const first = run((_, { payload }) => void got.push([1, payload]))
  await publish('1')
  await waitFor(() => got.length === 1)
  run((_, { payload }) => void got.push([2, payload]), {}, other)
  await publish('2')
  await waitFor(() => got.length === 2)
  await first.stop()
  await publish('3')
  await waitFor(() => got.length === 3)
  t.deepEqual(
    got.map(([, payload]) => payload),
    ['1', '2', '3'],
  )
  t.is(got[2]![0], 2)
})

test('a run that is ended finishes its event, commits what is done and leaves the rest', async (t) => {
  const { run, publish, witness, name } = await openScene(t)
  await publish(...range(1, 5))
  const [begun, go] = [deferred(), deferred()]
  const got: string[] = []
  const first = run(async (_, { payload }) => {
    got.push(payload)
    if (payload !== '2') return
    begun.resolve()
    await go.promise
  })
  await within(begun.promise)
  const stopping = first.stop()
  go.resolve()
  await within(stopping)
  t.deepEqual(got, ['1', '2'])
  t.is(
    await witness.ask('SELECT count(*)::int FROM pglisten.sleeper WHERE subscription = $1', [name]),
    0,
  )
  const rest: string[] = []
  run((_, { payload }) => void rest.push(payload))
  await waitFor(() => rest.length === 3)
  t.deepEqual(rest, ['3', '4', '5'])
})

test('channels of which a subscription has none are not its own, and nobody waits for them', async (t) => {
  const { pool, run, publish, channel } = await openScene(t)
  const got: string[] = []
  const { subscription } = run((_, event) => void got.push(event.payload))
  await pool.publish(`${channel}_other`, 'no')
  await publish('yes')
  await waitFor(async () => (await subscription.stats()).done === 1)
  t.is((await subscription.stats()).lag.events, 0)
  t.deepEqual(got, ['yes'])
})

test('what is wrong is refused with the reason', async (t) => {
  const { pool, name, channel, run, subscription } = await openScene(t)
  const handler = () => {}
  await t.throwsAsync(async () => pool.subscription('', { channels: ['a'] }).run(handler), {
    code: 'ERR_PGLISTEN_ARGUMENT_RANGE',
  })
  t.throws(() => pool.subscription('s', { channels: [] }), { code: 'ERR_PGLISTEN_ARGUMENT_TYPE' })
  t.throws(() => pool.subscription('s', { channels: ['x'.repeat(64)] }), {
    code: 'ERR_PGLISTEN_ARGUMENT_RANGE',
  })
  await t.throwsAsync(pool.publish(channel, 'a\0b'), { code: 'ERR_PGLISTEN_ARGUMENT_RANGE' })
  await t.throwsAsync(pool.publish('x'.repeat(64), ''), { code: 'ERR_PGLISTEN_ARGUMENT_RANGE' })
  await t.throwsAsync(pool.execute('SELECT pglisten.publish($1, $2)', ['é'.repeat(32), '']), {
    message: /from 1 to 63 bytes/,
  })
  const small = await openPool(t, { maxDbPoolSize: 2 })
  await t.throwsAsync(
    small.subscription(name, { channels: [channel], partitions: 3 }).run(handler),
    {
      instanceOf: DurableError,
      message: /has 3 partitions, .* the pool may have 2/,
    },
  )
  const first = run(handler)
  await waitFor(async () => (await pool.durable.subscriptions()).some((one) => one.name === name))
  await t.throwsAsync(first.subscription.run(handler), {
    instanceOf: DurableError,
    message: /runs already/,
  })
  await t.throwsAsync(subscription({ partitions: 2 }).run(handler), {
    message: /has 1 partitions, not 2/,
  })
  await t.throwsAsync(subscription({ channels: ['other'] }).run(handler), {
    message: /has other channels/,
  })
  t.true(await pool.durable.drop(name))
  t.false(await pool.durable.drop(name))
  await within(
    t.throwsAsync(first.ended, { instanceOf: DurableError, message: /there is no subscription/ }),
  )
})

test('a run ends where another subscription has taken the place of its own', async (t) => {
  const scene = await openScene(t)
  const { pool, channel, name, run, publish } = scene
  const other = `${channel}_other`
  const handled: string[] = []
  const old = run((_, event) => void handled.push(event.payload))
  await publish('one')
  await waitFor(() => handled.length === 1)
  // It sleeps, and hears of nothing but the new one.
  await asleep(scene)
  const connection = await pool.connection()
  await connection.transaction(async (tx) => {
    await tx.execute('SELECT pglisten.drop_subscription($1)', [name])
    await tx.execute('SELECT pglisten.subscribe($1, $2)', [name, [other]])
  })
  await connection.close()
  await pool.publish(other, 'none of its own')
  await within(
    t.throwsAsync(old.ended, { instanceOf: DurableError, message: /another one of that name/ }),
  )
  t.deepEqual(handled, ['one'])
  t.is((await pool.subscription(name, { channels: [other] }).stats()).lag.events, 1)

  const now = run((_, event) => void handled.push(event.payload), { channels: [other] })
  await waitFor(() => handled.length === 2)
  await now.stop()
  t.deepEqual(handled, ['one', 'none of its own'])
})

test('payloads are what the pool’s schemas make of them', async (t) => {
  const { channel, name } = await openScene(t)
  const schema = {
    '~standard': {
      version: 1 as const,
      vendor: 'test',
      validate: (value: unknown) => ({ value: { read: value } }),
    },
  }
  const pool = await openPool(t, { schemas: { [channel]: schema } })
  const got = deferred<unknown>()
  const ending = new AbortController()
  const run = pool
    .subscription(name, { channels: [channel], from: 'beginning' })
    .run((_, { payload }) => got.resolve(payload), { signal: ending.signal })
  await pool.publish(channel, { a: 1 })
  t.deepEqual(await within(got.promise), { read: { a: 1 } })
  ending.abort()
  await run
})

test('a run ends with its pool', async (t) => {
  const { run, publish } = await openScene(t)
  const pool = await openPool(t)
  const got: string[] = []
  const { ended } = run((_, { payload }) => void got.push(payload), {}, pool)
  await publish('1')
  await waitFor(() => got.length === 1)
  await pool.close()
  await within(
    t.throwsAsync(ended, { code: 'ERR_PGLISTEN_POOL_EXECUTE', message: /the pool is closed/ }),
  )
})

test('neither the types of the pool nor its isolation level reach what a subscription does itself', async (t) => {
  const { channel, name } = await openScene(t)
  const loud = (text: string) => text.toUpperCase()
  const pool = await openPool(t, {
    types: {
      encoders: { text: (value) => loud(String(value)), int4: () => 'x' },
      decoders: {
        text: loud,
        int4: loud,
        int8: loud,
        bool: loud,
        float8: loud,
        jsonb: loud,
        'text[]': loud,
      },
      json: { stringify: () => 'null' },
    },
    options: '-c default_transaction_isolation=serializable',
  })
  const read = await openPool(t)
  await read.publish(channel, 'grün')
  const got: string[] = []
  const ending = new AbortController()
  const other = pool.subscription(name, {
    channels: [channel],
    from: 'beginning',
    ...{ retryDelayMs: 1 },
  })
  const run = other.run((_, { payload }) => void got.push(payload), { signal: ending.signal })
  run.catch(() => {})
  await waitFor(() => got.length === 1)
  t.deepEqual(got, ['grün'])
  await waitFor(async () => (await other.stats()).lag.events === 0)
  ending.abort()
  await run
})

test('a run that sleeps ends at once with its pool', async (t) => {
  const scene = await openScene(t, { safetyNetMs: 60_000 })
  const pool = await openPool(t)
  const { ended } = scene.run(() => {}, {}, pool)
  await asleep(scene)
  await pool.close()
  await within(t.throwsAsync(ended, { code: 'ERR_PGLISTEN_POOL_EXECUTE' }))
})

test('a run that waits for its listening session ends with the error of its pool when that is closed', async (t) => {
  const scene = await openScene(t)
  const silent = net.createServer((socket) => socket.on('error', () => {}))
  silent.listen(0, '127.0.0.1')
  await once(silent, 'listening')
  t.teardown(() => silent.close())
  const { port } = silent.address() as net.AddressInfo
  const pool = await openPool(t, { listenDsn: `postgres://nobody@127.0.0.1:${port}/postgres` })
  const connected = once(silent, 'connection')
  const { ended } = scene.run(() => {}, {}, pool)
  await within(connected)
  await pool.close()
  await within(t.throwsAsync(ended, { code: 'ERR_PGLISTEN_POOL_EXECUTE' }))
})

test('a transaction does not pass what it has published itself, although a younger one has ended', async (t) => {
  const { pool, channel, name, run } = await openScene(t)
  await pool.fetchVal('SELECT pglisten.subscribe($1, ARRAY[$2::text], 1, true)', [name, channel])
  const connection = await pool.connection()
  await connection.transaction(async (tx) => {
    await tx.publish(channel, 'own')
    // Its snapshot would call itself done: it is older than one that has ended, and not listed as open.
    await pool.publish(channel, 'younger')
    const { payloads, advance } = await take(tx, name)
    t.deepEqual(payloads, ['younger'])
    await advance()
  })
  await connection.close()
  const got: string[] = []
  run((_, { payload }) => void got.push(payload))
  await waitFor(() => got.length === 1)
  t.deepEqual(got, ['own'])
})

test('a run that waits for a connection ends at once when it is aborted', async (t) => {
  const { subscription } = await openScene(t)
  const pool = await openPool(t, { maxDbPoolSize: 1 })
  const connection = await pool.connection()
  const ending = new AbortController()
  const run = subscription({}, pool).run(() => {}, { signal: ending.signal })
  await waitFor(() => pool.status().waiting === 1)
  ending.abort()
  await within(run)
  t.is(pool.status().waiting, 0)
  await connection.close()
})

test('a pool with schemas publishes what they take, and nothing else', async (t) => {
  const { channel, name } = await openScene(t)
  const schema = {
    '~standard': {
      version: 1 as const,
      vendor: 'test',
      validate: (value: unknown) =>
        typeof value === 'number' ? { value } : { issues: [{ message: 'no number' }] },
    },
  }
  const pool = await openPool(t, { schemas: { [channel]: schema } })
  await t.throwsAsync(pool.publish(channel, 'text'), {
    code: 'ERR_PGLISTEN_ARGUMENT_TYPE',
    message: /no number/,
  })
  await pool.publish(channel, 7)
  t.is(await pool.fetchVal('SELECT payload FROM pglisten.event WHERE channel = $1', [channel]), '7')
  t.false(await pool.durable.drop(name))
})

test('runs that share a signal, and partitions that rest, share its listener, so Node warns of no leak', async (t) => {
  const warnings: Error[] = []
  const onWarning = (warning: Error) => warnings.push(warning)
  process.on('warning', onWarning)
  t.teardown(() => process.off('warning', onWarning))
  const partitions = 12
  const pool = await openPool(t, { maxDbPoolSize: 2 * partitions })
  await pool.durable.install()
  const scene = await openScene(t, { partitions })
  const ending = new AbortController()
  const runs = Array.from({ length: 11 }, (_, number) =>
    pool
      .subscription(`${scene.name} ${number}`, { channels: [scene.channel] })
      .run(() => {}, { signal: ending.signal }),
  )
  const { stop } = scene.run(() => {}, {}, pool)
  await asleep(scene, partitions)
  await stop()
  ending.abort()
  await within(Promise.all(runs))
  t.deepEqual(
    warnings.filter(({ name }) => name === 'MaxListenersExceededWarning'),
    [],
  )
})

test('times are as long as the options take them, on each version', async (t) => {
  const maxUnreadAgeMs = 36_525 * 86_400_000
  const scene = await openScene(t, { safetyNetMs: 2 ** 31 - 1, maxUnreadAgeMs })
  const { stop } = scene.run(() => {})
  await asleep(scene)
  t.is(await scene.pool.durable.trim(maxUnreadAgeMs), 0)
  await stop()
  const kept = `SELECT extract(epoch FROM max_unread)::float8 FROM pglisten.subscription WHERE name = $1`
  t.is(await scene.witness.ask<number>(kept, [scene.name]), maxUnreadAgeMs / 1000)
})
