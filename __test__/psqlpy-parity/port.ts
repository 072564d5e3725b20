// The API that the programs are written against. Some of it may not be in this build: then a program is pending.

import type { Connection, QueryParameters, QueryResult, Transaction } from 'pglisten'

/** Something that this build has not yet. */
export class Pending extends Error {}

type Row = Record<string, unknown>
type Statement = readonly [sql: string, params?: QueryParameters]

interface Cursor extends AsyncIterable<Row> {
  fetch(count: number): Promise<Row[]>
  batches(): AsyncIterable<Row[]>
  close(): Promise<void>
}

interface PreparedStatement {
  readonly columns: readonly { name: string }[]
  execute(params?: QueryParameters): Promise<QueryResult<Row>>
  cursor(params?: QueryParameters): Cursor
  close(): Promise<void>
}

interface TransactionOptions {
  isolationLevel?: 'read committed' | 'repeatable read' | 'serializable'
  readOnly?: boolean
  deferrable?: boolean
}

/** What connections and transactions have in common. */
interface Additions {
  cursor(sql: string, params?: QueryParameters, options?: { batchSize?: number }): Cursor
  prepare(sql: string): Promise<PreparedStatement>
  copyRecordsToTable(
    table: string,
    rows: Iterable<readonly unknown[]>,
    options?: { columns?: readonly string[]; schema?: string },
  ): Promise<number>
  binaryCopyToTable(
    table: string,
    source: Uint8Array,
    options?: { columns?: readonly string[]; schema?: string },
  ): Promise<number>
}

interface ConnectionAdditions extends Additions {
  readonly inTransaction: boolean
  readonly info: { database: string; user: string; host: string; port: number }
  begin(options?: TransactionOptions): Promise<Transaction & TransactionAdditions>
  transaction<Result>(
    work: (tx: Transaction) => Promise<Result>,
    options?: TransactionOptions,
  ): Promise<Result>
}

interface TransactionAdditions extends Additions {
  commit(): Promise<void>
  rollback(): Promise<void>
  createSavepoint(name: string): Promise<void>
  rollbackToSavepoint(name: string): Promise<void>
  releaseSavepoint(name: string): Promise<void>
  transaction<Result>(work: (tx: Transaction) => Promise<Result>): Promise<Result>
  pipeline(statements: readonly Statement[]): Promise<Row[][]>
}

export type PortedConnection = Connection & ConnectionAdditions
export type PortedTransaction = Transaction & TransactionAdditions

export function ported(connection: Connection): PortedConnection
export function ported(transaction: Transaction): PortedTransaction
/** The same object, of which everything that is missing is pending. */
export function ported(object: Connection | Transaction): object {
  return new Proxy(object, {
    get(target, key) {
      // An `await` looks for this one.
      if (typeof key === 'string' && key !== 'then' && !(key in target)) throw new Pending(key)
      const value: unknown = Reflect.get(target, key, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

/** A transaction whose work gets all of the API. */
export function transaction<Result>(
  connection: PortedConnection,
  work: (tx: PortedTransaction) => Promise<Result>,
  options?: TransactionOptions,
): Promise<Result> {
  return connection.transaction((tx) => work(ported(tx)), options)
}

/** The outcome of what this build cannot do yet. */
export const PENDING: unique symbol = Symbol('pending')

/** The result of a call, or `error`: which class the error has differs on purpose. */
export async function attempt(call: () => Promise<unknown>): Promise<unknown> {
  try {
    return await call()
  } catch (error) {
    if (pendingOf(error) !== undefined) throw error
    return isUnknownType(error) ? PENDING : 'error'
  }
}

/** What this build has not yet, when that is what an error says. */
export function pendingOf(error: unknown): string | undefined {
  if (error instanceof Pending) return error.message
  if (!(error instanceof Error)) return undefined
  return /^Unknown option `(\w+)`/.exec(error.message)?.[1]
}

const isUnknownType = (error: unknown) =>
  error instanceof Error && error.message.includes('which is not supported')

/** Notes what a program came to, under a label. */
export type Say = (label: string, value: unknown) => void
export type Program = (connection: PortedConnection, say: Say) => Promise<void>
