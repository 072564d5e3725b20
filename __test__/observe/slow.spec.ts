// `slowCallbackMs`: a warning for each callback that is pending for too long.

import test from 'ava'
import type { ListenerWarning } from 'pglisten'
import { deferred, waitFor } from '../../lab/wait.js'
import { notify, openListener, terminate, uniqueChannel } from '../support/listener.js'

const SLOW_MS = 50

function kept(listener: {
  on(event: 'warning', handler: (warning: ListenerWarning) => void): unknown
}): ListenerWarning[] {
  const warnings: ListenerWarning[] = []
  listener.on('warning', (warning) => {
    if (warning.kind === 'slowCallback') warnings.push(warning)
  })
  return warnings
}

test('each slow callback is warned of once, by its channel and its time', async (t) => {
  const [one, two] = [uniqueChannel(), uniqueChannel()]
  const { listener } = await openListener(t, { slowCallbackMs: SLOW_MS, concurrency: 2 })
  const gates = [deferred(), deferred()]
  await listener.addCallback(one, () => gates[0]!.promise)
  await listener.addCallback(two, () => gates[1]!.promise)
  await listener.startup()
  listener.listen()
  const warnings = kept(listener)
  await notify(one)
  await waitFor(() => warnings.length === 1)
  await notify(two)
  await waitFor(() => warnings.length === 2)
  t.deepEqual(
    warnings.map(({ channel }) => channel),
    [one, two],
  )
  for (const [at, channel] of [one, two].entries()) {
    const { message } = warnings[at]!
    const [, ms] =
      /^a callback of channel `(?:.*)` has been pending for (\d+) ms/.exec(message) ?? []
    t.true(message.includes(`\`${channel}\``), message)
    t.true(Number(ms) >= SLOW_MS && Number(ms) < 10_000, message)
  }
  // As long again, and nothing more is said of the same calls.
  await waitFor(() => listener.health().oldestCallbackAgeMs! > 6 * SLOW_MS)
  t.is(warnings.length, 2)
  for (const gate of gates) gate.resolve()
  await listener.sync()
  await notify(one)
  await listener.sync()
  t.is(warnings.length, 2)
})

test('callbacks that settle in time are not warned of, one after the other for longer than the time', async (t) => {
  const channel = uniqueChannel()
  const { listener } = await openListener(t, { slowCallbackMs: 2000 })
  const warnings = kept(listener)
  const took: number[] = []
  await listener.addCallback(channel, async (connection) => {
    const began = performance.now()
    await connection.execute('SELECT pg_sleep(0.02)')
    took.push(performance.now() - began)
  })
  await listener.startup()
  listener.listen()
  const from = performance.now()
  while (performance.now() - from < 4500) {
    await notify(channel)
    await listener.sync()
  }
  t.true(took.length > 2)
  // On a machine that stalls a call may be slow, and is warned of.
  const slow = took.filter((ms) => ms > 1900)
  t.true(warnings.length <= slow.length, `${warnings.length} warnings, calls of ${slow.join()} ms`)
})

test('a slow callback of a gap is warned of without a channel', async (t) => {
  const { listener } = await openListener(t, {
    slowCallbackMs: SLOW_MS,
    reconnect: { initialDelayMs: 1, maxDelayMs: 10 },
  })
  const warnings = kept(listener)
  const gate = deferred()
  listener.addGapCallback(() => gate.promise)
  await listener.startup()
  listener.listen()
  await terminate(listener.stats().session!.processId)
  await waitFor(() => warnings.length === 1)
  t.is(warnings[0]!.channel, undefined)
  t.regex(warnings[0]!.message, /^a gap callback has been pending for \d+ ms/)
  gate.resolve()
})

test('without the option nobody is warned, and what is no time is refused', async (t) => {
  const channel = uniqueChannel()
  const { listener, pool } = await openListener(t)
  const warnings = kept(listener)
  const gate = deferred()
  await listener.addCallback(channel, () => gate.promise)
  await listener.startup()
  listener.listen()
  await notify(channel)
  await waitFor(() => listener.health().oldestCallbackAgeMs! > 300)
  t.deepEqual(warnings, [])
  gate.resolve()
  for (const slowCallbackMs of [0, -1, 2 ** 31, Infinity, NaN]) {
    t.throws(() => pool.listener({ slowCallbackMs }), { code: 'ERR_PGLISTEN_ARGUMENT_RANGE' })
  }
  for (const slowCallbackMs of ['1', true, null]) {
    t.throws(() => pool.listener({ slowCallbackMs: slowCallbackMs as never }), {
      code: 'ERR_PGLISTEN_ARGUMENT_TYPE',
      message: /slowCallbackMs/,
    })
  }
})
