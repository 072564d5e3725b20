// What a flood of notifications leaves of the event loop: how often, and how late, timers fire meanwhile.

import fs from 'node:fs'
import { otherPool } from './listener.js'

/** How often the timers are meant to fire, in milliseconds. */
const INTERVAL_MS = 1

export interface Fairness {
  /** From the first delivery to the last, in milliseconds. */
  deliveryMs: number
  /** How much of it this thread was ready to run while others had the processors; 0 where the system does not tell. */
  waitedMs: number
  /** How often a timer fired meanwhile. */
  ticks: number
  /** The longest time without a timer, in milliseconds. */
  longestMs: number
  /** All those times, sorted, each without its part of `waitedMs`: what our own work made of them. */
  delays: number[]
}

/** How long the main thread has been waiting for a processor, in milliseconds, ever since it exists. */
function openProcessorWait(): { waitedMs: () => number; close: () => void } {
  const file = `/proc/${process.pid}/task/${process.pid}/schedstat`
  if (!fs.existsSync(file)) return { waitedMs: () => 0, close: () => {} }
  const descriptor = fs.openSync(file, 'r')
  const buffer = Buffer.alloc(128)
  const waitedMs = () => {
    const length = fs.readSync(descriptor, buffer, 0, buffer.length, 0)
    // Nanoseconds that it ran, nanoseconds that it waited, and how often.
    return Number(buffer.toString('latin1', 0, length).split(' ')[1]) / 1e6
  }
  return { waitedMs, close: () => fs.closeSync(descriptor) }
}

/**
 * Observes the timers while `work` runs: from the first call of `begin`, which `work` is given, to the call of `end`.
 */
export async function observeTimers(
  work: (observer: { begin: () => void; end: () => void }) => Promise<void>,
): Promise<Fairness> {
  const processor = openProcessorWait()
  const delays: number[] = []
  let longestMs = 0
  let deliveryMs = 0
  let waitedMs = 0
  let last: { at: number; waited: number } | undefined
  let ended = false
  const look = () => {
    const now = { at: performance.now(), waited: processor.waitedMs() }
    if (last) {
      const delay = now.at - last.at
      const waited = Math.min(now.waited - last.waited, delay)
      delays.push(delay - waited)
      longestMs = Math.max(longestMs, delay)
      deliveryMs += delay
      waitedMs += waited
    }
    last = now
  }
  const timer = setInterval(() => {
    if (last && !ended) look()
  }, INTERVAL_MS)
  const begin = () => {
    if (!last) look()
  }
  const end = () => {
    // What has passed since the last timer counts as well.
    if (!ended) look()
    ended = true
  }
  try {
    await work({ begin, end })
  } finally {
    clearInterval(timer)
    processor.close()
  }
  delays.sort((a, b) => a - b)
  return { deliveryMs, waitedMs, ticks: delays.length - 1, longestMs, delays }
}

/** Notifies `1` … `count` in one transaction, each payload with 40 bytes. */
export async function floodWithOneTransaction(channel: string, count: number): Promise<void> {
  await using connection = await (await otherPool()).connection()
  await connection.execute(
    `SELECT count(pg_notify($1, lpad(n::text, 40, '0'))) FROM generate_series(1, $2::int4) AS n`,
    [channel, count],
  )
}

/** Lets callbacks take `count` notifications of one transaction, and checks that they are complete and in order. */
export async function million(count = 1_000_000): Promise<Fairness & { wrong: number }> {
  const pool = await otherPool()
  const listener = pool.listener({
    buffer: { maxMessages: count, maxBytes: count * 200 },
  })
  const channel = `million_${process.pid}_${Date.now()}`
  let received = 0
  let wrong = 0
  const fairness = await observeTimers(async ({ begin, end }) => {
    let done = () => {}
    const complete = new Promise<void>((resolve) => {
      done = resolve
    })
    await listener.addCallback(channel, (_, payload) => {
      begin()
      received += 1
      if (Number(payload) !== received || payload.length !== 40) wrong += 1
      if (received < count) return
      end()
      done()
    })
    await listener.startup()
    listener.listen()
    await floodWithOneTransaction(channel, count)
    await complete
  })
  const { dropped } = listener.stats()
  await listener.shutdown()
  return { ...fairness, wrong: wrong + dropped }
}
