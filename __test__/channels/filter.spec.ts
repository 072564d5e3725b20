// Filters: what does not pass is neither parsed nor delivered nor kept, and everything else is as it was.

import test, { type ExecutionContext } from 'ava'
import * as fc from 'fast-check'
import { once } from 'node:events'
import { Gap, type JsonCondition, type ListenerOptions, type NotificationFilter } from 'pglisten'
import { uniqueName } from '../../lab/unique-name.js'
import { collect, waitFor, within } from '../../lab/wait.js'
import { flood, range } from '../support/flood.js'
import {
  ask,
  backendOf,
  notify,
  openListener,
  terminate,
  uniqueChannel,
} from '../support/listener.js'

/** A started listener, and a function that sends payloads one by one and waits until they are read. */
async function start(t: ExecutionContext, options: ListenerOptions = {}) {
  const channel = uniqueChannel()
  const { listener, pool } = await openListener<Record<string, unknown>>(t, {
    channels: [channel],
    reconnect: { initialDelayMs: 1, maxDelayMs: 10 },
    ...options,
  })
  await listener.startup()
  const send = async (...payloads: string[]) => {
    const { received } = listener.stats()
    await ask('SELECT count(pg_notify($1, p)) FROM unnest($2::text[]) AS p', [channel, payloads])
    await waitFor(() => listener.stats().received >= received + payloads.length)
  }
  return { channel, listener, pool, send }
}

const texts = (items: readonly { payload: unknown }[]) => items.map(({ payload }) => payload)

/** Which of some payloads, all different, a filter lets pass. */
async function passing(t: ExecutionContext, filter: NotificationFilter, payloads: string[]) {
  const { listener, send } = await start(t)
  const messages = listener.messages({ filter })
  const all = listener.messages()
  await send(...payloads)
  t.deepEqual(texts(await collect(all, payloads.length)), payloads)
  const passed = payloads.length - listener.stats().filtered
  const got = texts(await collect(messages, passed))
  t.is(listener.stats().buffered, 0)
  await listener.shutdown()
  return got
}

test('what does not pass is not parsed, not delivered and not kept, but counted', async (t) => {
  const parsed: string[] = []
  const { listener, channel, send } = await start(t, {
    filter: { json: { path: ['kind'], equals: 'order' } },
    parse: (payload) => {
      parsed.push(payload)
      return JSON.parse(payload) as unknown
    },
  })
  const called: unknown[] = []
  await listener.addCallback(channel, (_, payload) => {
    called.push(payload)
  })
  listener.listen()
  const messages = listener.messages()
  await send('{"kind":"order","n":1}', '{"kind":"bill"}', '[]', '{"kind":"order","n":2}')
  const expected = [1, 2].map((n) => ({ kind: 'order', n }))
  t.deepEqual(texts(await collect(messages, 2)), expected)
  await messages.return()
  await within(listener.sync())
  t.deepEqual(called, expected)
  t.is(parsed.length, 4)
  // Counted for each consumer.
  t.like(listener.stats(), {
    received: 4,
    filtered: 4,
    delivered: 4,
    buffered: 0,
    bufferedBytes: 0,
  })
})

test('a filter keeps a flood out of the buffer, so that nothing is dropped', async (t) => {
  const { listener, channel } = await start(t, {
    filter: { prefix: '7' },
    buffer: { maxMessages: 20, overflow: 'error' },
  })
  const messages = listener.messages()
  await flood(channel, 100, 300)
  await flood(channel, 700, 719)
  await flood(channel, 800, 900)
  await waitFor(() => listener.stats().received === 322)
  t.like(listener.stats(), { filtered: 302, dropped: 0, buffered: 20 })
  t.deepEqual(texts(await collect(messages, 20)), range(700, 719).map(String))
})

test('dropped is counted after the filter', async (t) => {
  const { listener, send } = await start(t, { buffer: { maxMessages: 2 } })
  const messages = listener.messages({ filter: { prefix: 'a' }, gaps: 'include' })
  await send('a1', 'b1', 'a2', 'b2', 'a3', 'b3', 'a4')
  t.like(listener.stats(), { received: 7, filtered: 3, dropped: 2, buffered: 2 })
  const [gap, ...rest] = await collect(messages, 3)
  t.is((gap as Gap).dropped, 2)
  t.deepEqual(texts(rest as { payload: unknown }[]), ['a3', 'a4'])
})

test('a gap passes every filter, and so does a fence', async (t) => {
  const { listener, send } = await start(t, { filter: { prefix: 'nothing' }, session: 'own' })
  const messages = listener.messages({ gaps: 'include' })
  const gaps: Gap[] = []
  listener.addGapCallback((_, gap) => {
    gaps.push(gap)
  })
  listener.listen()
  await send('a')
  const back = once(listener, 'reconnected')
  await terminate(await backendOf(listener as never))
  await within(back)
  t.true((await collect(messages, 1))[0] instanceof Gap)
  const next = messages.next()
  await within(listener.sync())
  t.is(gaps.length, 1)
  await listener.shutdown()
  t.true((await next).done)
})

test('a prefix is compared as text', async (t) => {
  const payloads = ['grün', 'grünlich', 'gru\u0308n', 'gr', 'Grün', '', ' grün', '"grün']
  t.deepEqual(await passing(t, { prefix: 'grün' }, payloads), ['grün', 'grünlich'])
  t.deepEqual(await passing(t, { prefix: '' }, payloads), payloads)
})

test('patterns select channels, by their whole names', async (t) => {
  const base = uniqueName('shop')
  const names = ['eu.orders', 'eu.bills', 'us.orders', 'EU.orders', 'eu.orders.1', 'é.orders'].map(
    (name) => `${base}.${name}`,
  )
  const { listener } = await start(t, { channels: names })
  for (const [patterns, selected] of [
    [['*'], names],
    [[`${base}.eu.*`], [0, 1, 4].map((n) => names[n])],
    [[`${base}.??.orders`], [0, 2, 3].map((n) => names[n])],
    [[`${base}.?.orders`], [names[5]]],
    [[`${base}.[eu][us].orders`], [0, 2].map((n) => names[n])],
    [[`${base}.[^e-u]*`], [3, 5].map((n) => names[n])],
    [[`*.bills`, `*.1`], [1, 4].map((n) => names[n])],
    [[`${base}.eu.orders`], [names[0]]],
    [[`${base}\\.eu.o\\rders`], [names[0]]],
    [['orders'], []],
  ] as const) {
    const messages = listener.messages({ filter: { channels: patterns } })
    const { received } = listener.stats()
    for (const name of names) await notify(name)
    await waitFor(() => listener.stats().received === received + names.length)
    const items = await collect(messages, selected.length)
    t.deepEqual(
      items.map(({ channel }) => channel),
      [...selected],
      patterns.join(' '),
    )
    t.is(listener.stats().buffered, 0)
    await messages.return()
  }
  t.deepEqual(listener.channels.toSorted(), names.toSorted())
})

test('a pattern applies to channels that are added, removed and added again later', async (t) => {
  const base = uniqueName('shop')
  const [wanted, other] = [`${base}.wanted`, `${base}.other`]
  const { listener } = await start(t, { channels: [], filter: { channels: ['*.wanted'] } })
  const messages = listener.messages()
  for (let round = 1; round <= 3; round += 1) {
    await listener.addChannel(other)
    await listener.addChannel(wanted)
    await notify(other, 'no')
    await notify(wanted, String(round))
    t.deepEqual(texts(await collect(messages, 1)), [String(round)])
    t.is(listener.stats().filtered, round)
    await listener.removeChannel(other)
    await listener.removeChannel(wanted)
  }
})

test('the path leads through objects and arrays to a value of the same type', async (t) => {
  const payloads = [
    '{"a":{"b":[{"c":1}]}}',
    ' { "a" : { "b" : [ { "x" : [[]] , "c" : 1.0 } , 5 ] } , "c" : 2 } ',
    '{"a":{"b":{"0":{"c":1e0}}}}',
    '{"a":{"b":[{"c":"1"}]}}',
    '{"a":{"b":[{"c":true}]}}',
    '{"a":{"b":[5,{"c":1}]}}',
    '{"a":{"b":{"c":1}}}',
    '{"b":[{"c":1}]}',
    '{"a":{"b":[{"c":[1]}]}}',
    '1',
    'null',
  ]
  const filter = { json: { path: ['a', 'b', '0', 'c'], equals: 1 } }
  t.deepEqual(await passing(t, filter, payloads), payloads.slice(0, 3))
})

test('what is no JSON passes, with what follows a value or is nested however deep', async (t) => {
  const deep = 3999
  const no = [
    `${'['.repeat(deep)}${']'.repeat(deep)}`,
    `${'{"a":'.repeat(1300)}1${'}'.repeat(1300)}`,
  ]
  const yes = [
    '',
    'plain',
    '{"a":2} trailing',
    '{"a":2',
    '{"a":"\\x"}',
    '{"a":02}',
    '\u{feff}{"a":2}',
    '['.repeat(7999),
    `${'['.repeat(deep)}${']'.repeat(deep)}]`,
    `${'['.repeat(deep)}}${']'.repeat(deep - 1)}`,
  ]
  const filter = { json: { path: ['a'], equals: 5 } }
  t.deepEqual(await passing(t, filter, [...no, ...yes]), yes)
})

test('all parts of a filter have to be met', async (t) => {
  const { listener, channel, send } = await start(t)
  const json = { path: ['n'], equals: null }
  const met = listener.messages({ filter: { channels: [channel], prefix: '{', json } })
  const channels = listener.messages({ filter: { channels: ['another'], prefix: '{', json } })
  const prefix = listener.messages({ filter: { channels: [channel], prefix: '[', json } })
  await send('{"n":null}', '{"n":1}', 'no JSON', '{no JSON')
  t.deepEqual(texts(await collect(met, 2)), ['{"n":null}', '{no JSON'])
  t.is(listener.stats().buffered, 0)
  t.is(listener.stats().filtered, 2 + 4 + 4)
  await Promise.all([channels.return(), prefix.return()])
})

test('a filter agrees with JSON.parse', async (t) => {
  const { listener, channel } = await start(t)
  const key = fc.constantFrom('a', 'b', '0', '1', '', 'é"', '😀')
  const scalar = fc.oneof(
    key,
    fc.constantFrom(0, 1, -1, 1.5, 1e21, 2 ** 53, true, false, null),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
  )
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { depthSize: 'small' },
      scalar,
      fc.array(tie('value'), { maxLength: 3 }),
      fc.dictionary(key, tie('value'), { maxKeys: 3 }),
    ),
  }))
  const escaped = (text: string) =>
    text.replaceAll(/[a-z\u0080-\uffff]/g, (unit) =>
      unit.charCodeAt(0) % 2 === 0
        ? unit
        : `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
    )
  const text = fc.oneof(
    value.map((one) => JSON.stringify(one)),
    value.map((one) => JSON.stringify(one, null, 2)),
    value.map((one) => JSON.stringify(one).replaceAll(/"[^"\\]*"/g, escaped)),
    fc
      .tuple(value, value)
      .map(([one, two]) => `{"a":${JSON.stringify(one)},"a":${JSON.stringify(two)}}`),
    fc
      .tuple(value, fc.nat(), fc.constantFrom('', ',', '"', '}', '\\', '1', '\n'))
      .map(([one, at, inserted]) => {
        const whole = JSON.stringify(one)
        const place = at % (whole.length + 1)
        return whole.slice(0, place) + inserted + whole.slice(place + (at % 2))
      }),
  )
  const valid = text.filter((one) => one.isWellFormed() && Buffer.byteLength(one) < 7999)
  const follow = (json: unknown, path: readonly string[]): unknown =>
    path.reduce<unknown>(
      (from, name) =>
        typeof from === 'object' && from !== null && Object.hasOwn(from, name) && name !== 'length'
          ? (from as Record<string, unknown>)[name]
          : undefined,
      json,
    )
  const expected = (payload: string, { path, equals }: JsonCondition) => {
    let json: unknown
    try {
      json = JSON.parse(payload)
    } catch {
      return true
    }
    return follow(json, path) === equals
  }
  const path = fc.array(key, { maxLength: 3 })
  await fc.assert(
    fc.asyncProperty(
      path,
      scalar,
      fc.array(valid, { maxLength: 200 }),
      async (steps, equals, all) => {
        const payloads = [...new Set(all)]
        const json = { path: steps, equals }
        const messages = listener.messages({ filter: { json } })
        const { received } = listener.stats()
        await ask('SELECT count(pg_notify($1, p)) FROM unnest($2::text[]) AS p', [
          channel,
          payloads,
        ])
        await waitFor(() => listener.stats().received === received + payloads.length)
        const wanted = payloads.filter((payload) => expected(payload, json))
        t.is(listener.stats().buffered, wanted.length)
        t.deepEqual(texts(await collect(messages, wanted.length)), wanted)
        await messages.return()
      },
    ),
    { numRuns: 100 },
  )
})

test('an iterator overrides what the listener says, and equal filters count for each consumer', async (t) => {
  const { listener, channel, send } = await start(t, { filter: { prefix: 'a' } })
  const all = listener.messages({ filter: false })
  const nothing = listener.messages({ filter: {} })
  const byDefault = listener.messages({ filter: undefined })
  const b = listener.batches({ filter: { prefix: 'b' } })
  const stream = await listener.subscribe(channel, { filter: { prefix: 'b' } })
  await send('a', 'b', 'c')
  t.deepEqual(texts(await collect(all, 3)), ['a', 'b', 'c'])
  t.deepEqual(texts(await collect(nothing, 3)), ['a', 'b', 'c'])
  t.deepEqual(texts(await collect(byDefault, 1)), ['a'])
  t.deepEqual(texts((await b.next()).value!), ['b'])
  t.deepEqual(texts(await collect(stream, 1)), ['b'])
  t.is(listener.stats().filtered, 6)
  await Promise.all([b.return(), stream.return(), byDefault.return()])
  await send('d')
  t.is(listener.stats().filtered, 6)
  t.deepEqual(texts(await collect(all, 1)), ['d'])
  // `once()` is an iterator like any other.
  const waited = listener.once(channel)
  await waitFor(async () => {
    await send('c', 'a1')
    return listener.stats().filtered > 6
  })
  t.is((await within(waited)).payload, 'a1')
})

test('the first consumer gets what has waited since startup by its own filter', async (t) => {
  const { listener, send, channel } = await start(t)
  const other = uniqueChannel()
  await listener.addChannel(other)
  await send('a', 'b', 'a2')
  await notify(other, 'a')
  await waitFor(() => listener.stats().received === 4)
  t.is(listener.stats().buffered, 4)
  const messages = listener.messages({ filter: { prefix: 'a', channels: [channel] } })
  t.like(listener.stats(), { buffered: 2, filtered: 2 })
  await send('b', 'a3')
  t.deepEqual(texts(await collect(messages, 3)), ['a', 'a2', 'a3'])
  t.is(listener.stats().filtered, 3)
})

test('the first consumer gets by its filter also what came for callbacks that were removed since', async (t) => {
  const { listener, send, channel } = await start(t)
  const remove = await listener.addCallback(channel, () => {})
  await send('b', 'a1')
  await remove()
  await send('a2')
  const messages = listener.messages({ filter: { prefix: 'a' } })
  t.like(listener.stats(), { buffered: 2, filtered: 1 })
  t.deepEqual(texts(await collect(messages, 2)), ['a1', 'a2'])
})

test('a filter that was changed after the call changes nothing', async (t) => {
  const filter = { prefix: 'a', json: { path: ['n'], equals: 1 } }
  const { listener, send } = await start(t, { filter })
  filter.prefix = 'b'
  filter.json.path.push('m')
  const messages = listener.messages()
  await send('b', 'a')
  t.deepEqual(texts(await collect(messages, 1)), ['a'])
})

test('listeners that share a session filter each for itself', async (t) => {
  const channel = uniqueChannel()
  const { listener, pool } = await openListener(t, { channels: [channel], filter: { prefix: 'a' } })
  const other = pool.listener({ channels: [channel], filter: { prefix: 'b' } })
  await listener.startup()
  await other.startup()
  t.is(listener.stats().session?.listeners, 2)
  const [a, b] = [listener.messages(), other.messages()]
  for (const payload of ['a', 'b']) await notify(channel, payload)
  t.deepEqual(texts(await collect(a, 1)), ['a'])
  t.deepEqual(texts(await collect(b, 1)), ['b'])
  for (const { stats } of [listener, other].map((one) => ({ stats: one.stats() })))
    t.like(stats, { received: 2, filtered: 1, delivered: 1 })
})
