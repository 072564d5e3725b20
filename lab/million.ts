// Measures what a flood of notifications leaves of the event loop: one million notifications of one transaction, and the
// longest time without a timer meanwhile. The tests state the same promise in counts of deliveries per turn; only the
// time itself is left to be measured, on a machine that does nothing else.
//
//   node --import tsx lab/million.ts [count]
//
// Exits 1 when a notification is missing or out of order, or when the package's own work kept the timers waiting for more
// than 20 ms. Where the system tells, that is told from the time in which other programs had the processors.

import fs from 'node:fs'
import { ConnectionPool } from 'pglisten'
import { serverDsn } from './server/test-server.js'
import { uniqueName } from './unique-name.js'
import { ServerWitness } from './witness.js'

const STRICT_MS = 20

/** How often the timers are meant to fire, in milliseconds. */
const INTERVAL_MS = 1

interface Fairness {
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
async function observeTimers(
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

/** Lets callbacks take `count` notifications of one transaction, and checks that they are complete and in order. */
async function million(count: number): Promise<Fairness & { wrong: number }> {
  await using witness = new ServerWitness(await serverDsn())
  await using pool = new ConnectionPool(await serverDsn())
  const listener = pool.listener({
    buffer: { maxMessages: count, maxBytes: count * 200 },
  })
  const channel = uniqueName('million')
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
    await witness.flood(channel, 1, count, { width: 40 })
    await complete
  })
  const { dropped } = listener.stats()
  await listener.shutdown()
  return { ...fairness, wrong: wrong + dropped }
}

const count = Number(process.argv[2] ?? 1_000_000)
const { deliveryMs, waitedMs, ticks, longestMs, delays, wrong } = await million(count)

const late = delays.filter((delay) => delay > STRICT_MS).length
const at = (quantile: number) => delays[Math.floor(quantile * (delays.length - 1))]!.toFixed(1)
console.log(
  `${count} notifications in ${deliveryMs.toFixed(0)} ms, ${Math.round((count / deliveryMs) * 1000)} each second`,
)
console.log(`${wrong} missing or out of order`)
console.log(`${ticks} timers; the longest time without one was ${longestMs.toFixed(1)} ms`)
console.log(
  `without the ${waitedMs.toFixed(0)} ms of waiting for a processor: p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, longest ${at(1)} ms`,
)
console.log(`${late} times more than ${STRICT_MS} ms`)
process.exit(wrong > 0 || late > 0 ? 1 : 0)
