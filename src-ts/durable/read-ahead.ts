// What is read while something else is worked: the events of a walk that follow a batch.
import type { Queryable } from '../query/queryable.js'
import type { Row, Stretch, Walk } from './event.js'
import type { Partition } from './partition.js'

/** Behind a batch with payloads of more UTF-16 units than this nothing is read ahead: two such batches would be held at a time. */
const MOST_HELD = 1024 * 1024

/** The events of the next batch, on their way. */
export class ReadAhead {
  /** Why they cannot be read. The transaction is over by that. */
  failure: { reason: unknown } | undefined
  readonly #stretch: Promise<Stretch | undefined>

  private constructor(rows: Promise<Row[]>, most: number, walk: Walk) {
    // The end of a walk is not read ahead: it is taken with what has come since.
    this.#stretch = rows.then((next) => (next.length === most ? { walk, rows: next } : undefined))
    this.#stretch.catch((reason: unknown) => {
      this.failure = { reason }
    })
  }

  /**
   * Reads at most so many events on from where a walk stands, behind the statements that were sent before. The server reads while
   * JavaScript works the batch `held`.
   */
  static of(
    partition: Partition,
    queryable: Queryable,
    most: number,
    held: readonly Row[],
    walk: Walk,
  ): ReadAhead | undefined {
    let size = 0
    for (const [, , , payload] of held) size += payload.length
    if (size > MOST_HELD) return undefined
    return new ReadAhead(partition.readOn(queryable, most, walk), most, walk)
  }

  /** What was read; `undefined` where the batch is to be taken instead. */
  read(): Promise<Stretch | undefined> {
    return this.#stretch
  }
}
