// The checks of options, without a server: what passes and what does not, for any value.

import test from 'ava'
import * as fc from 'fast-check'
import {
  MAX_CHANNEL_BYTES,
  MAX_DELAY_MS,
  MAX_PAYLOAD_BYTES,
  checkChannel,
  checkNumber,
  checkOneOf,
  checkOptions,
  checkPayload,
  describe,
  type NumberBounds,
} from '../../src-ts/options/validate.js'
import { resolveListenerOptions } from '../../src-ts/options/listener.js'
import { bytes, names, wellFormed } from '../support/names.js'

/** How a check ends: it passes, or it refuses the type or the value. */
function outcome(check: () => void): 'passes' | 'type' | 'range' {
  try {
    check()
    return 'passes'
  } catch (error) {
    // By name: the loader of the tests makes two modules of a source that is imported and required.
    const { name } = error as Error
    if (name === 'ArgumentTypeError') return 'type'
    if (name === 'ArgumentRangeError') return 'range'
    throw error
  }
}

/** Numbers near bounds and at the ends of what there is, besides any. */
const numbers = fc.oneof(
  fc.double(),
  fc.integer(),
  fc.integer({ min: -2, max: 12 }),
  fc.constantFrom(NaN, Infinity, -Infinity, -0, Number.MAX_SAFE_INTEGER, 2 ** 53, 2 ** 31 - 1),
)
const anything = fc.anything({ withBigInt: true, withDate: true, withNullPrototype: true })
const bounds: fc.Arbitrary<NumberBounds> = fc
  .record(
    {
      min: fc.integer({ min: 0, max: 10 }),
      above: fc.integer({ min: 0, max: 2 ** 31 }),
      integer: fc.boolean(),
      infinity: fc.boolean(),
    },
    { requiredKeys: ['min'] },
  )
  .map(({ above, ...rest }) =>
    above === undefined ? rest : Object.assign(rest, { max: rest.min + above }),
  )

test('a number passes exactly when it is within the bounds, and an integer where one is asked for', (t) => {
  const property = fc.property(numbers, bounds, (value, limits) => {
    const { min, max = Number.MAX_SAFE_INTEGER, integer = false, infinity = false } = limits
    const fits =
      (infinity && value === Infinity) ||
      (value >= min && value <= max && (!integer || Number.isInteger(value)))
    t.is(
      outcome(() => checkNumber('n', value, limits)),
      fits ? 'passes' : 'range',
    )
  })
  fc.assert(property, { numRuns: 2000 })
})

test('what is no number is refused for its type, whatever it would convert to', (t) => {
  const property = fc.property(
    anything.filter((value) => typeof value !== 'number'),
    bounds,
    (value, limits) => {
      t.is(
        outcome(() => checkNumber('n', value, limits)),
        'type',
      )
    },
  )
  fc.assert(property, { numRuns: 1000 })
})

test('a duration is a number of milliseconds that a timer can count', (t) => {
  const durations: Record<string, (ms: unknown) => object> = {
    'heartbeat.timeoutMs': (timeoutMs) => ({ heartbeat: { timeoutMs } }),
    'reconnect.maxDelayMs': (maxDelayMs) => ({ reconnect: { maxDelayMs, initialDelayMs: 1 } }),
    'reconnect.stableAfterMs': (stableAfterMs) => ({ reconnect: { stableAfterMs } }),
    'buffer.maxPauseMs': (maxPauseMs) => ({ buffer: { maxPauseMs } }),
  }
  const property = fc.property(
    fc.constantFrom(...Object.keys(durations)),
    fc.oneof(numbers, anything),
    (name, ms) => {
      if (ms === undefined) return
      const result = outcome(() => resolveListenerOptions(durations[name]!(ms)))
      if (typeof ms !== 'number') t.is(result, 'type')
      else if (!(ms >= 0 && ms <= MAX_DELAY_MS)) t.is(result, 'range')
      else if (ms >= 1 && Number.isInteger(ms)) t.is(result, 'passes')
    },
  )
  fc.assert(property, { numRuns: 2000 })
})

test('a message of a check is one short line that names the option', (t) => {
  const property = fc.property(anything, (value) => {
    const text = describe(value)
    t.false(/[\n\0]/.test(text))
    t.true(text.length < 200, text)
    const error = t.throws(() => checkNumber('buffer.maxBytes', [value], { min: 1 }))
    t.regex(error.message, /^Expected `buffer\.maxBytes` to be a number >= 1, got an array$/)
  })
  fc.assert(property, { numRuns: 500 })
})

test('of names and payloads exactly those pass that the server can take whole', (t) => {
  const texts = fc.oneof(
    names,
    fc.string({ unit: 'binary', maxLength: 80 }),
    fc.string({ unit: 'grapheme', maxLength: 80 }),
    fc
      .tuple(fc.string(), fc.constantFrom('\ud83d', '\udc00', '\0'), fc.string())
      .map((parts) => parts.join('')),
    fc.integer({ min: 7990, max: 8010 }).map((length) => 'x'.repeat(length)),
  )
  const property = fc.property(texts, (text) => {
    const fits = (most: number) => wellFormed(text) && bytes(text) <= most
    t.is(
      outcome(() => checkChannel(text)),
      text !== '' && fits(MAX_CHANNEL_BYTES) ? 'passes' : 'range',
    )
    t.is(
      outcome(() => checkPayload(text)),
      fits(MAX_PAYLOAD_BYTES) ? 'passes' : 'range',
    )
  })
  fc.assert(property, { numRuns: 1000 })
})

const isLiteral = (value: object) =>
  [null, Object.prototype].includes(Object.getPrototypeOf(value) as object | null)

test('only the listed choices and the known options pass', (t) => {
  const known = ['pause', 'error'] as const
  const property = fc.property(fc.oneof(anything, fc.constantFrom(...known)), (value) => {
    t.is(
      outcome(() => checkOneOf('overflow', value, known)),
      (known as readonly unknown[]).includes(value) ? 'passes' : 'type',
    )
    const isOptions =
      typeof value === 'object' &&
      value !== null &&
      !Array.isArray(value) &&
      Object.keys(value).every((key) => (known as readonly string[]).includes(key)) &&
      // An empty map is no options.
      (Object.keys(value).length > 0 || isLiteral(value))
    t.is(
      outcome(() => checkOptions('options', value, known)),
      isOptions ? 'passes' : 'type',
    )
  })
  fc.assert(property, { numRuns: 1000 })
})
