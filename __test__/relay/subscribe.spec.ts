// The consumer: messages and gaps in order, and every loss within the stream told at its place.

import { getEventListeners } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ExecutionContext } from 'ava'
import { AckPolicy, jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import {
  RelayOptionError,
  subscribe,
  type RelayGap,
  type RelayMessage,
  type SubscribeOptions,
} from 'pglisten-relay-nats'
import { FaultProxy } from '../../lab/network/fault-proxy.js'
import { natsBinaries } from '../../lab/relay/nats-binaries.js'
import { makeStream } from '../../lab/relay/stream-reading.js'
import { waitFor } from '../../lab/wait.js'
import { leading, openDurable, openScene, startRelay, stored, test, type Scene } from './scene.js'

/** A subscription whose items are kept as they come. */
function follow(t: ExecutionContext, scene: Scene, options: Partial<SubscribeOptions> = {}) {
  const ending = new AbortController()
  const items: (RelayMessage | RelayGap)[] = []
  const { stream } = scene
  const all = subscribe(scene.nc, { stream, database: stream, signal: ending.signal, ...options })
  const done = (async () => {
    for await (const item of all) {
      items.push(item)
      item.ack()
    }
  })()
  const stop = async () => {
    ending.abort()
    await done
  }
  t.teardown(stop)
  return { items, stop, done }
}

const said = (items: readonly (RelayMessage | RelayGap)[]) =>
  items.map((item) =>
    item.kind === 'message' ? item.payload.replace(/:.*/, '') : `${item.reason} ${item.dropped}`,
  )

const numbers = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, index) => `${from + index}`)

test('messages and gaps come in order, for all channels or for some', async (t) => {
  const scene = await openScene(t)
  const running = startRelay(t, scene.options)
  await leading(running)
  await scene.writer.write(5)
  await stored(scene, 6)
  const all = follow(t, scene, { from: 'all' })
  const fresh = follow(t, scene)
  const [even] = scene.writer.channels
  const some = follow(t, scene, { channels: [even!], from: 'all' })
  await waitFor(() => all.items.length === 6 && some.items.length === 3)
  // A consumer that begins with what is new is there once it has asked where the stream ends.
  await sleep(300)
  await scene.writer.write(5)
  await waitFor(
    () => all.items.length === 11 && some.items.length === 6 && fresh.items.length === 5,
  )
  t.deepEqual(said(all.items), ['relay-start null', ...numbers(1, 10)])
  t.deepEqual(said(fresh.items), numbers(6, 10))
  t.deepEqual(said(some.items), ['relay-start null', '2', '4', '6', '8', '10'])
  const message = all.items[1] as RelayMessage
  t.is(message.channel, scene.writer.channels[1]!)
  t.is(message.sequence, 2)
  t.is(typeof message.processId, 'number')
  t.true(message.storedAt instanceof Date)
  await all.stop()
  const { streams } = await jetstreamManager(scene.nc)
  const { state } = await streams.info(scene.stream)
  t.true(state.consumer_count <= 3)
})

test('what retention has taken is told with its number', async (t) => {
  const scene = await openScene(t, { stream: { max_msgs: 10 } })
  const running = startRelay(t, scene.options)
  await leading(running)
  const jsm = await jetstreamManager(scene.nc)
  for (const [name, subject] of [
    ['all', `pg.${scene.stream}.>`],
    ['some', undefined],
  ] as const) {
    await jsm.consumers.add(scene.stream, {
      durable_name: name,
      ack_policy: AckPolicy.Explicit,
      ...(subject === undefined
        ? {
            filter_subjects: [
              `pg.${scene.stream}.${scene.writer.channels[0]!.replace('.', '%2E')}`,
              `pg.${scene.stream}.%gap`,
            ],
          }
        : { filter_subject: subject }),
    })
  }
  const options = { durable: 'some', channels: [scene.writer.channels[0]!] }
  const first = [follow(t, scene, { durable: 'all' }), follow(t, scene, options)]
  await scene.writer.write(6)
  await waitFor(() => first[0]!.items.length === 7 && first[1]!.items.length === 4)
  // Both are away while the stream goes on.
  for (const one of first) await one.stop()
  await scene.writer.write(20)
  await stored(scene, 27)
  const second = [follow(t, scene, { durable: 'all' }), follow(t, scene, options)]
  await waitFor(() => second[0]!.items.length === 11 && second[1]!.items.length === 6)
  t.deepEqual(said(second[0]!.items), ['retention null', ...numbers(17, 26)])
  t.deepEqual(said(second[1]!.items), ['retention null', '18', '20', '22', '24', '26'])
})

test('what was removed from a sequence on at which a consumer begins is told', async (t) => {
  const scene = await openScene(t, { stream: { max_msgs: 10 } })
  const running = startRelay(t, scene.options)
  await leading(running)
  await scene.writer.write(26)
  await stored(scene, 27)
  // Row 17 has the sequence 18, the first one that is left.
  const behind = follow(t, scene, { from: 8 })
  const there = follow(t, scene, { from: 20 })
  await waitFor(() => behind.items.length === 11 && there.items.length === 8)
  t.deepEqual(said(behind.items), ['retention null', ...numbers(17, 26)])
  t.deepEqual(said(there.items), numbers(19, 26))
  const jsm = await jetstreamManager(scene.nc)
  await jsm.streams.deleteMessage(scene.stream, 20)
  const again = follow(t, scene, { from: 20 })
  await waitFor(() => again.items.length === 8)
  t.deepEqual(said(again.items), ['retention 1', ...numbers(20, 26)])
})

test('what was removed at the end of an epoch of a durable source is told, also of a channel that had sent nothing before', async (t) => {
  const scene = await openDurable(t)
  const first = startRelay(t, scene.options)
  const proxy = await FaultProxy.start(scene.nats.port)
  t.teardown(() => proxy.stop())
  const nc = await connect({
    servers: `127.0.0.1:${proxy.port}`,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 50,
  })
  t.teardown(() => nc.close())
  await scene.pool.publish('orders', '1')
  const { items } = follow(t, { ...scene, nc }, { from: 'all', channels: ['orders', 'jobs'] })
  await waitFor(() => items.length === 1)
  proxy.set({ refuse: true })
  proxy.reset()
  await scene.pool.publish('jobs', '2')
  await scene.pool.publish('jobs', '3')
  await stored(scene, 4)
  await first.stop()
  startRelay(t, scene.options)
  await scene.pool.publish('orders', '4')
  await stored(scene, 6)
  const jsm = await jetstreamManager(scene.nc)
  // The beginning of the second epoch has the sequence 5.
  await jsm.streams.purge(scene.stream, { seq: 5 })
  proxy.clear()
  await waitFor(() => said(items).at(-1) === '4', { what: 'the last event' })
  t.deepEqual(said(items), ['1', 'retention 2', '4'])
})

test('a server that is killed again while the consumer is made anew keeps nothing back', async (t) => {
  t.timeout(180_000)
  const scene = await openDurable(t)
  startRelay(t, scene.options)
  const nc = await connect({
    servers: `127.0.0.1:${scene.nats.port}`,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 1,
    reconnectJitter: 0,
  })
  t.teardown(() => nc.close())
  let reconnects = 0
  void (async () => {
    for await (const { type } of nc.status()) if (type === 'reconnect') reconnects += 1
  })()
  const { items } = follow(t, { ...scene, nc }, { from: 'all' })
  await scene.pool.publish('orders', '0')
  await waitFor(() => items.length === 1)
  const rounds = 20
  const restart = async () => {
    await scene.nats.kill()
    await scene.nats.start()
  }
  for (let round = 1; round <= rounds; round += 1) {
    const before = reconnects
    await restart()
    await waitFor(() => reconnects > before)
    // At another moment of the consumer's making each time.
    await sleep(round)
    await restart()
    await scene.pool.publish('orders', `${round}`)
    await waitFor(() => said(items).at(-1) === `${round}`, { what: `event ${round}` })
  }
  t.deepEqual(said(items), numbers(0, rounds))
})

test('messages that are deleted while a consumer is at work are told with their number', async (t) => {
  const scene = await openScene(t)
  const running = startRelay(t, scene.options)
  await leading(running)
  const jsm = await jetstreamManager(scene.nc)
  await scene.writer.write(9)
  await stored(scene, 10)
  // Of the rows 3 and 4, whose sequences are one higher, each is of another channel.
  for (const sequence of [4, 5]) await jsm.streams.deleteMessage(scene.stream, sequence)
  const all = follow(t, scene, { from: 'all' })
  const some = follow(t, scene, { from: 'all', channels: [scene.writer.channels[0]!] })
  await waitFor(() => all.items.length === 9 && some.items.length === 5)
  t.deepEqual(said(all.items), [
    ...['relay-start null', '1', '2', 'retention 2', '5', '6', '7', '8', '9'],
  ])
  t.deepEqual(said(some.items), ['relay-start null', '2', 'retention 1', '6', '8'])
})

test('what others write to the stream is passed over', async (t) => {
  const scene = await openScene(t)
  await leading(startRelay(t, scene.options))
  const jsm = await jetstreamManager(scene.nc)
  const kept = { durable_name: 'kept', ack_policy: AckPolicy.Explicit, ack_wait: 1e9 }
  await jsm.consumers.add(scene.stream, kept)
  const items = [{ durable: 'kept' }, { from: 'all' } as const].map(
    (options) => follow(t, scene, options).items,
  )
  for (const [token, payload] of [
    ['50%', 'a name that is none'],
    ['%gap', 'no JSON'],
    ['orders', 'theirs'],
  ])
    await scene.nc.request(`pg.${scene.stream}.${token}`, payload, { timeout: 5000 })
  await scene.writer.write(3)
  for (const its of items) {
    await waitFor(() => its.length >= 4)
    t.deepEqual(said(its), ['relay-start null', ...numbers(1, 3)])
  }
  await waitFor(
    async () => (await jsm.consumers.info(scene.stream, 'kept')).ack_floor.stream_seq === 7,
  )
})

test('a stream that is deleted and made again is read from its beginning, behind a gap', async (t) => {
  const scene = await openScene(t)
  const running = startRelay(t, scene.options)
  await leading(running)
  const { items } = follow(t, scene, { from: 'all' })
  await scene.writer.write(20)
  await waitFor(() => items.length === 21)
  const jsm = await jetstreamManager(scene.nc)
  await jsm.streams.delete(scene.stream)
  await makeStream(scene.nats.url, scene.stream)
  await scene.writer.write(1)
  await waitFor(() => running.relay.stats().terms === 2)
  await scene.writer.write(5)
  await waitFor(() => items.at(-1)?.kind === 'message' && items.length >= 28, {
    what: 'the messages of the new stream',
    timeoutMs: 40_000,
  })
  t.deepEqual(said(items.slice(21, 23)), ['stream-reset null', 'stream-reset null'])
  t.deepEqual(said(items.slice(-5)), numbers(22, 26))
})

test('a nats-server that is killed costs a consumer nothing', async (t) => {
  const scene = await openScene(t)
  const running = startRelay(t, scene.options)
  await leading(running)
  const { items } = follow(t, scene, { from: 'all' })
  const jsm = await jetstreamManager(scene.nc)
  await jsm.consumers.add(scene.stream, {
    durable_name: 'kept',
    ack_policy: AckPolicy.Explicit,
    ack_wait: 2e9,
  })
  const kept = follow(t, scene, { durable: 'kept' })
  for (let times = 0; times < 4; times += 1) {
    await scene.writer.write(50)
    await scene.nats.kill()
    await scene.writer.write(50)
    await scene.nats.start()
    // Once the consumer is back, or while it is about to be, or before it has noticed.
    await sleep(times * 60)
  }
  await waitFor(() => items.length >= 401, { timeoutMs: 40_000 })
  t.deepEqual(said(items), ['relay-start null', ...numbers(1, 400)])
  // An acknowledgement that was lost has its message come again.
  await waitFor(() => new Set(said(kept.items)).size === 401, { timeoutMs: 20_000 })
  const again = kept.items.filter((item) => item.kind === 'message' && item.redelivered)
  t.true(kept.items.length - again.length <= 401)
})

test('a nats-server that is killed while a consumer begins is waited for', async (t) => {
  const scene = await openScene(t)
  await leading(startRelay(t, scene.options))
  await scene.writer.write(5)
  await stored(scene, 6)
  scene.nats.freeze()
  const { items } = follow(t, scene, { from: 'all' })
  // What it asks the server first is on its way.
  await sleep(100)
  await scene.nats.kill()
  await scene.nats.start()
  await waitFor(() => items.length >= 6)
  t.deepEqual(said(items), ['relay-start null', ...numbers(1, 5)])
})

for (const binary of natsBinaries())
  test(`a stream whose settings were changed is still the same one after a restart of nats-server ${binary.version}`, async (t) => {
    const scene = await openScene(t, { binary })
    const running = startRelay(t, scene.options)
    await leading(running)
    await scene.writer.write(10)
    await stored(scene, 11)
    const [all, fresh] = [follow(t, scene, { from: 'all' }), follow(t, scene)]
    await waitFor(() => all.items.length === 11)
    // A consumer that begins with what is new is there once it has asked where the stream ends.
    await sleep(300)
    const { streams } = await jetstreamManager(scene.nc)
    const restart = async () => {
      await streams.update(scene.stream, { max_msgs: 1000 })
      await scene.nats.kill()
      // The relay meets the stream while it sends.
      await scene.writer.write(5)
      await scene.nats.start()
    }
    await restart()
    await stored(scene, 16)
    await restart()
    await stored(scene, 21)
    const wanted = [['relay-start null', ...numbers(1, 20)], numbers(11, 20)]
    await waitFor(() => said(fresh.items).at(-1) === '20' && said(all.items).at(-1) === '20', {
      timeoutMs: 40_000,
    })
    t.deepEqual([said(all.items), said(fresh.items)], wanted)
    t.is(running.relay.stats().terms, 1)
  })

test('a subscription that has ended leaves nothing in its signal', async (t) => {
  const scene = await openScene(t)
  const { stream, nc } = scene
  await leading(startRelay(t, scene.options))
  const ending = new AbortController()
  const { signal } = ending
  /** What holds on to the signal: its listeners, and the signals that were made of it. */
  const traces = () =>
    Object.getOwnPropertySymbols(signal)
      .filter(({ description }) => /kEvents|kDependantSignals/.test(description ?? ''))
      .map((symbol) => (signal as never as Record<symbol, { size: number }>)[symbol]!.size)
      .reduce((all, one) => all + one, 0)
  t.is(getEventListeners(signal, 'abort').length, 0)
  const before = traces()
  for (let times = 0; times < 3; times += 1) {
    const items = subscribe(nc, { stream, database: stream, signal, from: 'all' })
    t.like(await items.next(), { value: { kind: 'gap', reason: 'relay-start' } })
    await items.return(undefined)
  }
  t.is(getEventListeners(signal, 'abort').length, 0)
  t.is(traces(), before)
})

test('wrong options are refused with what was expected', async (t) => {
  const scene = await openScene(t)
  const good = { stream: 'S', database: 'd' }
  for (const [options, message] of [
    [{ ...good, stream: 1 }, /^Expected `stream` to be a text, got number$/],
    [{ stream: 'S' }, /^Expected `database` to be a text, got undefined/],
    [{ ...good, from: 0 }, /^Expected `from` to be an integer from 1 to \d+, got 0 /],
    [{ ...good, from: 'old' }, /^Expected `from` to be 'new', 'all' or a sequence, got 'old' /],
    [{ ...good, channels: [] }, /^Expected `channels` to be an array of at least one channel/],
    [{ ...good, prefix: 'a.*' }, /^Expected `prefix` to be tokens of letters/],
    [{ ...good, subject: 'x' }, /^Expected `options` to have stream, .*, got `subject`$/],
    [{ ...good, signal: new AbortController() }, /^Expected `signal` to be an AbortSignal, got /],
  ] as const)
    t.throws(() => subscribe(scene.nc, options as never), { instanceOf: RelayOptionError, message })
  await t.throwsAsync(subscribe(scene.nc, { stream: 'None', database: 'd' }).next(), {
    message: /stream not found/,
  })
})
