// A durable subscription as the source: every committed event is in the stream, once, whoever is killed.

import { setPriority } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { DiscardPolicy, jetstreamManager } from '@nats-io/jetstream'
import { headers } from '@nats-io/transport-node'
import { ConnectionPool } from 'pglisten'
import {
  RelayError,
  serveHealth,
  subscribe,
  type RelayGap,
  type RelayMessage,
} from 'pglisten-relay-nats'
import { FaultProxy } from '../../lab/network/fault-proxy.js'
import { RelayProcess } from '../../lab/relay/relay-process.js'
import { counterFaults, makeStream } from '../../lab/relay/stream-reading.js'
import { startServer } from '../../lab/server/test-server.js'
import { uniqueName } from '../../lab/unique-name.js'
import { waitFor, within } from '../../lab/wait.js'
import {
  leading,
  openDurable,
  openScene,
  startRelay,
  stored,
  test,
  type DurableScene,
  type Scene,
} from './scene.js'

// Its processes would take the processors from tests that run beside it and measure time. They inherit it.
setPriority(10)

/** Publishes numbered events in transactions of one to three, some of which are rolled back. Returns the numbers that were committed. */
async function publish({ pool }: DurableScene, from: number, count: number) {
  await using connection = await pool.connection()
  const committed: string[] = []
  for (let number = from; number < from + count; number += 1) {
    const channel = number % 2 === 0 ? 'orders' : 'jobs'
    const isKept = number % 7 !== 0
    try {
      await connection.transaction(async (tx) => {
        await tx.publish(channel, `${number}`, { key: `key ${number % 3}` })
        if (!isKept) throw new RangeError('rolled back')
      })
      committed.push(`${number}`)
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
    }
  }
  return committed
}

const payloads = (messages: Awaited<ReturnType<Scene['read']>>) =>
  messages.filter(({ subject }) => !subject.endsWith('.%gap')).map(({ payload }) => payload)

test('events are in the stream, once and in order, with their names and keys', async (t) => {
  const scene = await openDurable(t)
  const committed = await publish(scene, 1, 40)
  const running = startRelay(t, scene.options)
  await leading(running)
  committed.push(...(await publish(scene, 41, 20)))
  await stored(scene, committed.length + 1)
  const messages = await scene.read()
  t.deepEqual(payloads(messages), committed)
  t.deepEqual(counterFaults(messages), [])
  const [start, first] = messages
  t.like(JSON.parse(start!.payload), { reason: 'relay-start', dropped: 0 })
  t.is(first!.subject, `pg.${scene.stream}.jobs`)
  t.is(decodeURIComponent(first!.headers['Pg-Key']!), 'key 1')
  t.truthy(first!.headers['Pg-Uid'])
  t.is(new Set(messages.slice(1).map(({ headers }) => headers['Pg-Uid'])).size, committed.length)
})

test('a message of a transaction that was rolled back, whose event was done in another one, does not hold up what is settled', async (t) => {
  const scene = await openDurable(t)
  const first = startRelay(t, scene.options)
  // It leads from its first event on.
  await publish(scene, 1, 1)
  await stored(scene, 2)
  await first.stop()
  let transaction = ''
  await t.throwsAsync(
    (await scene.pool.connection()).transaction(async (tx) => {
      transaction = await tx.fetchVal<string>('SELECT pg_current_xact_id()::text')
      throw new Error('rolled back')
    }),
  )
  // What a relay leaves that stores an event, and is killed before it moves the position.
  const last = (await scene.read()).at(-1)!
  const [epoch] = last.headers['Pg-Seq']!.split(':')
  const header = headers()
  for (const [name, value] of Object.entries({
    ...last.headers,
    'Nats-Msg-Id': `${epoch}:3`,
    'Pg-Seq': `${epoch}:3`,
    'Pg-Channel-Seq': `${epoch}:2`,
    'Pg-Xact': transaction,
  }))
    if (!name.startsWith('Nats-Expected')) header.set(name, value)
  await scene.nc.request(last.subject, last.payload, { headers: header, timeout: 5000 })
  await stored(scene, 3)
  startRelay(t, scene.options)
  for (let number = 2; number < 5; number += 1) {
    await publish(scene, number, 1)
    // Before them come two beginnings, an event, and the message that was left.
    await stored(scene, number + 3)
  }
  const messages = await scene.read()
  t.deepEqual(payloads(messages).slice(-3), ['2', '3', '4'])
  t.true(Number(messages.at(-1)!.headers['Pg-Settled']) > 3)
})

/** Stores a message as a relay does. */
async function leave({ nc, stream }: Scene, payload: string, named: Record<string, string>) {
  const header = headers()
  for (const [name, value] of Object.entries(named)) header.set(name, value)
  await nc.request(`pg.${stream}.orders`, payload, { headers: header, timeout: 5000 })
}

test('a message of an event that this database does not have does not hold up what is settled', async (t) => {
  const scene = await openDurable(t)
  // What a relay has left that stored events of a database which was installed anew since.
  await leave(scene, 'old', {
    'Pg-Seq': 'before:1',
    'Pg-Channel-Seq': 'before:1',
    'Pg-Uid': '999999999-1000-1700000000000000',
    'Pg-Xact': '1000',
    'Pg-Settled': '0',
  })
  const first = startRelay(t, scene.options)
  for (let number = 1; number < 6; number += 1) {
    await publish(scene, number, 1)
    // Before them come a message and a beginning.
    await stored(scene, number + 2)
  }
  await first.stop()
  const messages = await scene.read()
  t.deepEqual(payloads(messages), ['old', '1', '2', '3', '4', '5'])
  t.is(Number(messages.at(-1)!.headers['Pg-Settled']), 6)
})

test('what was stored from channels is not read message by message when the source becomes a durable one', async (t) => {
  const scene = await openDurable(t)
  await leave(scene, 'durable', {
    'Pg-Seq': 'first:1',
    'Pg-Channel-Seq': 'first:1',
    'Pg-Uid': '999999999-1000-1700000000000000',
    'Pg-Xact': '1000',
    'Pg-Settled': '0',
  })
  const count = 3000
  for (let from = 1; from <= count; from += 500) {
    const numbers = Array.from({ length: 500 }, (_, index) => from + index)
    await Promise.all(
      numbers.map((number) =>
        leave(scene, `${number}`, {
          'Pg-Seq': `second:${number}`,
          'Pg-Channel-Seq': `second:${number}`,
        }),
      ),
    )
  }
  const asked: string[] = []
  const asking = scene.nc.subscribe(`$JS.API.STREAM.MSG.GET.${scene.stream}`, {
    callback: (_, message) => void asked.push(message.string()),
  })
  t.teardown(() => asking.unsubscribe())
  startRelay(t, scene.options)
  await publish(scene, 1, 1)
  // A subscription of the test's own may hear of requests late.
  await stored(scene, count + 3)
  await scene.nc.flush()
  t.true(asked.length < 50, `${asked.length}`)
  const [start, last] = (await scene.read()).slice(-2)
  t.like(JSON.parse(start!.payload), { reason: 'takeover', previous: `second:${count}` })
  t.is(last!.payload, '1')
  t.is(Number(last!.headers['Pg-Settled']), count + 1)
})

test('a message with a number that no relay gives keeps no relay from leading', async (t) => {
  const scene = await openDurable(t)
  await leave(scene, 'durable', { 'Pg-Seq': 'first:1', 'Pg-Settled': '0' })
  await leave(scene, 'theirs', { 'Pg-Seq': 'second:0' })
  startRelay(t, scene.options)
  await publish(scene, 1, 1)
  await stored(scene, 4)
  t.is((await scene.read()).at(-1)!.payload, '1')
})

test('relays and servers that are killed lose and double nothing', async (t) => {
  t.timeout(120_000)
  const scene = await openDurable(t)
  const ending = new AbortController()
  const items: (RelayMessage | RelayGap)[] = []
  const { stream } = scene
  const reading = (async () => {
    const options = { stream, database: stream, from: 'all' as const, signal: ending.signal }
    for await (const item of subscribe(scene.nc, options)) items.push(item)
  })()
  t.teardown(async () => {
    ending.abort()
    await reading
  })
  const start = () => {
    const relay = new RelayProcess({
      ...scene.options,
      durable: { name: 'relay', from: 'beginning', maxHandlerMs: 2000, batchSize: 20 },
      publishTimeoutMs: 500,
    })
    t.teardown(() => relay.kill())
    return relay
  }
  const relays = [start(), start()]
  const publishing = (async () => {
    const committed: string[] = []
    for (let from = 1; from < 4000; from += 200)
      committed.push(...(await publish(scene, from, 200)))
    return committed
  })()
  const over = new AbortController()
  const ended = publishing.finally(() => over.abort())
  for (let times = 0; times < 12 || !over.signal.aborted; times += 1) {
    await sleep(250)
    const index = times % 2
    if (times % 3 === 0) {
      await scene.nats.kill()
      await scene.nats.start()
    } else if (times % 3 === 1) {
      await relays[index]!.kill()
      relays[index] = start()
    } else {
      relays[index]!.freeze()
      await sleep(100)
      relays[index]!.thaw()
    }
  }
  const committed = await ended
  await waitFor(async () => payloads(await scene.read()).length >= committed.length, {
    timeoutMs: 60_000,
    what: 'every event in the stream',
  })
  // What comes twice would come now.
  await sleep(500)
  const messages = await scene.read()
  t.deepEqual(counterFaults(messages), [])
  t.deepEqual(payloads(messages), committed)
  const epochs = new Set(messages.map(({ headers }) => headers['Pg-Seq']!.split(':')[0]))
  t.log(`${committed.length} events in ${epochs.size} epochs`)
  t.true(epochs.size >= 3)
  // A consumer learns of no gap, since there is none.
  await waitFor(() => items.length >= committed.length)
  t.deepEqual(
    items.filter(({ kind }) => kind === 'gap'),
    [],
  )
})

test('a stream that is deleted and made again begins with a gap that does not say that nothing is missing', async (t) => {
  const scene = await openDurable(t)
  const running = startRelay(t, scene.options)
  await publish(scene, 1, 3)
  await stored(scene, 4)
  const { streams } = await jetstreamManager(scene.nc)
  await streams.delete(scene.stream)
  await makeStream(scene.nats.url, scene.stream)
  await publish(scene, 4, 3)
  await stored(scene, 4)
  const messages = await scene.read()
  t.deepEqual(payloads(messages), ['4', '5', '6'])
  t.deepEqual(counterFaults(messages), [])
  t.like(JSON.parse(messages[0]!.payload), {
    reason: 'stream-reset',
    lostAt: null,
    dropped: null,
    previous: null,
  })
  await running.stop()
  // Nothing is missing at the next beginning.
  const next = startRelay(t, scene.options)
  await publish(scene, 8, 1)
  await stored(scene, 6)
  t.like(JSON.parse((await scene.read()).at(-2)!.payload), { reason: 'takeover', dropped: 0 })
  await next.stop()
})

test('durable subscriptions that are not installed end the relay with an error', async (t) => {
  const scene = await openScene(t)
  const running = startRelay(t, { ...scene.options, durable: { name: 'relay' } })
  await t.throwsAsync(running.done, { message: /install/ })
  t.is(running.relay.stats().role, 'stopped')
})

/** Waits until the position has moved behind every event. */
async function settled({ pool }: DurableScene): Promise<void> {
  const lag = () => pool.fetchVal<number>(`SELECT events::float8 FROM pglisten.lag('relay')`)
  await waitFor(async () => (await lag()) === 0, { what: 'the position to move' })
}

/** Waits until the stream has that many events. */
async function relayed(scene: Scene, count: number): Promise<string[]> {
  await waitFor(async () => payloads(await scene.read()).length >= count, {
    what: `${count} events in the stream`,
  })
  return payloads(await scene.read())
}

const hurried = { name: 'relay', from: 'beginning', maxHandlerMs: 1000 } as const

test('a stream that is full for longer than a transaction may take costs nothing but time', async (t) => {
  const scene = await openDurable(t)
  const { relay } = startRelay(t, { ...scene.options, durable: hurried })
  await publish(scene, 1, 1)
  await stored(scene, 2)
  const { streams } = await jetstreamManager(scene.nc)
  await streams.update(scene.stream, { max_msgs: 2, discard: DiscardPolicy.New })
  await publish(scene, 2, 3)
  const failures = relay.stats().failures
  await sleep(2500)
  t.true(relay.stats().failures > failures)
  await streams.update(scene.stream, { max_msgs: -1 })
  await relayed(scene, 4)
  await publish(scene, 5, 1)
  t.deepEqual(await relayed(scene, 5), ['1', '2', '3', '4', '5'])
  t.deepEqual(counterFaults(await scene.read()), [])
  await settled(scene)
})

test('answers of the stream that come when the transaction is over do not end the relay', async (t) => {
  const scene = await openDurable(t)
  const proxy = await FaultProxy.start(scene.nats.port)
  t.teardown(() => proxy.stop())
  startRelay(t, {
    ...scene.options,
    nats: { servers: `127.0.0.1:${proxy.port}` },
    publishTimeoutMs: 10_000,
    durable: hurried,
  })
  await publish(scene, 1, 1)
  await stored(scene, 2)
  await settled(scene)
  proxy.stall()
  await publish(scene, 2, 1)
  await stored(scene, 3)
  await sleep(1500)
  proxy.unstall()
  await publish(scene, 3, 1)
  t.deepEqual(await relayed(scene, 3), ['1', '2', '3'])
  t.deepEqual(counterFaults(await scene.read()), [])
  await settled(scene)
})

test('a relay that was replaced while its messages were held up leads no more', async (t) => {
  const scene = await openDurable(t)
  const proxy = await FaultProxy.start(scene.nats.port)
  t.teardown(() => proxy.stop())
  const first = startRelay(t, {
    ...scene.options,
    nats: { servers: `127.0.0.1:${proxy.port}` },
    publishTimeoutMs: 10_000,
    durable: hurried,
  })
  await publish(scene, 1, 1)
  await leading(first)
  await settled(scene)
  proxy.beginHole()
  await publish(scene, 2, 1)
  const locked = 'SELECT 1 FROM pglisten.position FOR NO KEY UPDATE SKIP LOCKED'
  await waitFor(async () => (await scene.pool.fetch(locked)).length === 0, {
    what: 'the first relay to have the event',
  })
  const second = startRelay(t, { ...scene.options, durable: hurried })
  await leading(second)
  await settled(scene)
  proxy.endHole()
  await waitFor(() => first.relay.stats().role === 'standby', {
    what: 'the first relay to stand by',
  })
  t.is(second.relay.stats().role, 'leading')
  t.regex(first.warnings.join('\n'), /the events could not be stored, and are tried again/)
  await publish(scene, 3, 1)
  t.deepEqual(await relayed(scene, 3), ['1', '2', '3'])
  t.deepEqual(counterFaults(await scene.read()), [])
})

test('of two relays one leads at each moment, and the same one as long as nothing fails', async (t) => {
  const scene = await openDurable(t)
  const relays = [startRelay(t, scene.options), startRelay(t, scene.options)]
  const leaders = () => relays.filter(({ relay }) => relay.stats().role === 'leading').length
  const most = [0]
  for (const { relay } of relays) relay.on('role', () => most.push(leaders()))
  const roles = () => relays.map(({ relay }) => relay.stats().role).toSorted()
  // The one that has the lock leads, though there is no event yet with which an epoch would begin.
  await waitFor(() => roles().join() === 'leading,standby', { what: 'one that leads' })
  t.deepEqual(
    relays.map(({ relay }) => relay.stats().epoch),
    [undefined, undefined],
  )
  // Events wait in PostgreSQL, and not here.
  t.is(relays[0]!.relay.stats().backlog, undefined)
  for (let number = 1; number <= 20; number += 1) {
    await scene.pool.publish('orders', `${number}`)
    // Before them comes a beginning.
    await stored(scene, number + 1)
    await settled(scene)
    most.push(leaders())
  }
  t.is(Math.max(...most), 1)
  t.deepEqual(
    relays.flatMap(({ warnings }) => warnings),
    [],
  )
  const terms = relays.map(({ relay }) => relay.stats().terms)
  t.deepEqual(
    terms.toSorted((a, b) => a - b),
    [0, 1],
  )
  t.is((await scene.read()).length, 21)
  // The other one follows the leader that ends.
  const [leader, other] = terms[0] === 1 ? relays : relays.toReversed()
  await leader!.stop()
  await scene.pool.publish('orders', '21')
  await leading(other!)
  t.is((await relayed(scene, 21)).at(-1), '21')
})

test('a relay is not ready while PostgreSQL is away', async (t) => {
  const scene = await openScene(t)
  const server = await startServer()
  t.teardown(() => server.stop('immediate'))
  const pool = new ConnectionPool(server.dsn)
  t.teardown(() => pool.close())
  await pool.durable.install()
  const running = startRelay(t, {
    ...scene.options,
    channels: ['orders'],
    postgres: server.dsn,
    durable: { name: 'relay', from: 'beginning' },
  })
  await pool.publish('orders', '1')
  await leading(running)
  const health = await serveHealth(running.relay, { port: 0 })
  t.teardown(() => health.close())
  const status = async () => (await fetch(`${health.url}/readyz`)).status
  t.is(await status(), 200)
  const epochs: (string | undefined)[] = []
  running.relay.on('role', () => epochs.push(running.relay.stats().epoch))
  await server.kill()
  await waitFor(async () => (await status()) === 503, { what: 'a relay that is not ready' })
  t.is(epochs[0], undefined)
  t.not(running.relay.stats().role, 'leading')
  await server.start()
  await waitFor(async () => (await status()) === 200, { what: 'a relay that is ready again' })
  await waitFor(() =>
    pool.publish('orders', '2').then(
      () => true,
      () => false,
    ),
  )
  t.deepEqual(await relayed(scene, 2), ['1', '2'])
})

test('events that were stored in a transaction which the server does not know are not stored again', async (t) => {
  const scene = await openDurable(t)
  await using connection = await scene.pool.connection()
  await connection.transaction(async (tx) => {
    await tx.publish('orders', '1')
    await tx.publish('orders', '2')
  })
  // What a relay leaves that stores both, and whose server crashes before it has written the id of the transaction to its log.
  const unknown = await scene.pool.fetchVal<string>(
    `SELECT (pg_current_xact_id()::text::bigint + 100000)::text`,
  )
  const rows = await scene.pool.fetch<{ uid: string }>(
    `SELECT id || '-' || xact || '-' || round(date_part('epoch', at) * 1000000)::bigint AS uid FROM pglisten.event ORDER BY id`,
  )
  const uids = rows.map(({ uid }) => uid)
  for (const [index, uid] of uids.entries()) {
    const header = headers()
    for (const [name, value] of Object.entries({
      'Pg-Seq': `crashed:${index + 1}`,
      'Pg-Channel-Seq': `crashed:${index + 1}`,
      'Pg-Uid': uid,
      'Pg-Xact': unknown,
      'Pg-Settled': '0',
    }))
      header.set(name, value)
    const subject = `pg.${scene.stream}.orders`
    await scene.nc.request(subject, `${index + 1}`, { headers: header, timeout: 5000 })
  }
  const running = startRelay(t, {
    ...scene.options,
    durable: { name: 'relay', from: 'beginning', batchSize: 1 },
  })
  await leading(running)
  await settled(scene)
  const read = await scene.read()
  t.deepEqual(
    read.flatMap(({ headers }) => headers['Pg-Uid'] ?? []),
    uids,
  )
  // They hold up nothing once they are done.
  await publish(scene, 3, 2)
  t.deepEqual(await relayed(scene, 4), ['1', '2', '3', '4'])
  t.true(Number((await scene.read()).at(-1)!.headers['Pg-Settled']) >= 3)
})

test('a relay whose way to PostgreSQL is cut off in silence ends soon when it is to', async (t) => {
  const scene = await openDurable(t)
  const proxy = await FaultProxy.start(Number(new URL(scene.dsn).port))
  t.teardown(() => proxy.stop())
  const running = startRelay(t, { ...scene.options, postgres: proxy.dsn(scene.dsn), graceMs: 500 })
  await publish(scene, 1, 1)
  await leading(running)
  await settled(scene)
  proxy.swallow('both')
  await running.stop()
  t.is(running.relay.stats().role, 'stopped')
})

test('a relay that is ended stores the events at hand, and moves the position', async (t) => {
  const scene = await openDurable(t)
  const proxy = await FaultProxy.start(scene.nats.port)
  t.teardown(() => proxy.stop())
  proxy.set({ delayMs: 50 })
  const wanted = Array.from({ length: 12 }, (_, index) => `${index + 1}`)
  await using connection = await scene.pool.connection()
  await connection.transaction(async (tx) => {
    for (const payload of wanted) await tx.publish('orders', payload)
  })
  const running = startRelay(t, {
    ...scene.options,
    nats: { servers: `127.0.0.1:${proxy.port}` },
    window: 1,
  })
  await stored(scene, 3)
  t.true((await scene.read()).length < 13)
  await running.stop()
  const lag = await scene.pool.fetchVal(`SELECT events::float8 FROM pglisten.lag('relay')`)
  t.is(lag, 0)
  t.deepEqual(payloads(await scene.read()), wanted)
})

test('the beginning of an epoch leaves the numbers of the channels out where a message has no room for them', async (t) => {
  const scene = await openDurable(t, { stream: { max_msg_size: 1024 } })
  const channels = Array.from({ length: 40 }, (_, index) => `a_channel_with_a_name_${index}`)
  const options = { ...scene.options, channels }
  const first = startRelay(t, options)
  await using connection = await scene.pool.connection()
  await connection.transaction(async (tx) => {
    for (const channel of channels) await tx.publish(channel, 'x')
  })
  await stored(scene, 41)
  await settled(scene)
  await first.stop()
  const second = startRelay(t, options)
  await scene.pool.publish(channels[0]!, 'y')
  await stored(scene, 43)
  const [start, last] = (await scene.read()).slice(-2)
  t.is(last!.payload, 'y')
  const body = JSON.parse(start!.payload) as { dropped: number; previous: string }
  t.like(body, { reason: 'takeover', dropped: 0, previousOf: undefined })
  t.regex(body.previous, /:41$/)
  t.is(second.relay.stats().failures, 0)
})

test('a stream with holes is refused for a durable source, before anything is stored', async (t) => {
  const scene = await openDurable(t)
  await scene.pool.publish('orders', 'one')
  for (const [settings, message] of [
    [{ max_msgs_per_subject: 1 }, /stream without holes.*max_msgs_per_subject.*: 1; set/],
    [{ retention: 'interest' }, /stream without holes.*retention is interest/],
  ] as const) {
    const stream = uniqueName('holey')
    await makeStream(scene.nats.url, stream, settings)
    const { done } = startRelay(t, { ...scene.options, stream, database: stream })
    await within(t.throwsAsync(done, { instanceOf: RelayError, message }))
    t.is((await (await jetstreamManager(scene.nc)).streams.info(stream)).state.messages, 0)
  }
  const subscription = scene.pool.subscription('relay', { channels: ['orders', 'jobs'] })
  t.is((await subscription.stats()).lag.events, 1)
})

test.serial(
  'a relay that tries again and again leaves no trace in the signal of its run',
  async (t) => {
    const scene = await openDurable(t, { stream: { max_msgs: 1, discard: DiscardPolicy.New } })
    await scene.pool.publish('orders', 'one')
    const any = AbortSignal.any.bind(AbortSignal)
    let made = 0
    AbortSignal.any = (signals) => {
      made += 1
      return any(signals)
    }
    t.teardown(() => {
      AbortSignal.any = any
    })
    const durable = { ...scene.options.durable!, maxHandlerMs: 1000 }
    const running = startRelay(t, { ...scene.options, durable })
    const tries = (count: number) =>
      waitFor(() => running.warnings.filter((it) => it.includes('are tried again')).length >= count)
    await tries(1)
    const before = made
    await tries(4)
    t.is(made, before)
  },
)
