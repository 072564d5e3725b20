// The referee itself: it must see each kind of broken promise.

import test from 'ava'
import type { Gap } from 'pglisten'
import { type Commit, Ledger, compare, judge, keyOf } from '../../lab/soak/oracle.js'

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
