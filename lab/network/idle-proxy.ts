// A proxy that ends idle connections, as HAProxy's `timeout client` does.

import type { ExecutionContext } from 'ava'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { serverDsn } from '../server/test-server.js'

/**
 * How often connections are looked at. A longer pause between two looks is a stall of this machine and counts as one look: what
 * was sent meanwhile waits in a socket, and is read before the next look.
 */
const LOOK_MS = 50

export interface IdleProxy {
  /** The DSN of the test server by way of this proxy. */
  dsn: string
  /** The connections that it has ended, in order: since when each was idle, and when it was ended, by `performance.now()`. */
  readonly ended: { idleSince: number; at: number }[]
}

/** Starts a proxy that ends a connection on which nothing was sent for so long; the end of the test stops it. */
export async function startIdleProxy(t: ExecutionContext, idleMs: number): Promise<IdleProxy> {
  const target = new URL(await serverDsn())
  const ended: IdleProxy['ended'] = []
  const server = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname)
    const both: [Socket, Socket] = [client, upstream]
    let idleSince = performance.now()
    let looks = 0
    const looking = setInterval(() => {
      looks += 1
      if (looks * LOOK_MS < idleMs) return
      ended.push({ idleSince, at: performance.now() })
      end()
    }, LOOK_MS)
    const end = () => {
      clearInterval(looking)
      for (const socket of both) socket.destroy()
    }
    for (const [from, to] of [both, both.toReversed() as [Socket, Socket]]) {
      from.on('error', end).on('close', end)
      from.on('data', (chunk) => {
        idleSince = performance.now()
        looks = 0
        to.write(chunk)
      })
    }
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.teardown(() => server.close())
  const dsn = new URL(target)
  dsn.hostname = '127.0.0.1'
  dsn.port = `${(server.address() as AddressInfo).port}`
  return { dsn: dsn.href, ended }
}
