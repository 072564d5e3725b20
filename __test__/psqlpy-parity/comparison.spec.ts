// How `npm run parity` holds this package's programs against psqlpy's.

import test from 'ava'
import { canonical } from './canonical.js'
import { compare } from './comparison.js'
import { DIFFERENCES } from './differences.js'

const outcome = (notes: Record<string, string>, lacks?: string) => ({
  notes,
  ...(lacks === undefined ? {} : { lacks }),
})
const NOTHING = { same: [], different: [], pending: [], wrong: [] }

test('values of two languages have one canonical form', (t) => {
  const value = {
    b: [1, 2n ** 62n, 0.1, -0, 1e300, NaN],
    a: Buffer.from([0, 255]),
    at: [new Date('2026-11-29T10:11:12.120Z'), new Date('2026-11-29T00:00:00Z')],
    none: [null, true, 'text'],
  }
  t.is(
    JSON.stringify(canonical(value)),
    JSON.stringify({
      object: {
        a: { bytes: '00ff' },
        at: [{ moment: '2026-11-29T10:11:12.12' }, { moment: '2026-11-29T00:00:00' }],
        b: [
          { number: '1' },
          { number: '4611686018427387904' },
          { number: '0.1' },
          { number: '0' },
          { number: String(BigInt(1e300)) },
          { number: 'NaN' },
        ],
        none: [null, true, 'text'],
      },
    }),
  )
})

test('the same is the same, and anything else is wrong unless it was meant', (t) => {
  const theirs = { a: 'x', b: 'y' }
  const meant = { psqlpy: 'y', pglisten: 'z', reason: 'on purpose' }
  const ours = outcome({ a: 'x', b: 'z' })
  t.deepEqual(compare(theirs, ours, { b: meant }), { ...NOTHING, same: ['a'], different: ['b'] })
  t.deepEqual(compare(theirs, ours).wrong, ['b: psqlpy "y", pglisten "z"'])
})

test('a difference that is not there any more, or is another one, is wrong', (t) => {
  const meant = { psqlpy: 'y', pglisten: 'z', reason: 'on purpose' }
  const gone = compare({ b: 'y' }, outcome({ b: 'y' }), { b: meant })
  t.deepEqual(gone.wrong, [
    'b: was to differ as psqlpy "y", pglisten "z", but came to psqlpy "y", pglisten "y"',
  ])
  t.is(compare({ b: 'z' }, outcome({ b: 'z' }), { b: meant }).wrong.length, 1)
  t.deepEqual(compare({}, outcome({}), { b: meant }).wrong, [
    "b: psqlpy's program does not have it",
  ])
})

test('what a build does not have yet is pending, and what a program forgot is wrong', (t) => {
  const theirs = { a: 'x', b: 'y' }
  const pending = compare(theirs, outcome({ a: 'x' }, 'cursor'))
  t.deepEqual(pending, { ...NOTHING, same: ['a'], pending: ['b'] })
  t.deepEqual(compare(theirs, outcome({ a: 'x' })).wrong, ['b: this program does not have it'])
  t.deepEqual(compare({ a: 'x' }, outcome({ a: 'x', b: 'y' })).wrong, [
    "b: psqlpy's program does not have it",
  ])
})

test('each difference on purpose is one, and has its reason', (t) => {
  for (const labels of Object.values(DIFFERENCES)) {
    for (const [label, { psqlpy, pglisten, reason }] of Object.entries(labels)) {
      t.notDeepEqual(psqlpy, pglisten, label)
      t.true(reason.length > 10, label)
    }
  }
})
