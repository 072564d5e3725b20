// Something on the way that ends idle connections sooner than the heartbeat comes: it is explained.

import test from 'ava'
import { startIdleProxy } from '../../lab/network/idle-proxy.js'
import { waitFor } from '../../lab/wait.js'
import { openListener } from '../support/listener.js'

const IDLE_MS = 1500
/** Silences that differ by more than the listener takes for alike were lengthened by a stall of the machine. */
const MOST_LATE_MS = 300
const ROUNDS = 5

const reconnect = { initialDelayMs: 5, maxDelayMs: 20 }

test('the third idle connection in a row that is ended is explained, once', async (t) => {
  for (let round = 1; round <= ROUNDS; round += 1) {
    const proxy = await startIdleProxy(t, IDLE_MS)
    const { listener } = await openListener(t, { reconnect }, { dsn: proxy.dsn })
    const told: string[] = []
    listener.on('disconnected', () => told.push('lost'))
    listener.on('warning', ({ message }) => told.push(message))
    await listener.startup()
    await waitFor(() => listener.stats().reconnects >= 4)
    await listener.shutdown()
    const silences = proxy.ended.map(({ idleSince, at }) => at - idleSince)
    if (silences.some((ms) => ms > IDLE_MS + MOST_LATE_MS)) continue
    t.deepEqual(
      told.slice(0, 5).map((one) => one === 'lost'),
      [true, true, true, false, true],
      told.join('\n'),
    )
    const [warning, ...more] = told.filter((one) => one !== 'lost')
    t.deepEqual(more, [])
    const [, seconds] = /ends connections that are idle for about (\d\.\d) s/.exec(warning!) ?? []
    t.true(Math.abs(Number(seconds) * 1000 - silences[2]!) < 150, `${warning}: ${silences[2]} ms`)
    t.regex(warning!, /lower `heartbeat\.intervalMs` below it/)
    return
  }
  t.pass('the machine stalled in each round')
})

test('a heartbeat that is short enough keeps the connection, and nothing is said', async (t) => {
  const proxy = await startIdleProxy(t, IDLE_MS)
  const heartbeat = { intervalMs: 300 }
  const { listener } = await openListener(t, { reconnect, heartbeat }, { dsn: proxy.dsn })
  listener.on('warning', ({ message }) => t.fail(message))
  await listener.startup()
  const began = performance.now()
  await waitFor(() => performance.now() - began > 4000)
  t.is(listener.stats().reconnects, 0)
  t.deepEqual(proxy.ended, [])
})
