// Where the data of a COPY comes from, read in chunks of a size that is worth a call to Rust.
import { TextEncoder, types } from 'node:util'
import { ArgumentRangeError, ArgumentTypeError } from '../../errors.js'
import { asThenable, disregard, whenSettled } from '../../native/thenable.js'
import { expected } from '../../options/validate.js'

/** A stream of the web platform: what {@link CopySource} needs of a `ReadableStream`, of whatever library declares it. */
export interface CopyReadable {
  /** Locks the stream, and returns what reads it. */
  getReader(): {
    /** Reads the next chunk. */
    read(): Promise<{
      /** Whether the stream has ended. */
      done: boolean
      /** The chunk, unless it has. */
      value?: unknown
    }>
    /** Ends the stream early. */
    cancel(reason?: unknown): Promise<void>
  }
}

/**
 * The data of {@link Queryable.copyFrom}: bytes, or text that is sent as UTF-8; all of it at once, or anything that gives it
 * bit by bit: an array, a generator, a Node.js `Readable`, a web `ReadableStream`. Where one chunk ends and the next begins
 * means nothing, so lines and rows may lie across.
 */
export type CopySource =
  | string
  | Uint8Array
  | Iterable<string | Uint8Array>
  | AsyncIterable<string | Uint8Array>
  | CopyReadable

/** The data of {@link Queryable.binaryCopyToTable}: like a {@link CopySource}, of bytes alone. */
export type BinaryCopySource =
  Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array> | CopyReadable

/** A chunk is sent when it has so many bytes: a call costs the same whatever its size. */
const CHUNK = 64 * 1024
/** The longest chunk. Longer data is sent in parts. */
const LONGEST_CHUNK = 256 * 1024
/** The most bytes of a character in UTF-8. */
const LONGEST_CHARACTER = 4

const utf8 = new TextEncoder()

/** An item of a source: what `next()` gives. */
type Item = IteratorResult<unknown, unknown>

/** What is needed of a stream of Node.js beside its iteration. */
interface NodeReadable {
  destroy(): unknown
  on(event: 'error', listener: () => void): unknown
}

interface Items {
  next(): Item | Promise<Item>
  return?(): unknown
}

/** Reads a source. It is not touched before {@link SourceReader.open}. */
export class SourceReader {
  readonly #isText: boolean
  readonly #open: () => Items
  #items: Items | undefined
  readonly #buffer = Buffer.allocUnsafeSlow(CHUNK)
  #length = 0
  #isEnded = false
  /** Ends the wait for the next item. */
  #interrupt: (() => void) | undefined

  /** `isText`: strings are taken too. Throws {@link ArgumentTypeError} when the source is none. */
  constructor(source: unknown, isText: boolean) {
    this.#isText = isText
    this.#open = openerOf(source, isText)
  }

  /** Takes the source over: from now on it is read to its end, or ended by {@link SourceReader.stop}. */
  open(): void {
    this.#items = this.#open()
  }

  /** The next item; `undefined` when the reader was stopped. Rejects as the source does, or when it gives what is no item. */
  async next(): Promise<Item | undefined> {
    if (this.#isEnded || !this.#items) return undefined
    try {
      const next = this.#items.next()
      const later = asThenable(next)
      const item: unknown = later ? await this.#wait(later) : next
      if (this.#isEnded) return undefined
      checkItem('next() of source', item)
      if (item.done) this.#isEnded = true
      return item
    } catch (error) {
      // A source that has failed has ended.
      this.#isEnded = true
      throw error
    }
  }

  /**
   * Gathers an item. Yields each chunk that is ready to be sent; it holds until the next one is asked for.
   *
   * Throws {@link ArgumentTypeError} or {@link ArgumentRangeError} when the item is no data.
   */
  *gather(item: unknown): Generator<Uint8Array> {
    if (types.isUint8Array(item)) yield* this.#gatherBytes(item)
    else if (typeof item === 'string' && this.#isText) yield* this.#gatherText(item)
    else {
      const what = this.#isText ? 'a string or a Uint8Array' : 'a Uint8Array'
      throw new ArgumentTypeError(expected('a chunk of source', what, item))
    }
  }

  /** The chunk that is left at the end of the data, if one is. */
  rest(): Uint8Array | undefined {
    return this.#length > 0 ? this.#full() : undefined
  }

  /** Ends the source early. */
  stop(): void {
    if (this.#isEnded) return
    this.#isEnded = true
    this.#interrupt?.()
    if (this.#items) endEarly(this.#items)
  }

  /** Not `Promise.race()`: what never settles would keep one reaction for each item. */
  #wait(next: PromiseLike<unknown>): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#interrupt = () => resolve(undefined)
      whenSettled(next, resolve, reject)
    })
  }

  *#gatherBytes(bytes: Uint8Array): Generator<Uint8Array> {
    // Rust cannot read memory that another thread may write.
    let rest = types.isSharedArrayBuffer(bytes.buffer) ? Uint8Array.from(bytes) : bytes
    if (this.#length > 0) {
      const here = rest.subarray(0, CHUNK - this.#length)
      this.#keep(here)
      rest = rest.subarray(here.length)
      if (this.#length === CHUNK) yield this.#full()
    }
    while (rest.length >= CHUNK) {
      yield rest.subarray(0, LONGEST_CHUNK)
      rest = rest.subarray(LONGEST_CHUNK)
    }
    this.#keep(rest)
  }

  *#gatherText(text: string): Generator<Uint8Array> {
    if (!text.isWellFormed()) {
      throw new ArgumentRangeError(
        'Expected a chunk of `source` to be well-formed text, got a string with half of a surrogate pair',
      )
    }
    let at = 0
    while (at < text.length) {
      const room = this.#buffer.subarray(this.#length)
      const { read, written } = utf8.encodeInto(at === 0 ? text : text.slice(at), room)
      at += read
      this.#length += written
      if (this.#length > CHUNK - LONGEST_CHARACTER) yield this.#full()
    }
  }

  #keep(bytes: Uint8Array): void {
    this.#buffer.set(bytes, this.#length)
    this.#length += bytes.length
  }

  #full(): Uint8Array {
    const chunk = this.#buffer.subarray(0, this.#length)
    this.#length = 0
    return chunk
  }
}

/** Tells how a source is taken over. */
function openerOf(source: unknown, isText: boolean): () => Items {
  // An iteration of these would give characters or numbers.
  if (types.isUint8Array(source) || (isText && typeof source === 'string')) {
    return () => [source][Symbol.iterator]()
  }
  if (typeof source === 'object' && source !== null) {
    const it = source as Partial<
      AsyncIterable<unknown> & Iterable<unknown> & CopyReadable & NodeReadable
    >
    if (typeof it.getReader === 'function') return () => itemsOfWebStream(it as CopyReadable)
    if (typeof it[Symbol.asyncIterator] === 'function') {
      return () => {
        const items = it[Symbol.asyncIterator]!() as Items
        return typeof it.destroy === 'function'
          ? itemsOfNodeStream(it as NodeReadable, items)
          : items
      }
    }
    if (typeof it[Symbol.iterator] === 'function') return () => it[Symbol.iterator]!() as Items
  }
  const bytes = isText ? 'a string, a Uint8Array' : 'a Uint8Array'
  const what = `${bytes}, an iterable or a stream of them`
  throw new ArgumentTypeError(expected('source', what, source))
}

// Both kinds of streams are ended by themselves: the end of an iteration waits for the item that was asked for.

function itemsOfNodeStream(stream: NodeReadable, items: Items): Items {
  // It may fail before its first item is asked for, which then throws the same error.
  if (typeof stream.on === 'function') stream.on('error', () => {})
  return { next: () => items.next(), return: () => stream.destroy() }
}

function itemsOfWebStream(stream: CopyReadable): Items {
  const reader = stream.getReader()
  return {
    next: () => reader.read() as Promise<Item>,
    return: () => reader.cancel(),
  }
}

/** Checks what an iteration gives, as `for … of` does. */
export function checkItem(
  name: string,
  item: unknown,
): asserts item is IteratorResult<unknown, unknown> {
  if ((typeof item !== 'object' && typeof item !== 'function') || item === null)
    throw new ArgumentTypeError(expected(name, 'an object with `done` and `value`', item))
}

/** Ends an iteration early, without waiting for it: whoever is stuck in it may be so for ever. */
export function endEarly(items: { return?: (() => unknown) | undefined }): void {
  try {
    const returned = asThenable(items.return?.())
    if (returned) disregard(returned)
  } catch {
    // Nobody asked for the rest of the data.
  }
}
