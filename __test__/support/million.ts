// Measures by itself what the test of fairness only bounds: one million notifications of one transaction, and the
// longest time without a timer meanwhile.
//
//   node --import tsx __test__/support/million.ts [count]
//
// Exits 1 when one is missing or out of order, or when no timer fired for more than 20 ms.

import { million } from './fairness.js'
import { otherPool } from './listener.js'

const STRICT_MS = 20

const count = Number(process.argv[2] ?? 1_000_000)
const { deliveryMs, ticks, longestMs, delays, wrong } = await million(count)
await (await otherPool()).close()

const late = delays.filter((delay) => delay > STRICT_MS).length
const at = (quantile: number) => delays[Math.floor(quantile * (delays.length - 1))]!.toFixed(1)
console.log(`${count} notifications in ${(deliveryMs / 1000).toFixed(2)} s`)
console.log(
  `${Math.round((count / deliveryMs) * 1000)} each second, ${wrong} missing or out of order`,
)
console.log(
  `${ticks} timers; between them p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, longest ${longestMs.toFixed(1)} ms`,
)
console.log(`${late} times more than ${STRICT_MS} ms`)
process.exit(wrong > 0 || late > 0 ? 1 : 0)
