// A way to the server that can leave out one kind of its messages: notifications.

import type { ExecutionContext } from 'ava'
import { serverDsn } from '../server/test-server.js'
import { MessageProxy } from './message-proxy.mjs'

const NOTIFICATION = 'A'.charCodeAt(0)
const NOTHING = Buffer.alloc(0)

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
  const filter = { dsn: '', drops: false, dropped: 0 }
  const proxy = new MessageProxy(await serverDsn(), () => (message) => {
    if (!filter.drops || message[0] !== NOTIFICATION) return message
    filter.dropped += 1
    return NOTHING
  })
  t.teardown(() => proxy.stop())
  filter.dsn = await proxy.start()
  return filter
}
