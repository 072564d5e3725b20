// Coalescing: of equal notifications that wait for a consumer one is left, at the place of the first, and nothing is merged
// that a gap or a fence parts or that JavaScript has taken.

import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { Gap, ListenerOverflowError, type CoalesceMode, type ListenerOptions } from 'pglisten'
import { block, collect, deferred, waitFor, within } from '../../lab/wait.js'
import { flood, range } from '../support/flood.js'
import {
  ask,
  backendOf,
  notify,
  openListener,
  terminate,
  uniqueChannel,
} from '../support/listener.js'

const FAST = { initialDelayMs: 1, maxDelayMs: 10 }

/** A started listener, and a function that sends payloads one by one and waits until they are read. */
async function start(t: ExecutionContext, options: ListenerOptions<string> = {}) {
  const channel = uniqueChannel()
  const { listener, pool } = await openListener(t, {
    channels: [channel],
    reconnect: FAST,
    session: 'own',
    ...options,
  })
  await listener.startup()
  const send = async (...payloads: string[]) => {
    const { received } = listener.stats()
    for (const payload of payloads) await notify(channel, payload)
    await waitFor(() => listener.stats().received >= received + payloads.length)
  }
  const breakSession = async () => {
    const back = once(listener, 'reconnected')
    await terminate(await backendOf(listener))
    await within(back)
  }
  return { channel, listener, pool, send, breakSession }
}

const texts = (items: readonly { payload: string }[]) => items.map(({ payload }) => payload)
const shown = (items: readonly ({ payload: string } | Gap)[]) =>
  items.map((item) => (item instanceof Gap ? (item.dropped ?? '|') : item.payload))

test('equal payloads that wait are one, at the place of the first', async (t) => {
  const { listener, send } = await start(t)
  const messages = listener.messages({ coalesce: 'payload' })
  const whole = listener.messages()
  await send('a', 'b', 'a', 'c', 'b', 'a')
  await send('d')
  t.deepEqual(texts(await collect(messages, 4)), ['a', 'b', 'c', 'd'])
  t.deepEqual(texts(await collect(whole, 7)), ['a', 'b', 'a', 'c', 'b', 'a', 'd'])
  t.like(listener.stats(), { received: 7, coalesced: 3, delivered: 11, buffered: 0, dropped: 0 })
})

test('the first of equal payloads keeps its process id, and the newest of a channel brings its own', async (t) => {
  const channel = uniqueChannel()
  const { listener, pool } = await openListener(t, { channels: [channel] })
  await listener.startup()
  const byPayload = listener.messages({ coalesce: 'payload' })
  const byChannel = listener.messages({ coalesce: 'channel' })
  const senders: number[] = []
  for (let n = 0; n < 2; n += 1) {
    const connection = await pool.connection()
    senders.push(await connection.fetchVal<number>('SELECT pg_backend_pid()'))
    await connection.execute('SELECT pg_notify($1, $2)', [channel, 'same'])
    await connection.execute('SELECT pg_terminate_backend(pg_backend_pid())').catch(() => {})
    await connection.close()
  }
  t.not(senders[0], senders[1])
  await waitFor(() => listener.stats().received === 2)
  t.is((await collect(byPayload, 1))[0]?.processId, senders[0])
  t.is((await collect(byChannel, 1))[0]?.processId, senders[1])
})

test('of a channel the newest payload is left, at the place of the first, however long it is', async (t) => {
  const { listener } = await start(t, { channels: [] })
  const names = range(1, 3).map(() => uniqueChannel())
  for (const name of names) await listener.addChannel(name)
  const messages = listener.messages({ coalesce: 'channel' })
  const long = 'x'.repeat(7000)
  for (const [name, payload] of [
    [names[0]!, 'short'],
    [names[1]!, long],
    [names[2]!, ''],
    [names[1]!, 'grün'],
    [names[0]!, long],
    [names[2]!, 'last'],
    [names[1]!, 'new'],
  ] as const)
    await notify(name, payload)
  await waitFor(() => listener.stats().received === 7)
  const { bufferedBytes, buffered } = listener.stats()
  t.deepEqual({ bufferedBytes, buffered }, { buffered: 3, bufferedBytes: 7000 + 3 + 4 + 3 * 64 })
  const items = await collect(messages, 3)
  t.deepEqual(
    items.map(({ channel, payload }) => [channel, payload]),
    [
      [names[0], long],
      [names[1], 'new'],
      [names[2], 'last'],
    ],
  )
  t.like(listener.stats(), { coalesced: 4, delivered: 3, bufferedBytes: 0 })
})

for (const coalesce of ['payload', 'channel'] as const) {
  test(`nothing is merged across a gap, by ${coalesce}`, async (t) => {
    const { listener, send, breakSession } = await start(t, { coalesce })
    const messages = listener.messages({ gaps: 'include' })
    await send('a', 'a')
    await breakSession()
    await send('a', 'a', 'a')
    await breakSession()
    await send('a')
    t.deepEqual(shown(await collect(messages, 5)), ['a', '|', 'a', '|', 'a'])
    t.like(listener.stats(), { received: 6, coalesced: 3 })
  })

  test(`nothing is merged across a fence, by ${coalesce}`, async (t) => {
    const { listener, pool, send } = await start(t, { coalesce, session: 'shared' })
    const beside = pool.listener({ reconnect: FAST, session: 'shared' })
    await beside.startup()
    t.is(beside.stats().session?.listeners, 2)
    /** Puts a fence into the stream; gives the promise of `sync()`. */
    const fence = async () => {
      const synced = listener.sync()
      // Nothing of this one's is waiting, and on the session that they share its fence comes back behind the other's.
      await within(beside.sync())
      return { synced }
    }
    const messages = listener.messages()
    await send('a', 'a')
    const first = await fence()
    await send('a', 'a')
    const second = await fence()
    await send('a')
    t.is((await collect(messages, 1))[0]?.payload, 'a')
    const next = messages.next()
    await within(first.synced)
    t.is((await within(next)).value?.payload, 'a')
    t.deepEqual(texts(await collect(messages, 1)), ['a'])
    const rest = messages.next()
    await within(second.synced)
    t.like(listener.stats(), { received: 5, coalesced: 2, delivered: 3 })
    await messages.return()
    await rest
  })

  test(`nothing is merged into what JavaScript has taken, by ${coalesce}`, async (t) => {
    const { listener, send } = await start(t, { coalesce })
    const batches = listener.batches({ maxSize: 2 })
    await send('a', 'a')
    t.deepEqual(texts((await batches.next()).value!), ['a'])
    await send('a', 'a')
    t.deepEqual(texts((await batches.next()).value!), ['a'])
    // One that waits is handed over with the wake.
    const next = batches.next()
    await send('a')
    t.deepEqual(texts((await within(next)).value!), ['a'])
    await send('a')
    t.deepEqual(texts((await within(batches.next())).value!), ['a'])
    t.like(listener.stats(), { received: 6, coalesced: 2, delivered: 4 })
  })
}

test('what is left of a batch that was taken goes on waiting, and is merged', async (t) => {
  const { listener, send } = await start(t)
  const batches = listener.batches({ coalesce: 'payload', maxSize: 3 })
  await send(...range(1, 10).map(String))
  t.deepEqual(texts((await batches.next()).value!), ['1', '2', '3'])
  await send(...range(1, 10).map(String))
  t.is(listener.stats().coalesced, 7)
  const rest = await collect(batches, 4)
  t.deepEqual(rest.flatMap(texts), [...range(4, 10), ...range(1, 3)].map(String))
})

test('a consumer overrides what the listener says, and each one merges for itself', async (t) => {
  const { listener, send } = await start(t, { coalesce: 'channel' })
  const called: string[] = []
  const all = listener.messages({ coalesce: false })
  const byPayload = listener.batches({ coalesce: 'payload' })
  const byDefault = listener.messages({ coalesce: undefined })
  const stream = await listener.subscribe(listener.channels, { coalesce: 'payload' })
  await listener.addCallback(listener.channels[0]!, (_, payload) => {
    called.push(payload)
  })
  const release = deferred()
  await listener.addCallback(listener.channels[0]!, () => release.promise)
  listener.listen()
  await send('a', 'b', 'a', 'b')
  t.deepEqual(texts(await collect(all, 4)), ['a', 'b', 'a', 'b'])
  t.deepEqual(texts((await byPayload.next()).value!), ['a', 'b'])
  t.deepEqual(texts(await collect(byDefault, 1)), ['b'])
  t.deepEqual(texts(await collect(stream, 2)), ['a', 'b'])
  release.resolve()
  // The first one may have been handed over before the others came.
  await waitFor(() => listener.stats().buffered === 0 && called.at(-1) === 'b')
  t.true(called.length <= 4)
})

test('it is decided after ignoreOwn and the filter, and before parse', async (t) => {
  const parsed: string[] = []
  const { listener, channel, pool, send } = await start(t, {
    ignoreOwn: true,
    coalesce: 'payload',
    filter: { prefix: 'a' },
    parse: (payload) => {
      parsed.push(payload)
      return payload.toUpperCase()
    },
  })
  const messages = listener.messages()
  await send('a1')
  await pool.notify(channel, 'a1')
  await send('b', 'a2', 'a1', 'a2', 'b')
  t.like(listener.stats(), { received: 6, filtered: 2, coalesced: 2, buffered: 2 })
  t.deepEqual(texts(await collect(messages, 2)), ['A1', 'A2'])
  t.deepEqual(parsed, ['a1', 'a2'])
})

test('dropOldest drops what has waited longest, counts it exactly, and merges what comes next anew', async (t) => {
  const { listener, send } = await start(t, { coalesce: 'payload', buffer: { maxMessages: 3 } })
  const messages = listener.messages({ gaps: 'include' })
  await send('a', 'b', 'c')
  await send('a', 'b', 'c')
  t.like(listener.stats(), { coalesced: 3, dropped: 0 })
  // `a` and `b` go, and come again behind the others.
  await send('d', 'e', 'a', 'b')
  t.like(listener.stats(), { coalesced: 3, dropped: 4, buffered: 3 })
  await send('e', 'a', 'b', 'e')
  t.deepEqual(shown(await collect(messages, 4)), [4, 'e', 'a', 'b'])
  t.like(listener.stats(), { received: 14, coalesced: 7, dropped: 4, delivered: 3, gaps: 1 })
})

test('the gap of what was dropped reaches from its first notification to its last', async (t) => {
  const { listener, send } = await start(t, { coalesce: 'payload', buffer: { maxMessages: 2 } })
  const messages = listener.messages({ gaps: 'include' })
  await send('a')
  const first = Date.now()
  await waitFor(() => Date.now() > first + 20)
  const last = Date.now()
  await send('a')
  await send('b', 'c')
  const [gap] = await collect(messages, 1)
  t.true(gap instanceof Gap && gap.lostAt.getTime() <= first && gap.resumedAt.getTime() >= last)
})

test('a longer payload that has no room makes room', async (t) => {
  const names = range(1, 3).map(() => uniqueChannel())
  const { listener } = await openListener(t, {
    channels: names,
    coalesce: 'channel',
    buffer: { maxBytes: 16_384 },
  })
  await listener.startup()
  const messages = listener.messages({ gaps: 'include' })
  const [x, y, z] = ['x', 'y', 'z'].map((letter) => letter.repeat(6000))
  await notify(names[0]!, x)
  await notify(names[1]!, y)
  await notify(names[2]!, 'short')
  // There is room for it once the first one is gone.
  await notify(names[2]!, z)
  // And here the one into which it would be merged is the first one.
  await notify(names[1]!, 'y'.repeat(7999))
  await notify(names[2]!, z!.slice(1))
  await waitFor(() => listener.stats().received === 6)
  t.true(listener.stats().bufferedBytes <= 16_384)
  const items = await collect(messages, 3)
  t.deepEqual(
    items.map((item) => (item instanceof Gap ? item.dropped : item.payload)),
    [1, 'y'.repeat(7999), z!.slice(1)],
  )
  t.like(listener.stats(), { dropped: 1, coalesced: 3, delivered: 2 })
})

test('dropNewest parts what waits from what comes later, where something was dropped', async (t) => {
  const { listener, send } = await start(t, {
    coalesce: 'payload',
    buffer: { maxMessages: 2, overflow: 'dropNewest' },
  })
  const messages = listener.messages({ gaps: 'include' })
  await send('a', 'b', 'a', 'b')
  t.like(listener.stats(), { coalesced: 2, dropped: 0 })
  await send('c', 'a')
  t.like(listener.stats(), { coalesced: 2, dropped: 2 })
  t.deepEqual(shown(await collect(messages, 2)), ['a', 'b'])
  await send('a', 'a')
  t.deepEqual(shown(await collect(messages, 2)), [2, 'a'])
})

test('a merged notification neither pauses nor closes a listener whose buffer is full', async (t) => {
  for (const overflow of ['pause', 'error'] as const) {
    const { listener, send } = await start(t, {
      coalesce: 'payload',
      buffer: { maxMessages: 2, overflow },
    })
    const messages = listener.messages()
    await send('a', 'b')
    await send(...Array.from({ length: 50 }, () => ['a', 'b']).flat())
    t.like(listener.stats(), { coalesced: 100, buffered: 2, gaps: 0 })
    t.deepEqual(texts(await collect(messages, 2)), ['a', 'b'])
    if (overflow === 'pause') continue
    const closed = once(listener, 'closed')
    await notify(listener.channels[0]!, 'c')
    await notify(listener.channels[0]!, 'd')
    await notify(listener.channels[0]!, 'e')
    await within(closed)
    t.deepEqual(texts(await collect(messages, 2)), ['c', 'd'])
    await t.throwsAsync(messages.next(), { instanceOf: ListenerOverflowError })
  }
})

test('a full buffer under pause goes on when it has room, with what was merged meanwhile', async (t) => {
  const { listener, channel } = await start(t, {
    coalesce: 'payload',
    buffer: { maxMessages: 100, overflow: 'pause', maxPauseMs: 60_000 },
  })
  const messages = listener.messages({ gaps: 'include' })
  for (let n = 0; n < 3; n += 1) await flood(channel, 1, 1000)
  await notify(channel, 'end')
  const got = new Map<string, number>()
  for await (const item of messages) {
    if (item instanceof Gap) throw new Error('there was room after all')
    got.set(item.payload, (got.get(item.payload) ?? 0) + 1)
    if (item.payload === 'end') break
  }
  t.is(got.size, 1001)
  const { received, coalesced, delivered } = listener.stats()
  t.is(received, 3001)
  t.is(coalesced + delivered, received)
})

test('a removed channel that comes back is another one', async (t) => {
  const { listener, channel, send } = await start(t, { coalesce: 'channel' })
  const messages = listener.messages()
  await send('before')
  await listener.removeChannel(channel)
  await listener.addChannel(channel)
  await send('after')
  t.is(listener.stats().coalesced, 0)
  t.deepEqual(texts(await collect(messages, 1)), ['after'])
})

test('the first consumer gets what has waited since startup merged as it wishes', async (t) => {
  const cases: [CoalesceMode | false, CoalesceMode | false | undefined, string[]][] = [
    [false, 'payload', ['a', 'b']],
    [false, 'channel', ['b']],
    ['payload', undefined, ['a', 'b']],
    ['payload', 'channel', ['b']],
  ]
  for (const [listeners, iterators, expected] of cases) {
    const { listener, send } = await start(t, { coalesce: listeners })
    await send('a', 'b', 'a', 'b')
    const messages = listener.messages({ coalesce: iterators })
    await send('b')
    t.deepEqual(texts(await collect(messages, expected.length)), expected)
    t.like(listener.stats(), { coalesced: 5 - expected.length, buffered: 0 })
    await listener.shutdown()
  }
  const { listener, send } = await start(t, { coalesce: 'payload' })
  await send('a', 'a')
  const messages = listener.messages({ coalesce: false })
  await send('a', 'a')
  t.deepEqual(texts(await collect(messages, 3)), ['a', 'a', 'a'])
})

test('callbacks that are slow get the newest state of every key, with each kind of concurrency', async (t) => {
  for (const options of [{}, { concurrency: 4 }, { concurrency: 3, ordered: false }]) {
    const names = range(1, 20).map(() => uniqueChannel())
    const { listener } = await openListener<Record<string, { n: number }>>(t, {
      channels: names,
      coalesce: 'channel',
      parse: (payload) => ({ n: Number(payload) }),
      ...options,
    })
    await listener.startup()
    const seen = new Map<string, number[]>()
    const release = deferred()
    for (const name of names) {
      seen.set(name, [])
      await listener.addCallback(name, async (_, { n }, channel) => {
        await release.promise
        seen.get(channel)!.push(n)
      })
    }
    listener.listen()
    const rounds = 30
    for (let n = 1; n <= rounds; n += 1)
      await ask('SELECT count(pg_notify(name, $2)) FROM unnest($1::text[]) AS name', [
        names,
        `${n}`,
      ])
    await waitFor(() => listener.stats().received === rounds * names.length)
    release.resolve()
    await within(listener.sync())
    for (const numbers of seen.values()) {
      t.is(numbers.at(-1), rounds)
      if (!('ordered' in options))
        t.deepEqual(
          numbers,
          numbers.toSorted((a, b) => a - b),
        )
    }
    const { received, coalesced, delivered } = listener.stats()
    t.is(coalesced + delivered, received)
    t.true(coalesced > 0)
  }
})

test('listeners that share a session merge each for itself', async (t) => {
  const channel = uniqueChannel()
  const { listener, pool } = await openListener(t, { channels: [channel], coalesce: 'payload' })
  const other = pool.listener({ channels: [channel] })
  await listener.startup()
  await other.startup()
  t.is(listener.stats().session?.listeners, 2)
  const [merged, whole] = [listener.messages(), other.messages()]
  for (const payload of ['a', 'a', 'b', 'a']) await notify(channel, payload)
  await waitFor(() => other.stats().received === 4 && listener.stats().received === 4)
  t.deepEqual(texts(await collect(merged, 2)), ['a', 'b'])
  t.deepEqual(texts(await collect(whole, 4)), ['a', 'a', 'b', 'a'])
  t.is(other.stats().coalesced, 0)
})

test('a drained shutdown and the next run keep the counts', async (t) => {
  const { listener, send } = await start(t, { coalesce: 'payload' })
  const messages = listener.messages()
  await send('a', 'a', 'b')
  const ended = listener.shutdown({ drain: true })
  t.deepEqual(texts(await collect(messages, 2)), ['a', 'b'])
  t.true((await within(messages.next())).done)
  await ended
  t.like(listener.stats(), { received: 3, coalesced: 1, delivered: 2 })
  await listener.startup()
  t.is(listener.stats().coalesced, 1)
})

test('a process that was busy is told of each of a hundred keys once', async (t) => {
  const { listener, channel } = await start(t, {
    coalesce: 'payload',
    buffer: { maxMessages: 200 },
  })
  const called: string[] = []
  await listener.addCallback(channel, (_, payload) => {
    called.push(payload)
  })
  listener.listen()
  const rounds = 100
  const sent = Promise.all(Array.from({ length: rounds }, () => flood(channel, 1, 100)))
  block(500)
  await sent
  await within(listener.sync())
  t.deepEqual(new Set(called), new Set(range(1, 100).map(String)))
  const { received, coalesced, delivered, dropped } = listener.stats()
  t.is(received, rounds * 100)
  t.is(dropped, 0)
  t.is(coalesced + delivered, received)
})
