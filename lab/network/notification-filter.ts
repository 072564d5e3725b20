// A proxy that understands PostgreSQL's messages and can leave out one kind: notifications.

import { once } from 'node:events'
import { type AddressInfo, type Socket, connect, createServer } from 'node:net'
import type { ExecutionContext } from 'ava'
import { serverDsn } from '../server/test-server.js'

const HEADER_BYTES = 5
const NOTIFICATION = 'A'.charCodeAt(0)
const NO_TLS = 'N'.charCodeAt(0)

export interface NotificationFilter {
  /** The DSN of the test server by way of this proxy. */
  dsn: string
  /** Whether notifications of the server are left out. Everything else is passed on. */
  drops: boolean
  /** How many were left out. */
  readonly dropped: number
}

/** Starts a proxy; the end of the test stops it. */
export async function startNotificationFilter(t: ExecutionContext): Promise<NotificationFilter> {
  const target = new URL(await serverDsn())
  const sockets = new Set<Socket>()
  const filter = { dsn: '', drops: false, dropped: 0 }
  const server = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname)
    let pending = Buffer.alloc(0)
    let isFirst = true
    upstream.on('data', (chunk: Buffer) => {
      // Whoever asks for TLS first gets one byte for an answer, outside of any message.
      if (isFirst && chunk.length === 1 && chunk[0] === NO_TLS) {
        client.write(chunk)
        return
      }
      isFirst = false
      pending = Buffer.concat([pending, chunk])
      const kept: Buffer[] = []
      let at = 0
      while (pending.length - at >= HEADER_BYTES) {
        const end = at + 1 + pending.readInt32BE(at + 1)
        if (pending.length < end) break
        if (filter.drops && pending[at] === NOTIFICATION) filter.dropped += 1
        else kept.push(pending.subarray(at, end))
        at = end
      }
      pending = pending.subarray(at)
      client.write(Buffer.concat(kept))
    })
    client.on('data', (chunk) => upstream.write(chunk))
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from)
      from.on('error', () => {})
      from.on('close', () => {
        sockets.delete(from)
        to.destroy()
      })
    }
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const dsn = new URL(target)
  dsn.hostname = '127.0.0.1'
  dsn.port = `${(server.address() as AddressInfo).port}`
  filter.dsn = dsn.href
  return filter
}
