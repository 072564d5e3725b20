// node --import=tsx lab/relay/measure.ts: the relay beside a bare publisher of the same shape, in one run; and how long a NOTIFY takes.

import { jetstream, type JetStreamClient } from '@nats-io/jetstream'
import { connect, headers, type NatsConnection } from '@nats-io/transport-node'
import { Client } from 'pg'
import { ConnectionPool } from 'pglisten'
import { Relay, subscribe } from 'pglisten-relay-nats'
import { startServer } from '../server/test-server.js'
import { waitFor } from '../wait.js'
import { NatsServer } from './nats-server.js'
import { makeStream } from './stream-reading.js'

const COUNT = 50_000
const ROUNDS = 5
const STREAM = 'MEASURE'
const PAYLOAD = 'x'.repeat(40)
const CHANNEL = 'orders'

const server = await startServer()
const nats = await NatsServer.start()
await makeStream(nats.url, STREAM, { duplicate_window: 1e9 })
const nc = await connect({ servers: nats.url })
const client = new Client({ connectionString: server.dsn })
await client.connect()

interface Figures {
  perSecond: number
  /** CPU of this process, in microseconds for each message. */
  cpu: number
}

async function timed(work: () => Promise<void>): Promise<Figures> {
  const cpu = process.cpuUsage()
  const started = performance.now()
  await work()
  const seconds = (performance.now() - started) / 1000
  const { user, system } = process.cpuUsage(cpu)
  return { perSecond: COUNT / seconds, cpu: (user + system) / COUNT }
}

/** The client's own publish, with the same headers, 1,000 under way at a time. */
async function bareWindow(js: JetStreamClient, from: number): Promise<void> {
  for (let done = 0; done < COUNT; done += 1000) {
    const window: Promise<unknown>[] = []
    for (let index = 0; index < 1000; index += 1) {
      const number = from + done + index
      const all = headers()
      all.set('Pg-Seq', `epoch-0123456789ab:${number}`)
      all.set('Pg-Channel-Seq', `epoch-0123456789ab:${number}`)
      all.set('Pg-Pid', '12345')
      all.set('Pg-Complete', '1795979241559')
      window.push(
        js.publish(`bare.${STREAM}.orders`, PAYLOAD, { headers: all, msgID: `e:${number}` }),
      )
    }
    await Promise.all(window)
  }
}

/** The client's own batches of 1,000, with the same headers. */
async function bareBatch(js: JetStreamClient, from: number): Promise<void> {
  for (let done = 0; done < COUNT; done += 1000) {
    const optionsOf = (index: number) => {
      const all = headers()
      const number = from + done + index
      all.set('Nats-Msg-Id', `e:${number}`)
      all.set('Pg-Seq', `epoch-0123456789ab:${number}`)
      all.set('Pg-Channel-Seq', `epoch-0123456789ab:${number}`)
      all.set('Pg-Pid', '12345')
      all.set('Pg-Complete', '1795979241559')
      return { headers: all }
    }
    const subject = `bare.${STREAM}.orders`
    const batch = await js.startBatch(subject, PAYLOAD, optionsOf(0))
    for (let index = 1; index < 999; index += 1) batch.add(subject, PAYLOAD, optionsOf(index))
    await batch.commit(subject, PAYLOAD, optionsOf(999))
  }
}

/** From the NOTIFY of all of them in one transaction to the last confirmation. */
async function relayed(relay: Relay): Promise<void> {
  const { stored } = relay.stats()
  const text = `SELECT count(pg_notify($1, $2 || i)) FROM generate_series(1, ${COUNT}) AS i`
  await client.query(text, [CHANNEL, PAYLOAD])
  await waitFor(() => relay.stats().stored >= stored + COUNT, { timeoutMs: 60_000 })
}

async function withRelay(batchFrom: number | false): Promise<Figures> {
  const relay = new Relay({
    ...{ stream: STREAM, database: STREAM, channels: [CHANNEL], postgres: server.dsn },
    nats: { servers: nats.url },
    batchFrom,
  })
  const ending = new AbortController()
  const done = relay.run({ signal: ending.signal })
  await waitFor(() => relay.stats().role === 'leading')
  const figures = await timed(() => relayed(relay))
  ending.abort()
  await done
  return figures
}

const percentile = (sorted: readonly number[], part: number) =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))]!

/** Milliseconds from a NOTIFY to whoever hears it: a listener of this process, and a consumer of the stream. */
async function latencies(): Promise<void> {
  const pool = new ConnectionPool(server.dsn)
  const relay = new Relay({
    ...{ stream: STREAM, database: STREAM, channels: [CHANNEL], postgres: server.dsn },
    nats: { servers: nats.url },
  })
  const ending = new AbortController()
  const { signal } = ending
  const done = relay.run({ signal })
  await waitFor(() => relay.stats().role === 'leading')
  const direct: number[] = []
  const byStream: number[] = []
  const sentAt = new Map<string, number>()
  const note = (into: number[], payload: string) => {
    const at = sentAt.get(payload)
    if (at !== undefined) into.push(performance.now() - at)
  }
  const listener = await pool.listen({
    [CHANNEL]: (_: unknown, payload: string) => note(direct, payload),
  })
  const reading = (async () => {
    const all = subscribe(nc, { stream: STREAM, database: STREAM, signal })
    for await (const item of all) if (item.kind === 'message') note(byStream, item.payload)
  })()
  await new Promise((resolve) => setTimeout(resolve, 500))
  for (let number = 1; number <= 1000; number += 1) {
    const payload = `one ${number}`
    sentAt.set(payload, performance.now())
    await client.query('SELECT pg_notify($1, $2)', [CHANNEL, payload])
    await waitFor(() => byStream.length === number && direct.length === number)
  }
  ending.abort()
  await Promise.all([done, reading])
  await listener.shutdown()
  await pool.close()
  for (const one of [direct, byStream]) one.sort((a, b) => a - b)
  console.log(
    `latency in ms, p50 and p99: direct ${percentile(direct, 0.5).toFixed(2)}, ${percentile(direct, 0.99).toFixed(2)}; ` +
      `by the stream ${percentile(byStream, 0.5).toFixed(2)}, ${percentile(byStream, 0.99).toFixed(2)}`,
  )
}

async function makeBare(connection: NatsConnection): Promise<JetStreamClient> {
  const js = jetstream(connection, { timeout: 10_000 })
  const jsm = await js.jetstreamManager()
  await jsm.streams.add({
    name: 'BARE',
    subjects: ['bare.>'],
    duplicate_window: 1e9,
    ...({ allow_atomic: true } as object),
  })
  return js
}

try {
  const js = await makeBare(nc)
  const results = new Map<string, Figures[]>()
  const add = (name: string, figures: Figures) =>
    results.set(name, [...(results.get(name) ?? []), figures])
  for (let round = 0; round < ROUNDS; round += 1) {
    add('bare window', await timed(() => bareWindow(js, round * COUNT * 2)))
    add('relay, window', await withRelay(false))
    add('bare batches', await timed(() => bareBatch(js, (round * 2 + 1) * COUNT)))
    add('relay, batches', await withRelay(200))
  }
  for (const [name, figures] of results) {
    const rates = figures.map(({ perSecond }) => Math.round(perSecond)).sort((a, b) => a - b)
    const cpu = figures.map((one) => one.cpu).sort((a, b) => a - b)
    console.log(
      `${name.padEnd(15)} ${rates[Math.floor(ROUNDS / 2)]} a second (${rates[0]} to ${rates.at(-1)}), ${cpu[Math.floor(ROUNDS / 2)]!.toFixed(1)} µs CPU`,
    )
  }
  await latencies()
} finally {
  await client.end()
  await nc.close()
  await nats.stop()
  await server.stop('immediate')
}
