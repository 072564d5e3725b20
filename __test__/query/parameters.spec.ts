// The conversion of parameters on their way to the addon, without a server. Errors are told apart by name: the loader of
// the tests makes two modules of a source that is imported and required.

import test from 'ava'
import * as fc from 'fast-check'
import { toNativeParameters } from '../../src-ts/query/parameters/parameters.js'

const INT64 = { min: -(2n ** 63n), max: 2n ** 63n - 1n }

/** What crosses as it is. */
const plain = fc.oneof(
  fc.constant(null),
  fc.boolean(),
  fc.double(),
  fc.integer(),
  fc.bigInt(INT64),
  fc.string({ unit: 'binary' }),
  fc.date({ noInvalidDate: true }),
  fc.uint8Array(),
)

test('plain values cross as they are, one by one and within arrays', (t) => {
  const nested = fc.letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof({ maxDepth: 4 }, plain, fc.array(tie('value'), { maxLength: 4 })),
  })).value
  const property = fc.property(fc.array(nested, { maxLength: 8 }), (params) => {
    t.deepEqual(toNativeParameters(params), params)
  })
  fc.assert(property, { numRuns: 500 })
})

test('an integer beyond 64 bits crosses with all of its digits', (t) => {
  const beyond = fc.oneof(
    fc.bigInt({ min: INT64.max + 1n, max: 2n ** 200n }),
    fc.bigInt({ min: -(2n ** 200n), max: INT64.min - 1n }),
  )
  const property = fc.property(beyond, (value) => {
    t.deepEqual(toNativeParameters([value]), [{ integer: value.toString() }])
  })
  fc.assert(property)
})

test('any other object crosses as the JSON that it stands for', (t) => {
  // JSON has no exact form of -0 and of integers beyond 2^53.
  const hasForm = (value: unknown) => {
    const numbers: number[] = []
    JSON.stringify(value, (_, part: unknown) => {
      if (typeof part === 'number') numbers.push(part)
      return part
    })
    return numbers.every((n) => !Object.is(n, -0) && (Number.isSafeInteger(n) || n % 1 !== 0))
  }
  const objects = fc.dictionary(fc.string(), fc.jsonValue().filter(hasForm), {
    noNullPrototype: true,
  })
  const property = fc.property(objects, (value) => {
    const [native] = toNativeParameters([value]) as [{ json: string }]
    t.deepEqual(Object.keys(native), ['json'])
    t.deepEqual(JSON.parse(native.json), JSON.parse(JSON.stringify(value)))
  })
  fc.assert(property, { numRuns: 500 })
})

test('what the server could not take is refused, and the message says where it stands', (t) => {
  const refused: [unknown, string][] = [
    [undefined, 'ArgumentTypeError'],
    [Symbol('s'), 'ArgumentTypeError'],
    [() => {}, 'ArgumentTypeError'],
    [new Map([[1, 1]]), 'ArgumentTypeError'],
    [Promise.resolve(), 'ArgumentTypeError'],
    [/x/, 'ArgumentTypeError'],
    [new Date(NaN), 'ArgumentTypeError'],
    [{ toJSON: () => undefined }, 'ArgumentTypeError'],
    ['\ud83d', 'ArgumentRangeError'],
  ]
  const property = fc.property(
    fc.array(plain, { maxLength: 5 }),
    fc.constantFrom(...refused),
    fc.nat({ max: 3 }),
    (before, [value, name], depth) => {
      let nested = value
      for (let level = 0; level < depth; level += 1) nested = [nested]
      const place = `params[${before.length}]${'[0]'.repeat(depth)}`
      const error = t.throws(() => toNativeParameters([...before, nested]), { name })
      t.true(error.message.includes(place), error.message)
    },
  )
  fc.assert(property, { numRuns: 500 })
})

test('no nesting is too deep for the stack: beyond a hundred levels it is refused', (t) => {
  const property = fc.property(fc.integer({ min: 1, max: 20_000 }), (levels) => {
    let value: unknown = 1
    for (let level = 0; level < levels; level += 1) value = [value]
    if (levels <= 100) t.notThrows(() => toNativeParameters([value]))
    else t.throws(() => toNativeParameters([value]), { name: 'ArgumentTypeError' })
  })
  fc.assert(property, { numRuns: 50 })
})

test('a hole of an array is no null', (t) => {
  // oxlint-disable-next-line no-sparse-arrays -- on purpose.
  t.throws(() => toNativeParameters([1, , 2]), { name: 'ArgumentTypeError' })
})
