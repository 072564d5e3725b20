// node --import=tsx lab/relay/fan-out.ts [CONSUMERS]: how many NOTIFYs a second there can be, with as many listening sessions and with as many
// consumers of a relay's stream, in one run. Whoever hears, and the relay, are processes of their own; those that hear have the lowest priority.

import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { setPriority } from 'node:os'
import { fileURLToPath } from 'node:url'
import { connect } from '@nats-io/transport-node'
import { Client } from 'pg'
import { subscribe } from 'pglisten-relay-nats'
import { startServer } from '../server/test-server.js'
import { waitFor } from '../wait.js'
import { NatsServer } from './nats-server.js'
import { RelayProcess } from './relay-process.js'
import { makeStream } from './stream-reading.js'

const SECONDS = 8
const STREAM = 'FAN'
const CHANNEL = 'orders'

/** What a process of consumers does: it hears, and answers each message with how much each of them has heard, least and most. */
async function hear(kind: string, address: string, count: number): Promise<void> {
  setPriority(19)
  const heard = Array.from({ length: count }, () => 0)
  await Promise.all(
    heard.map(async (_, index) => {
      if (kind === 'sessions') {
        const one = new Client({ connectionString: address })
        await one.connect()
        one.on('notification', () => (heard[index]! += 1))
        await one.query(`LISTEN ${CHANNEL}`)
        return
      }
      const nc = await connect({ servers: address })
      void (async () => {
        for await (const item of subscribe(nc, { stream: STREAM, database: STREAM, from: 'all' }))
          if (item.kind === 'message') heard[index]! += 1
      })()
    }),
  )
  process.on('message', () =>
    process.send?.({ least: Math.min(...heard), most: Math.max(...heard) }),
  )
  process.on('disconnect', () => process.exit(0))
  process.send?.('ready')
}

async function ask(child: ChildProcess): Promise<{ least: number; most: number }> {
  child.send('count')
  const [answer] = (await once(child, 'message')) as [{ least: number; most: number }]
  return answer
}

/** Sends for some seconds, each NOTIFY in a transaction of its own. Returns how many. */
async function send(client: Client): Promise<number> {
  const end = performance.now() + SECONDS * 1000
  let count = 0
  while (performance.now() < end) {
    await client.query('SELECT pg_notify($1, $2)', [CHANNEL, `${(count += 1)}`])
  }
  return count
}

async function measure(kind: string, address: string, count: number, client: Client) {
  const child = fork(fileURLToPath(import.meta.url), ['hear', kind, address, `${count}`])
  await once(child, 'message')
  const sent = await send(client)
  const started = performance.now()
  await waitFor(async () => (await ask(child)).least >= sent, {
    timeoutMs: 200_000,
    what: 'all to have everything',
  })
  const { most } = await ask(child)
  const ms = Math.round(performance.now() - started)
  console.log(
    `${kind}: ${Math.round(sent / SECONDS)} NOTIFYs a second; all ${count} have all ${sent}, none more than ${most}, ${ms} ms after the last`,
  )
  const ended = once(child, 'exit')
  child.kill()
  await ended
  return sent
}

async function main(count: number): Promise<void> {
  const server = await startServer({ settings: { max_connections: count + 20 } })
  const nats = await NatsServer.start()
  await makeStream(nats.url, STREAM, { duplicate_window: 1e9 })
  const client = new Client({ connectionString: server.dsn })
  await client.connect()
  const relay = new RelayProcess({
    ...{ stream: STREAM, database: STREAM, channels: [CHANNEL], postgres: server.dsn },
    nats: { servers: nats.url },
  })
  try {
    await relay.becomes('leading')
    const relayed = await measure('consumers', nats.url, count, client)
    await relay.kill()
    const direct = await measure('sessions', server.dsn, count, client)
    console.log(`${(relayed / direct).toFixed(1)} times as many NOTIFYs with the relay`)
  } finally {
    await relay.kill()
    await client.end()
    await nats.stop()
    await server.stop('immediate')
  }
}

const [mode = '200', kind = '', address = '', count = ''] = process.argv.slice(2)
await (mode === 'hear' ? hear(kind, address, Number(count)) : main(Number(mode)))
