// COPY TO STDOUT: data comes from the server no faster than it is read.
import { Readable } from 'node:stream'
import { brand } from '../../brand.js'
import type { NativeCopyOut } from '#native'
import { bridge } from '../../native/bridge.js'
import { type InspectArguments, inspectCustom, printed } from '../../native/inspect.js'
import { ConnectionExecuteError } from '../../errors.js'
import { copying, type StartCopy } from './copying.js'
import { occupant, vacate, type Occupiable } from '../occupant.js'

/** An item of the iteration. */
type Item = IteratorResult<Buffer, undefined>

const END: Item = { done: true, value: undefined }

/** The state of a `COPY` that has begun. It does not reach the stream, which is collected when nobody reads it any more. */
interface Outcome {
  rows: number | undefined
  /** Set when what it runs in has ended. */
  lost: { reason: unknown } | undefined
}

/**
 * The data of a `COPY TO STDOUT`, to be read once, in one of these ways:
 *
 * ```ts
 * for await (const chunk of connection.copyTo('COPY t TO STDOUT')) hash.update(chunk)
 * await pipeline(connection.copyTo('COPY t TO STDOUT').readable(), createWriteStream('t.tsv'))
 * const gzipped = connection.copyTo('COPY t TO STDOUT').stream.pipeThrough(new CompressionStream('gzip'))
 * ```
 *
 * The `COPY` begins when the first chunk is asked for. Chunks have up to 256 KiB, and end anywhere: a row may lie across two.
 * From then on until its end the connection, or the transaction, runs nothing else. A reader that stops reading holds the
 * server up, with some MiB on the way.
 *
 * An early end of the reading (`break`, `destroy()`, `cancel()`, {@link CopyStream.close}) cancels the `COPY` on the server.
 * The connection can be used again then; a transaction goes on too, without what an `INSERT … RETURNING` in the `COPY` did. Outside of a
 * transaction that stays if the server had sent everything by then. So it is with the collection as garbage of a stream that nobody reads
 * any more.
 *
 * Reading rejects with {@link ConnectionExecuteError} when the statement is no `COPY TO STDOUT`, and as
 * {@link Queryable.execute} does.
 */
export class CopyStream implements AsyncIterable<Buffer>, AsyncDisposable {
  readonly #place: Occupiable
  readonly #sql: string
  readonly #start: StartCopy
  readonly #outcome: Outcome = { rows: undefined, lost: undefined }
  /** Whether somebody reads it, or nobody can any more. */
  #isTaken = false
  #web: ReadableStream<Uint8Array> | undefined
  /** Rust's end; not there before the lease is. */
  #native: NativeCopyOut | undefined
  /** Called when {@link CopyStream.#native} is there. */
  #onBegun: (() => void) | undefined
  /** The number of rows, once the `COPY` has begun. */
  #rows: Promise<number> | undefined
  /** Lets the connection take other calls, which come behind the end of the `COPY`. */
  #vacate: (() => void) | undefined
  #isOver = false
  /** The chunk that was asked for last. */
  #last: Promise<unknown> = Promise.resolve()

  private constructor(place: Occupiable, sql: string, start: StartCopy) {
    this.#place = place
    this.#sql = sql
    this.#start = start
  }

  /** @internal Makes the stream of a statement. */
  static of(place: Occupiable, sql: string, start: StartCopy): CopyStream {
    return new CopyStream(place, sql, start)
  }

  /** The number of rows, once all of them were read; `undefined` before, and after an early end. */
  get rowCount(): number | undefined {
    return this.#outcome.rows
  }

  /**
   * Iterates over the chunks. The iteration's `return()` does not wait for the chunk that was asked for.
   *
   * @throws {@link ConnectionExecuteError} when the data is read already, or was.
   */
  [Symbol.asyncIterator](): AsyncIterator<Buffer, undefined> {
    if (this.#isTaken) throw new ConnectionExecuteError('The data of a COPY can be read only once')
    this.#isTaken = true
    return {
      next: () => this.#next(),
      return: async () => {
        await this.close()
        return END
      },
    }
  }

  /**
   * Returns a Node.js stream of the data. Its `destroy()` cancels the `COPY`.
   *
   * @throws {@link ConnectionExecuteError} when the data is read already, or was.
   */
  readable(): Readable {
    // One chunk at a time: what waits does so on the side of Rust.
    return Readable.from(this, { objectMode: false, highWaterMark: 1 })
  }

  /**
   * The data as a stream of the web platform, always the same one. Its `cancel()` cancels the `COPY`.
   *
   * @throws {@link ConnectionExecuteError} at the first time, when the data is read already, or was.
   */
  get stream(): ReadableStream<Uint8Array> {
    if (!this.#web) {
      const chunks = this[Symbol.asyncIterator]()
      this.#web = new (webStreams().ReadableStream)<Uint8Array>(
        {
          pull: async (controller) => {
            const item = await chunks.next()
            if (item.done) controller.close()
            else controller.enqueue(item.value)
          },
          cancel: async () => {
            await chunks.return!()
          },
        },
        { highWaterMark: 0 },
      )
    }
    return this.#web
  }

  /**
   * Ends the reading. Resolves when the `COPY` was cancelled on the server, or had ended. The connection can be used at once:
   * what is called next waits for that. A second call has no effect, nor has one after the end.
   */
  async close(): Promise<void> {
    this.#isTaken = true
    this.#isOver = true
    this.#native?.giveUp()
    this.#vacate?.()
    await this.#rows?.catch(() => {})
  }

  /** Ends the reading, as {@link CopyStream.close} does. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** @internal */
  [inspectCustom](...how: InspectArguments): string {
    const isOpen = this.#rows !== undefined && this.#place[occupant] !== undefined
    return printed('CopyStream', { isOpen, rowCount: this.rowCount }, how)
  }

  /** The next chunk, behind those that were asked for before. */
  #next(): Promise<Item> {
    const next = this.#last.then(() => this.#read())
    this.#last = next.catch(() => {})
    return next
  }

  async #read(): Promise<Item> {
    if (this.#isOver) return END
    try {
      this.#rows ??= this.#begin()
      const native = this.#native ?? (await this.#begun())
      const chunk = native && (await bridge.call<Buffer | null>((id) => native.next(id)))
      if (this.#isOver) return END
      if (chunk) return { done: false, value: chunk }
      await this.#rows
      this.#isOver = true
      return END
    } catch (error) {
      // It was closed meanwhile.
      if (this.#isOver) return END
      this.#isOver = true
      throw this.#outcome.lost ? this.#outcome.lost.reason : error
    }
  }

  /** Begins the `COPY`. Nothing that outlives this call may hold the stream, or it would never be collected. */
  #begin(): Promise<number> {
    const self = new WeakRef(this)
    const [sql, place, outcome] = [this.#sql, this.#place, this.#outcome]
    const rows = this.#start((lease, id, bounds) => {
      const native = lease.copyTo(id, sql, bounds)
      const stream = self.deref()
      if (stream && !stream.#isOver && !outcome.lost) stream.#native = native
      else native.giveUp()
      if (stream) stream.#onBegun?.()
    })
    const who = copying((reason) => {
      outcome.lost ??= { reason }
      const stream = self.deref()
      if (stream && stream.#native) stream.#native.giveUp()
    })
    place[occupant] = who
    this.#vacate = () => vacate(place, who)
    return ended(rows, outcome, this.#vacate)
  }

  /** Waits for Rust's end; `undefined` when the operation is over without one. */
  async #begun(): Promise<NativeCopyOut | undefined> {
    await Promise.race([
      new Promise<void>((resolve) => {
        this.#onBegun = resolve
      }),
      this.#rows,
    ])
    return this.#native
  }
}

brand(CopyStream, 'CopyStream')

/**
 * The streams of the web: those of the context, which a context of `vm` may lack. They are asked for when they are needed, as
 * Node.js takes some ms to load them.
 */
function webStreams(): { ReadableStream: typeof ReadableStream } {
  const { ReadableStream: own } = globalThis as { ReadableStream?: typeof ReadableStream }
  return own ? { ReadableStream: own } : process.getBuiltinModule('node:stream/web')
}

/** Notes how an operation ends. A function of its own, so that it holds nothing else. */
function ended(operation: Promise<number>, outcome: Outcome, then: () => void): Promise<number> {
  const rows = operation.then((count) => {
    outcome.rows = count
    return count
  })
  const settled = rows.finally(then)
  // Whoever reads learns of it with the next chunk.
  settled.catch(() => {})
  return settled
}
