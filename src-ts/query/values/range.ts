// A PostgreSQL range.
import { brand } from '../../brand.js'

/** What a {@link Range} is made of. */
export interface RangeParts<Bound> {
  /**
   * The lower bound; `null` for none.
   * @default null
   */
  lower?: Bound | null
  /**
   * The upper bound; `null` for none.
   * @default null
   */
  upper?: Bound | null
  /**
   * Whether the lower bound is part of the range.
   * @default true
   */
  lowerInclusive?: boolean
  /**
   * Whether the upper bound is part of the range.
   * @default false
   */
  upperInclusive?: boolean
  /**
   * Whether the range holds nothing. Then it has no bounds.
   * @default false
   */
  isEmpty?: boolean
}

/**
 * A range, of any range type: `new Range({ lower: 1, upper: 5 })` is `[1,5)`. A bound that is infinite by its own value, such as a
 * timestamp of `infinity`, differs from a bound that is not there.
 *
 * PostgreSQL writes a range of integers or days as one that holds its lower bound and not its upper one: `[1,5]` is read as `[1,6)`.
 */
export class Range<Bound = unknown> {
  /** The lower bound; `null` if there is none. */
  readonly lower: Bound | null
  /** The upper bound; `null` if there is none. */
  readonly upper: Bound | null
  /** Whether the lower bound is part of the range; `false` if there is none. */
  readonly lowerInclusive: boolean
  /** Whether the upper bound is part of the range; `false` if there is none. */
  readonly upperInclusive: boolean
  /** Whether the range holds nothing. */
  readonly isEmpty: boolean

  /** @param parts - The parts. @default a range without bounds */
  constructor(parts: RangeParts<Bound> = {}) {
    const { isEmpty = false } = parts
    this.isEmpty = isEmpty
    this.lower = isEmpty ? null : (parts.lower ?? null)
    this.upper = isEmpty ? null : (parts.upper ?? null)
    this.lowerInclusive = this.lower !== null && (parts.lowerInclusive ?? true)
    this.upperInclusive = this.upper !== null && (parts.upperInclusive ?? false)
  }

  /** A range that holds nothing. */
  static empty<Bound = never>(): Range<Bound> {
    return new Range<Bound>({ isEmpty: true })
  }

  /** Returns the range as mathematicians write it, such as `[1,5)`, for people. */
  toString(): string {
    if (this.isEmpty) return 'empty'
    const { lower, upper } = this
    const bound = (value: Bound | null) =>
      value === null ? '' : value instanceof Date ? value.toISOString() : String(value)
    return `${this.lowerInclusive ? '[' : '('}${bound(lower)},${bound(upper)}${this.upperInclusive ? ']' : ')'}`
  }
}

brand(Range, 'Range')
