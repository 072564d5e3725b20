// How `npm run bench -- --against` tells whether a build is slower than another.

import test from 'ava'
import * as fc from 'fast-check'
import {
  CONFIDENCE,
  PAIRS_TO_JUDGE,
  compare,
  interval,
  ratios,
  verdict,
} from '../../bench/speed/comparison.mjs'

/** Noise that is the same in every test run: factors from 0.95 to 1.05 that have no order. */
const noise = (count: number) =>
  Array.from({ length: count }, (_, index) => 0.95 + ((index * 37) % 101) / 1010)

const runs = (measure: string, values: readonly number[]) =>
  values.map((value) => ({ [measure]: value }))

const closeTo = (actual: number, expected: number) =>
  Math.abs(actual - expected) <= 1e-9 * Math.abs(expected)

const someRatios = fc.array(fc.double({ min: 0.01, max: 100, noNaN: true }), {
  minLength: 1,
  maxLength: 60,
})

test('fifteen ratios have an interval from the fourth to the twelfth', (t) => {
  const values = [1.15, 1.01, 1.14, 1.02, 1.13, 1.03, 1.12, 1.04, 1.11, 1.05, 1.1, 1.06, 1.09]
  const { median, low, high, coverage } = interval([...values, 1.07, 1.08])
  t.deepEqual({ median, low, high }, { median: 1.08, low: 1.04, high: 1.12 })
  // 1 - 2 · (1 + 15 + 105 + 455) / 2^15
  t.true(closeTo(coverage, 0.96484375))
})

test('five ratios are too few for 95 %, so that their interval is all of them', (t) => {
  const { median, low, high, coverage } = interval([3, 1, 5, 2, 4])
  t.deepEqual({ median, low, high, coverage }, { median: 3, low: 1, high: 5, coverage: 0.9375 })
})

test('the median of an even number of ratios is the geometric mean of the middle ones', (t) => {
  t.is(interval([1, 2, 8, 9]).median, 4)
})

test('an interval of no ratios is refused', (t) => {
  t.throws(() => interval([]), { instanceOf: RangeError })
})

test('the interval contains the median and has the confidence as soon as that is possible', (t) => {
  fc.assert(
    fc.property(someRatios, (values) => {
      const { median, low, high, coverage } = interval(values)
      return low <= median && median <= high && (values.length < 6 || coverage >= CONFIDENCE)
    }),
  )
  t.pass()
})

test('swapping the builds turns the interval into its reciprocal', (t) => {
  fc.assert(
    fc.property(someRatios, (values) => {
      const there = interval(values)
      const back = interval(values.map((value) => 1 / value))
      return (
        closeTo(back.median, 1 / there.median) &&
        closeTo(back.low, 1 / there.high) &&
        closeTo(back.high, 1 / there.low) &&
        back.coverage === there.coverage
      )
    }),
  )
  t.pass()
})

test('the interval misses the true median as rarely as it says', (t) => {
  // A generator of its own, so that each test run counts the same.
  let state = 1
  const random = () => {
    state = (state * 48271) % 2147483647
    return state / 2147483647
  }
  const trials = 4000
  let held = 0
  for (let trial = 0; trial < trials; trial += 1) {
    // Skewed, with a true median of 1.
    const { low, high } = interval(Array.from({ length: 15 }, () => 4 ** (random() ** 2 - 0.25)))
    if (low <= 1 && 1 <= high) held += 1
  }
  t.true(Math.abs(held / trials - 0.9648) < 0.012, `${held} of ${trials}`)
})

test('a build that is 10 % slower by construction is called slower', (t) => {
  const theirs = noise(PAIRS_TO_JUDGE).map((factor) => 200 * factor)
  const ours = noise(PAIRS_TO_JUDGE)
    .toReversed()
    .map((factor) => 220 * factor)
  const [comparison] = compare(runs('threadNs', ours), runs('threadNs', theirs))
  t.is(comparison?.verdict, 'slower')
})

test('a build whose rate is 10 % lower is called slower, and one whose rate is higher is not', (t) => {
  const slow = runs('perSecond', Array<number>(PAIRS_TO_JUDGE).fill(900_000))
  const fast = runs('perSecond', Array<number>(PAIRS_TO_JUDGE).fill(1_000_000))
  const [slower] = compare(slow, fast)
  t.is(slower?.verdict, 'slower')
  t.true(closeTo(slower?.median ?? 0, 10 / 9))
  t.is(compare(fast, slow)[0]?.verdict, 'not slower')
})

test('equal builds are not called slower, however noisy the machine is', (t) => {
  const noisy = noise(PAIRS_TO_JUDGE).map((factor) => 200 * factor ** 4)
  const [comparison] = compare(runs('threadNs', noisy), runs('threadNs', noisy.toReversed()))
  t.is(comparison?.verdict, 'not slower')
})

test('a slow minute that hits both builds does not count', (t) => {
  const minutes = noise(PAIRS_TO_JUDGE).map((factor) => factor ** 20)
  const ours = minutes.map((minute) => 101 * minute)
  const theirs = minutes.map((minute) => 100 * minute)
  const [comparison] = compare(runs('p50Us', ours), runs('p50Us', theirs))
  t.true(closeTo(comparison?.high ?? 0, 1.01))
  t.is(comparison?.verdict, 'not slower')
})

test('too few pairs are not judged', (t) => {
  const [comparison] = compare(runs('p50Us', [300, 300, 300]), runs('p50Us', [100, 100, 100]))
  t.is(comparison?.verdict, 'too few')
})

const instructions = (ours: readonly number[], theirs: readonly number[]) =>
  compare(runs('instructions', ours), runs('instructions', theirs))[0]

test('instructions are judged by the counts that repeat, within 2 %', (t) => {
  const judged = (ours: number) =>
    instructions([14_000, ours, ours + 5], [10_000, 13_000, 10_001])?.verdict
  t.is(judged(10_190), 'not slower')
  t.is(judged(10_210), 'slower')
})

test('a count that a stall has cut in two does not make a build faster', (t) => {
  t.is(instructions([10_000, 10_001, 10_002], [5000, 10_000, 10_003])?.median, 1)
})

test('instructions that do not repeat are not judged', (t) => {
  t.is(instructions([11_735, 15_691, 16_674], [17_903, 6571, 11_816])?.verdict, 'unsteady')
})

test('the extremes of a run are told and never judged', (t) => {
  const range = { median: 9, low: 9, high: 9, coverage: 1 }
  t.is(verdict('delayMs', range, PAIRS_TO_JUDGE), 'told only')
})

test('a measure that the system does not tell is left out', (t) => {
  t.deepEqual(compare([{ threadNs: null }], [{ threadNs: null }]), [])
  t.deepEqual(ratios('threadNs', [1, null, 3], [2, 2, 0]), [0.5])
})

test('runs that are no pairs are refused', (t) => {
  t.throws(() => ratios('threadNs', [1, 2], [1]), { instanceOf: RangeError })
})
