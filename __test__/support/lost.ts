// A listener whose session is lost, and does not come back before the test lets it.

import { once } from 'node:events'
import type { ExecutionContext } from 'ava'
import { startProxy } from '../../lab/network/proxy.js'
import { within } from '../../lab/wait.js'
import { openListener } from './listener.js'

/** Starts a listener and takes its way to the server; `restore` gives it back, and waits for the new session. */
export async function lostListener(t: ExecutionContext) {
  const proxy = await startProxy(t)
  const reconnect = { initialDelayMs: 5, maxDelayMs: 10 }
  const { listener } = await openListener(t, { reconnect }, { dsn: proxy.dsn })
  await listener.startup()
  const lost = once(listener, 'disconnected')
  proxy.cut()
  await within(lost)
  const restore = async () => {
    const back = once(listener, 'reconnected')
    proxy.open()
    await within(back)
  }
  return { listener, restore }
}
