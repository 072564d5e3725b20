// The values of a result as they cross from Rust: flat streams, and how far each was read.
import type { NativeQueryOutput } from '#native'

/** Reads the streams of a result from their beginnings. Each position is the index of what is read next. */
export class Tape {
  /** A character for each value: code 0 for null, 1 for a value, 2 for a value in another form. */
  readonly flags: string
  /** Numbers, lengths and moments. */
  readonly numbers: ArrayLike<number>
  /** Integers of 64 bits. */
  readonly integers: ArrayLike<bigint>
  /** Texts. */
  readonly texts: readonly string[]
  /** Bytes, one value after the other. */
  readonly bytes: Uint8Array
  /** The position in `flags`. */
  flag = 0
  /** The position in `numbers`. */
  number = 0
  /** The position in `integers`. */
  integer = 0
  /** The position in `texts`. */
  text = 0
  /** The position in `bytes`. */
  byte = 0

  /** Begins to read a result. */
  constructor({ flags, numbers, integers, texts, bytes }: NativeQueryOutput) {
    this.flags = flags
    this.numbers = numbers
    this.integers = integers
    this.texts = texts
    this.bytes = bytes
  }
}
