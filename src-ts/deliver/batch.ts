// A batch of entries as it comes from Rust: values, and an array of numbers. Mirrored in `src-rs/binding/batch.rs`, which
// draws the layout.

/** Stands in place of a channel's number for an entry that is not a notification. */
export const SPECIAL = 0xffff_ffff

/** The kinds of entries that are not notifications; such an entry has it in place of a process id. */
export const enum SpecialKind {
  Gap = 0,
  Fence = 1,
  End = 2,
}

/** How many numbers each entry has: its channel and its process id. */
const NUMBERS = 2
/** How many numbers belong to no entry. */
const TOTALS = 4

/** The numbers that belong to no entry, by their places from the end. */
const enum Total {
  Count = 4,
  Specials = 3,
  IsSingle = 2,
  IsEmpty = 1,
}

/** Collects values from Rust in an array: as the arguments of one call they cross faster than one by one. */
export const asArray = (...values: unknown[]): unknown[] => values

/** An array with room for so many values, so that it is not copied while it grows. */
export function arrayFor<Value>(length: number): Value[] {
  // oxlint-disable-next-line unicorn/no-new-array -- the length is what is meant
  return new Array<Value>(length)
}

/** The numbers of a batch, in columns. */
export class BatchNumbers {
  /** The array into which Rust writes. */
  readonly array: Uint32Array<ArrayBuffer>
  /** How many entries a batch can have: those that were asked for, and the end of the stream. */
  readonly #places: number

  /**
   * Makes room for so many entries. Rust keeps the array's address. The array therefore gets an explicit buffer: an engine
   * may move a small array without one.
   */
  constructor(entries: number) {
    this.#places = entries + 1
    const length = NUMBERS * this.#places + TOTALS
    this.array = new Uint32Array(new ArrayBuffer(Uint32Array.BYTES_PER_ELEMENT * length))
  }

  /** How many entries the batch has. */
  get count(): number {
    return this.#total(Total.Count)
  }

  /** How many of the entries are no notifications. */
  get specials(): number {
    return this.#total(Total.Specials)
  }

  /** Whether all notifications have the same channel. */
  get isSingle(): boolean {
    return this.#total(Total.IsSingle) === 1
  }

  /** Whether the batch left nothing in the buffer. */
  get isEmpty(): boolean {
    return this.#total(Total.IsEmpty) === 1
  }

  #total(place: Total): number {
    return this.array[this.array.length - place]!
  }

  /** Sets the numbers of an entry. Does not count it. */
  set(index: number, channelId: number, processId: number): void {
    this.array[index] = channelId
    this.array[this.#places + index] = processId
  }

  /** The number of an entry's channel, or {@link SPECIAL}. */
  channelId(index: number): number {
    return this.array[index]!
  }

  /** The process id of a notification, or the {@link SpecialKind} of another entry. */
  processId(index: number): number {
    return this.array[this.#places + index]!
  }

  /** A copy of all process ids. */
  processIds(): Int32Array<ArrayBuffer> {
    const from = Uint32Array.BYTES_PER_ELEMENT * this.#places
    const end = from + Uint32Array.BYTES_PER_ELEMENT * this.count
    return new Int32Array(this.array.buffer.slice(from, end))
  }
}
