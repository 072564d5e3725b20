// The pages in which channels are found by number, against a plain map.

import test from 'ava'
import * as fc from 'fast-check'
import { Numbered } from '../../src-ts/deliver/numbered.js'

/** Numbers only grow; some lie many pages ahead. */
type Step = { do: 'set'; ahead: number } | { do: 'delete' | 'get'; pick: number }

const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    fc.record({
      do: fc.constant('set' as const),
      ahead: fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 600 }), fc.constant(2 ** 20)),
    }),
    fc.record({ do: fc.constantFrom('delete' as const, 'get' as const), pick: fc.nat() }),
  ),
  { maxLength: 400 },
)

test('a table of pages finds what a map finds, in any order of adding and removing', (t) => {
  const property = fc.property(steps, (list) => {
    const table = new Numbered<{ number: number }>()
    const model = new Map<number, { number: number }>()
    const given: number[] = []
    let last = 0
    for (const step of list) {
      if (step.do === 'set') {
        last += step.ahead
        const value = { number: last }
        given.push(last)
        table.set(last, value)
        model.set(last, value)
        continue
      }
      // One that was given out once, whether it is there or not, or one that never was.
      const number = given[step.pick % (given.length + 1)] ?? last + 1
      if (step.do === 'delete') {
        table.delete(number)
        model.delete(number)
      }
      if (table.get(number) !== model.get(number)) t.fail(`${number} after ${step.do}`)
    }
    for (const number of [...given, 0, last + 1]) {
      if (table.get(number) !== model.get(number)) t.fail(`${number} in the end`)
    }
  })
  fc.assert(property, { numRuns: 500 })
  t.pass()
})
