// Statements of this package's own that are sent together with the begin and the end of transactions.
import type { NativeLease, NativeQueryOutput } from '#native'
import { PglistenError } from '../../errors.js'
import { bridge } from '../../native/bridge.js'
import { completedBefore } from '../../native/native-errors.js'
import { DEFAULT_TYPES } from '../../options/types.js'
import { bounded, type CallOptions } from '../bounds.js'
import { observed, type Observable } from '../observed.js'
import { splitPipeline, textOf, toPipelineLists } from '../pipeline.js'
import type { QueryParameter } from '../parameters/parameters.js'

/** @internal A statement that is sent with others. */
export type Companion = readonly [sql: string, params: readonly QueryParameter[]]

/** @internal Statements on their way, all sent in one go. The server skips those behind one that fails. */
export class Flight {
  readonly #outputs: Promise<NativeQueryOutput[]>

  constructor(
    where: Observable,
    lease: NativeLease,
    statements: readonly Companion[],
    bounds: CallOptions,
  ) {
    const split = splitPipeline(statements)
    const { texts, order } = split
    const params = toPipelineLists(split, DEFAULT_TYPES)
    this.#outputs = observed(
      where,
      'pipeline',
      () => textOf(split),
      () =>
        bounded(bounds, (within) =>
          bridge.call((id) =>
            lease.pipeline(id, texts, order, params, DEFAULT_TYPES.dates, within),
          ),
        ),
    )
    // Whoever needs one of them asks for it.
    this.#outputs.catch(() => {})
  }

  /** Resolves once the statement has succeeded, though one behind it may have failed. */
  async done(index: number): Promise<void> {
    try {
      await this.#outputs
    } catch (error) {
      if (completedBefore(error) <= index) throw alone(error)
    }
  }

  /** The result of the last statement. */
  async last(): Promise<NativeQueryOutput> {
    try {
      return (await this.#outputs).at(-1)!
    } catch (error) {
      throw alone(error)
    }
  }
}

/** @internal An error as that of one statement: users know of no pipeline. */
export function alone(error: unknown): unknown {
  if (!(error instanceof PglistenError) || error.statementIndex === undefined) return error
  const place = `Statement ${error.statementIndex} of the pipeline: `
  error.message = error.message.replace(place, '')
  if (error.stack !== undefined) error.stack = error.stack.replace(place, '')
  delete error.statementIndex
  return error
}
