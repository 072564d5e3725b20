// Something on the way that ends idle connections sooner than the heartbeat comes: it is explained.

import test from 'ava'
import { startIdleProxy } from '../../lab/network/idle-proxy.js'
import { waitFor } from '../../lab/wait.js'
import { openListener } from '../support/listener.js'

const reconnect = { initialDelayMs: 5, maxDelayMs: 20 }

test('the third idle connection in a row that is ended is explained, once', async (t) => {
  const dsn = await startIdleProxy(t, 1500)
  const { listener } = await openListener(t, { reconnect }, { dsn })
  const warnings: string[] = []
  listener.on('warning', ({ message }) => warnings.push(message))
  await listener.startup()
  await waitFor(() => listener.stats().reconnects === 2)
  t.deepEqual(warnings, [])
  await waitFor(() => listener.stats().reconnects === 4)
  t.is(warnings.length, 1)
  t.regex(warnings[0]!, /ends connections that are idle for about 1\.[5-9] s/)
  t.regex(warnings[0]!, /lower `heartbeat\.intervalMs` below it/)
})

test('a heartbeat that is short enough keeps the connection, and nothing is said', async (t) => {
  const dsn = await startIdleProxy(t, 1500)
  const heartbeat = { intervalMs: 300 }
  const { listener } = await openListener(t, { reconnect, heartbeat }, { dsn })
  listener.on('warning', ({ message }) => t.fail(message))
  await listener.startup()
  const began = performance.now()
  await waitFor(() => performance.now() - began > 4000)
  t.is(listener.stats().reconnects, 0)
})
