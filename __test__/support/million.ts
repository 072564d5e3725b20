// Measures by itself what the test of fairness only bounds: one million notifications of one transaction, and the
// longest time without a timer meanwhile.
//
//   node --import tsx __test__/support/million.ts [count]
//
// Exits 1 when one is missing or out of order, or when our own work kept the timers waiting for more than 20 ms. Where
// the system tells, that is told from the time in which other programs had the processors.

import { million } from './fairness.js'
import { otherPool } from './listener.js'

const STRICT_MS = 20

const count = Number(process.argv[2] ?? 1_000_000)
const { deliveryMs, waitedMs, ticks, longestMs, delays, wrong } = await million(count)
await (await otherPool()).close()

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
