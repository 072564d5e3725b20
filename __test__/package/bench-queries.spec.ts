// How `npm run bench:queries` puts its runs together.

import test from 'ava'
import { caseTable, type Outcomes } from '../../bench/queries/report.mjs'
import { PLAN } from '../../bench/queries/plan.mjs'
import { median, ratio } from '../../bench/queries/statistics.mjs'

test('the median of an even number of runs is between both in the middle', (t) => {
  t.is(median([3, 1, 2]), 2)
  t.is(median([4, 1, 3, 2]), 2.5)
})

test('a ratio compares runs of the same round, so that a slow round changes nothing', (t) => {
  const base = [10, 20, 1000, 30, 40]
  t.deepEqual(
    ratio(
      base.map((time) => time / 2),
      base,
    ),
    { median: 0.5, low: 0.5, high: 0.5 },
  )
  t.throws(() => ratio([1], base), { instanceOf: RangeError })
})

test('the interval of a ratio holds its median, lies within the ratios, and is the same again', (t) => {
  const values = [1.5, 1.2, 0.9, 1.1, 1.0, 1.3, 1.25]
  const base = values.map(() => 1)
  const { median, low, high } = ratio(values, base)
  t.is(median, 1.2)
  t.true(low < median && median < high)
  t.true(low >= 0.9 && high <= 1.5)
  t.deepEqual(ratio(values, base), { median, low, high })
})

test('the table has a line for each contestant, and says who was left out and why', (t) => {
  const one = PLAN.find(({ id }) => id === 'fetchVal')!
  const run = (time: number) => ({ time, threadMs: null, processMs: 2 * time, peakMb: 50 })
  const outcomes: Outcomes = new Map()
  outcomes.set('pg', [run(0.05), run(0.06)])
  outcomes.set('pglisten', [run(0.1), run(0.12)])
  outcomes.set('psqlpy', 'psqlpy could not be installed')
  const table = caseTable(one, outcomes)
  const lines = table.split('\n')
  t.true(lines.includes('| pg | 55.0 (50.0–60.0) | 1 | – | 110 | 50.0 |'), table)
  t.true(lines.includes('| pglisten | 110 (100–120) | 2.00 (2.00–2.00) | – | 220 | 50.0 |'), table)
  t.is(lines.at(-1), 'Without psqlpy: psqlpy could not be installed.')
})
