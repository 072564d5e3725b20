// A PostgreSQL interval, exact.
import { brand } from '../../brand.js'
import { ArgumentRangeError, ArgumentTypeError } from '../../errors.js'
import { signed, timeText } from '../../options/interval-text.js'
import { expected } from '../../options/validate.js'

const MAX_INT32 = 2 ** 31 - 1
const MAX_INT64 = 2n ** 63n - 1n

/**
 * An `interval`: months, days and microseconds, each with a sign of its own, as PostgreSQL keeps them. A month has no fixed number of
 * days, nor a day one of hours, so none is folded into another: 25 hours stay 25 hours.
 *
 * An infinite interval, which PostgreSQL has since version 17, is read as `Infinity` or `-Infinity`.
 */
export class Interval {
  /** Whole months, of which a year has 12. */
  readonly months: number
  /** Whole days, of which a week has 7. */
  readonly days: number
  /** Microseconds. */
  readonly microseconds: bigint

  /**
   * @param parts - The parts. What is left out is 0.
   * @throws {@link ArgumentTypeError} or {@link ArgumentRangeError} when `months` or `days` is not an integer of 32 bits, or
   * `microseconds` not one of 64 bits.
   */
  constructor(parts: { months?: number; days?: number; microseconds?: bigint | number } = {}) {
    const { months = 0, days = 0, microseconds = 0n } = parts
    checkInt32('months', months)
    checkInt32('days', days)
    if (typeof microseconds !== 'bigint' && !Number.isSafeInteger(microseconds)) {
      throw new ArgumentTypeError(
        expected('microseconds', 'a bigint or a safe integer', microseconds),
      )
    }
    // A count of none has no sign: `-0 + 0` is 0.
    this.months = months + 0
    this.days = days + 0
    this.microseconds = BigInt(microseconds)
    if (this.microseconds > MAX_INT64 || this.microseconds < -MAX_INT64 - 1n) {
      throw new ArgumentRangeError(
        `Expected \`microseconds\` to be an integer of 64 bits, got ${microseconds}`,
      )
    }
  }

  /**
   * Returns the text that PostgreSQL reads, whatever its `IntervalStyle` is: `+14 months -3 days +5 microseconds`. Microseconds beyond
   * 32 bits are told with hours and minutes before them.
   */
  toString(): string {
    return `${signed(this.months)} months ${signed(this.days)} days ${timeText(this.microseconds)}`
  }

  /** Returns the text of {@link Interval.toString}, since JSON has no bigint. */
  toJSON(): string {
    return this.toString()
  }
}

brand(Interval, 'Interval')

function checkInt32(name: string, value: unknown): void {
  if (typeof value !== 'number') throw new ArgumentTypeError(expected(name, 'a number', value))
  if (!Number.isInteger(value) || value > MAX_INT32 || value < -MAX_INT32 - 1) {
    throw new ArgumentRangeError(`Expected \`${name}\` to be an integer of 32 bits, got ${value}`)
  }
}
