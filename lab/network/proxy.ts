// A network between a listener and the server, to be cut, frozen or closed on purpose.

import { once } from 'node:events'
import { createServer, connect, type AddressInfo, type Socket } from 'node:net'
import type { ExecutionContext } from 'ava'
import { serverDsn } from '../server/test-server.js'
import { reset } from './reset.js'

export interface Proxy {
  /** The DSN of the test server by way of this proxy. */
  dsn: string
  /** Breaks every connection; new ones are refused until {@link Proxy.open}. */
  cut(): void
  /** Breaks every connection, and for good: the system refuses new ones even while the event loop is blocked. */
  close(): void
  /** Takes connections again, and answers. */
  open(): void
  /** Forwards nothing any more, and closes nothing: a network that swallows everything. */
  freeze(): void
  /** Forwards nothing to the server any more, and closes nothing; what the server says still comes. */
  withhold(): void
  /** Forwards nothing any more on the connections of now, and closes none of them; new ones work. */
  silence(): void
  /** Breaks every connection; new ones are taken, and never answered. */
  hang(): void
  /** Resolves once the next bytes have come for the server, on any connection, whether they are forwarded or not. */
  sent(): Promise<void>
  /** How many connections were made to the server by way of it. */
  readonly connections: number
  /** How many times something came for the server on each connection that is silenced and was used since. */
  readonly unheard: number[]
  /** How many connections were tried while it was cut. */
  readonly refused: number
  /** How many connections were taken while it did not answer. */
  readonly unanswered: number
}

/** Starts a proxy; the end of the test stops it. */
export async function startProxy(t: ExecutionContext): Promise<Proxy> {
  const target = new URL(await serverDsn())
  const sockets = new Set<Socket>()
  const silenced = new WeakSet<Socket>()
  const unheard = new Map<Socket, number>()
  let connections = 0
  let isCut = false
  let isFrozen = false
  let isWithholding = false
  let isHanging = false
  let refused = 0
  let unanswered = 0
  let onSent: (() => void) | undefined
  const server = createServer((client) => {
    client.on('error', () => {})
    if (isCut) {
      refused += 1
      reset(client)
      return
    }
    if (isHanging) {
      unanswered += 1
      sockets.add(client)
      return
    }
    connections += 1
    const upstream = connect(Number(target.port), target.hostname)
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from)
      from.on('error', () => {})
      from.on('data', (chunk) => {
        if (from === client) {
          onSent?.()
          if (silenced.has(client)) unheard.set(client, (unheard.get(client) ?? 0) + 1)
        }
        if (isFrozen || silenced.has(from) || (isWithholding && from === client)) return
        to.write(chunk)
      })
      from.on('close', () => {
        sockets.delete(from)
        if (!isFrozen && !silenced.has(from)) to.destroy()
      })
    }
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const destroyAll = () => {
    for (const socket of sockets) socket.destroy()
  }
  t.teardown(() => {
    isFrozen = false
    destroyAll()
    server.close()
  })
  const dsn = new URL(target)
  dsn.hostname = '127.0.0.1'
  dsn.port = `${(server.address() as AddressInfo).port}`
  return {
    dsn: dsn.href,
    cut() {
      isCut = true
      destroyAll()
    },
    close() {
      server.close()
      destroyAll()
    },
    open() {
      isCut = false
      isHanging = false
    },
    freeze() {
      isFrozen = true
    },
    withhold() {
      isWithholding = true
    },
    silence() {
      for (const socket of sockets) silenced.add(socket)
    },
    hang() {
      isHanging = true
      destroyAll()
    },
    sent: () =>
      new Promise((resolve) => {
        onSent = resolve
      }),
    get connections() {
      return connections
    },
    get unheard() {
      return [...unheard.values()]
    },
    get refused() {
      return refused
    },
    get unanswered() {
      return unanswered
    },
  }
}
