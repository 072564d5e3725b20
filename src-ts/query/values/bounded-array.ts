// An array whose indices do not begin at 1.
import { brand } from '../../brand.js'
import { ArgumentTypeError } from '../../errors.js'
import { expected } from '../../options/validate.js'

/**
 * A PostgreSQL array with lower bounds, such as `[2:4]={1,2,3}`. It can be given as a parameter. It is read where the option `arrayBounds`
 * is `keep`, for an array that has other lower bounds than 1, and always for an array of `json` or `jsonb` that has several dimensions:
 * an array within an array of JSON could be JSON itself, which it is in a plain array.
 */
export class BoundedArray<Element = unknown> {
  /** The index of the first element of each dimension, integers of 32 bits. */
  readonly lowerBounds: readonly number[]
  /** The elements, nested for each dimension. */
  readonly values: readonly Element[]

  /**
   * @param values - The elements, nested for each dimension.
   * @param lowerBounds - The index of the first element of each dimension.
   * @throws {@link ArgumentTypeError} when an argument is no such array.
   */
  constructor(values: readonly Element[], lowerBounds: readonly number[]) {
    if (!Array.isArray(values)) throw new ArgumentTypeError(expected('values', 'an array', values))
    if (!Array.isArray(lowerBounds) || !lowerBounds.every(isInt32)) {
      throw new ArgumentTypeError(
        expected('lowerBounds', 'an array of integers of 32 bits', lowerBounds),
      )
    }
    this.values = values
    this.lowerBounds = lowerBounds
  }
}

function isInt32(value: unknown): boolean {
  return typeof value === 'number' && (value | 0) === value
}

brand(BoundedArray, 'BoundedArray')
