// COPY FROM STDIN: data goes to the server as fast as the server takes it, and no faster than its source gives it.
import type { NativeCopyIn } from '#native'
import { bridge } from '../../native/bridge.js'
import { ArgumentTypeError } from '../../errors.js'
import { checkOptions, expected } from '../../options/validate.js'
import { resolveCallOptions, type CallOptions } from '../bounds.js'
import type { SourceReader } from './source.js'
import { copying, type StartCopy } from './copying.js'
import { quoteName } from '../identifiers.js'
import { occupant, vacate, type Occupiable } from '../occupant.js'

/** The options of {@link Queryable.binaryCopyToTable}. */
export interface BinaryCopyOptions extends CallOptions {
  /** The schema of the table. @default the first of the session's `search_path` that has the table */
  schema?: string | undefined
  /** The columns that the data has, in their order; the others get their defaults. @default all of the table's */
  columns?: readonly string[] | undefined
}

/** @internal Runs a `COPY FROM STDIN` with the data of a source. Resolves to the number of rows. */
export async function copyFrom(
  place: Occupiable,
  sql: string,
  reader: SourceReader,
  start: StartCopy,
): Promise<number> {
  const copy = new CopyingIn(reader)
  const rows = start((lease, id, bounds) => copy.begun(lease.copyFrom(id, sql, bounds)))
  // A call that was refused until here has left the source as it was.
  const who = copying((reason) => copy.giveUp(reason))
  place[occupant] = who
  try {
    return await copy.run(rows)
  } finally {
    vacate(place, who)
  }
}

/** A `COPY FROM STDIN` that is under way. */
class CopyingIn {
  readonly #reader: SourceReader
  readonly #begun: Promise<NativeCopyIn>
  readonly #resolveBegun: (native: NativeCopyIn) => void
  /** Rust's end; not there before the lease is. */
  #native: NativeCopyIn | undefined
  /** Set when the source has failed. */
  #failed: { error: unknown } | undefined
  /** Set when what it runs in has ended. */
  #lost: { reason: unknown } | undefined

  constructor(reader: SourceReader) {
    this.#reader = reader
    let resolveBegun!: (native: NativeCopyIn) => void
    this.#begun = new Promise((resolve) => {
      resolveBegun = resolve
    })
    this.#resolveBegun = resolveBegun
  }

  begun(native: NativeCopyIn): void {
    this.#native = native
    if (this.#lost) native.giveUp()
    this.#resolveBegun(native)
  }

  /** Ends it early; `reason` is its error. */
  giveUp(reason: unknown): void {
    this.#lost ??= { reason }
    this.#native?.giveUp()
  }

  /** Sends the data, and gives the outcome. */
  async run(rows: Promise<number>): Promise<number> {
    try {
      const [count] = await Promise.all([rows, this.#feed()])
      return count
    } catch (error) {
      if (this.#failed) throw this.#failed.error
      if (this.#lost) throw this.#lost.reason
      throw error
    } finally {
      // However the operation has ended, nobody waits for the source any longer.
      this.#reader.stop()
    }
  }

  /** Sends the data, unless the operation ends before. Never rejects: a source that fails makes the operation fail. */
  async #feed(): Promise<void> {
    let native: NativeCopyIn | undefined
    try {
      this.#reader.open()
      native = await this.#begun
      // Nothing is taken from the source before the server asks for it.
      if (await isReady(native)) await this.#send(native)
    } catch (error) {
      this.#failed = { error }
      // Where the source cannot even be opened, the lease may still be to come.
      native ??= await this.#begun
      native.fail()
    }
  }

  /** Sends the data to its end, or until the server takes no more. Rejects as the source does. */
  async #send(native: NativeCopyIn): Promise<void> {
    for (;;) {
      const item = await this.#reader.next()
      if (!item) return
      if (item.done) break
      for (const chunk of this.#reader.gather(item.value)) {
        if (!(await write(native, chunk))) return
      }
    }
    const rest = this.#reader.rest()
    if (!rest || (await write(native, rest))) native.finish()
  }
}

function isReady(native: NativeCopyIn): Promise<boolean> {
  return bridge.call((id) => native.ready(id))
}

function write(native: NativeCopyIn, chunk: Uint8Array): Promise<boolean> {
  return bridge.call((id) => native.write(id, chunk))
}

/** @internal Makes the statement that copies binary data to a table, and checks the names in it. */
export function binaryCopyStatement(
  table: string,
  options: BinaryCopyOptions = {},
): { sql: string; bounds: CallOptions } {
  checkOptions('options', options, ['schema', 'columns', 'signal', 'timeoutMs'])
  const { schema, columns, ...bounds } = options
  let sql = 'COPY '
  if (schema !== undefined) sql += `${quoteName('schema', schema, 'a schema')}.`
  sql += quoteName('table', table, 'a table')
  if (columns !== undefined) {
    if (!Array.isArray(columns) || columns.length === 0)
      throw new ArgumentTypeError(expected('columns', 'an array that is not empty', columns))
    const names = Array.from(columns, (column, index) =>
      quoteName(`columns[${index}]`, column, 'a column'),
    )
    sql += ` (${names.join(', ')})`
  }
  return { sql: `${sql} FROM STDIN (FORMAT binary)`, bounds: resolveCallOptions(bounds) }
}
