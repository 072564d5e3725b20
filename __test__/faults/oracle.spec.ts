// The referee itself: it must see each kind of broken promise.

import test from 'ava'
import type { Gap } from 'pglisten'
import {
  type Commit,
  Ledger,
  type Part,
  type Terms,
  compare,
  judge,
  keyOf,
} from '../../lab/soak/oracle.js'
import { Recording, seenOf } from '../../lab/soak/recording.js'

const gap = (from: number, to: number, rest: Partial<Gap> = {}): Gap => ({
  reason: 'disconnect',
  lostAt: new Date(from),
  resumedAt: new Date(to),
  downtimeMs: to - from,
  dropped: null,
  sqlState: null,
  merged: 1,
  message: '',
  attempts: 1,
  serverRestarted: false,
  oldProcessId: 1,
  newProcessId: 2,
  ...rest,
})
const overflow = (from: number, to: number, dropped: number) =>
  gap(from, to, { reason: 'overflow', dropped, oldProcessId: null, newProcessId: null })

/** One writer, whose number n was committed from 10 n to 10 n + 5. */
function ledgerOf(count: number): Ledger {
  const numbers = Array.from({ length: count }, (_, index) => index + 1)
  const commits = numbers.map((n): Commit => ({
    writer: 1,
    from: n,
    to: n,
    sentAt: 10 * n,
    overAt: 10 * n + 5,
  }))
  return new Ledger(new Map([[1, numbers]]), commits)
}
const seen = (...items: (number | Gap)[]) =>
  items.map((item) => (typeof item === 'number' ? keyOf(1, item) : item))
const broken = (count: number, ...items: (number | Gap)[]) =>
  judge('it', seen(...items), ledgerOf(count)).violations

test('a whole stream is clean, and so is one whose gaps cover what is missing', (t) => {
  t.deepEqual(broken(4, 1, 2, 3, 4), [])
  t.deepEqual(broken(4, 1, gap(15, 35), 4), [])
  t.deepEqual(broken(4, 1, 2, gap(25, 50)), [])
  t.deepEqual(broken(4, gap(5, 26), 3, 4), [])
  t.deepEqual(broken(4, 1, overflow(20, 30, 2), 4), [])
  t.is(judge('it', seen(1, gap(15, 35), 4), ledgerOf(4)).lostInsideGaps, 2)
})

test('what is missing without a gap, at another place, or at another time is found', (t) => {
  t.regex(broken(4, 1, 4)[0]!, /numbers 2 to 3 .* no gap/)
  t.regex(broken(4, 1, 2)[0]!, /numbers 3 to 4 .* no gap/)
  t.regex(broken(4, gap(5, 45), 1, 4)[0]!, /numbers 2 to 3 .* no gap/)
  t.regex(broken(4, 1, gap(26, 45), 4)[0]!, /numbers 2 to 2 .* outside the gaps/)
  t.regex(broken(4, 1, gap(15, 29), 4)[0]!, /numbers 3 to 3 .* outside the gaps/)
})

test('what comes twice, out of order, or from nowhere is found', (t) => {
  t.regex(broken(3, 1, 2, 2, 3)[0]!, /number 2 .* came twice/)
  t.regex(broken(3, 1, gap(15, 25), 3, 2)[0]!, /number 2 .* after a later one/)
  t.regex(broken(3, 1, 2, 3, 4)[0]!, /number 4 .* never committed/)
})

test('a wrong count, and a break that is left out, are found', (t) => {
  t.regex(broken(4, 1, overflow(20, 30, 1), 4)[0]!, /count 1, but 2 to 2/)
  t.regex(broken(4, 1, overflow(20, 30, 3), 4)[0]!, /count 3, but 2 to 2/)
  const far = gap(25, 35, { oldProcessId: 7, newProcessId: 8 })
  t.regex(broken(3, 1, gap(15, 16), 2, far, 3)[0]!, /into session 2 .* out of session 7/)
})

test('a consumer that dropped is held against one that did not', (t) => {
  const whole = seen(1, 2, 3, 4, gap(45, 55), 6)
  const against = (...items: (number | Gap)[]) => compare(['one', 'other'], [whole, seen(...items)])
  t.deepEqual(against(1, overflow(20, 30, 2), 4, gap(45, 55), 6), {
    violations: [],
    overflowsCompared: 1,
  })
  t.is(against(1, overflow(20, 20, 1), 4, gap(45, 55), 6).violations.length, 1)
  t.is(against(1, 2, 3, gap(45, 55), 6).violations.length, 1)
  t.is(against(1, 2, 3, 4, 6).violations.length, 1)
  t.is(against(1, 2, 3, 4, gap(45, 55, { newProcessId: 9 }), 6).violations.length, 1)
})

const partly = (part: Omit<Part, 'of'>, ...items: (number | Gap)[]) =>
  judge('it', seen(...items), ledgerOf(12).part({ of: 3, ...part })).violations

test('a stream of some channels is held against their numbers alone', (t) => {
  const channels = new Set([0, 2])
  const part = { channels, orderedByChannel: false }
  t.deepEqual(partly(part, 2, 3, 5, 6, 8, 9, 11, 12), [])
  t.deepEqual(partly(part, 2, 3, gap(45, 65), 8, 9, 11, 12), [])
  t.regex(partly(part, 2, 3, 5, 8, 9, 11, 12)[0]!, /numbers 6 to 6 .* no gap/)
  t.regex(partly(part, 2, 3, 4, 5, 6, 8, 9, 11, 12)[0]!, /number 4 .* never committed/)
  t.regex(partly(part, 2, 3, 6, 5, 8, 9, 11, 12).join(), /number 5 .* after a later one/)
})

test('channels that are delivered side by side have an order each', (t) => {
  const part = { channels: new Set([0, 2]), orderedByChannel: true }
  t.deepEqual(partly(part, 3, 2, 6, 9, 5, 8, 12, 11), [])
  t.regex(partly(part, 3, 2, 9, 6, 5, 8, 12, 11).join(), /number 6 .* after a later one/)
  t.regex(partly(part, 3, 2, 6, 9, 5, 12, 11)[0]!, /numbers 8 to 8 .* no gap/)
})

const during = (terms: Terms, ...items: (number | Gap)[]) =>
  judge('it', seen(...items), ledgerOf(6), terms).violations

test('what was committed before a startup, or after the last sync, may come or not', (t) => {
  const terms = { since: 25, until: 48 }
  t.deepEqual(during(terms, 3, 4), [])
  t.deepEqual(during(terms, 1, 2, 3, 4, 5, 6), [])
  t.deepEqual(during(terms, 2, 3, 4, 5), [])
  t.deepEqual(during(terms, gap(26, 47)), [])
  t.regex(during(terms, 4)[0]!, /numbers 3 to 3 .* no gap/)
  t.regex(during(terms, 1, 3, 4)[0]!, /numbers 2 to 2 .* no gap/)
  t.regex(during(terms, 2, 3)[0]!, /numbers 4 to 4 .* no gap/)
  t.regex(during(terms)[0]!, /numbers 3 to 4 .* no gap/)
  t.regex(during(terms, 3, 4, 6)[0]!, /numbers 5 to 5 .* no gap/)
  t.deepEqual(during({ since: 25, until: -Infinity }, 3), [])
})

test('a move explains one break in the chain of sessions', (t) => {
  const [one, two] = [gap(15, 16), gap(25, 35, { oldProcessId: 7, newProcessId: 8 })]
  const three = gap(45, 46, { oldProcessId: 9, newProcessId: 10 })
  t.deepEqual(during({ moves: 1 }, 1, one, 2, two, 3, 4, 5, 6), [])
  t.is(during({ moves: 1 }, 1, one, 2, two, 3, 4, three, 5, 6).length, 1)
})

test('a recording gives back what it was given, in its order', (t) => {
  const recording = new Recording()
  const items = Array.from({ length: 5000 }, (_, index) =>
    index % 1000 === 7 ? gap(index, index) : index,
  )
  for (const item of items) {
    if (typeof item === 'number') recording.add(item)
    else recording.addGap(item)
  }
  t.deepEqual([...seenOf(structuredClone(recording.recorded()))], items)
})
