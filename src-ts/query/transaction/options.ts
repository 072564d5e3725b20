// How a transaction begins: its options, and the statement that they make.
import { checkBoolean, checkOneOf, checkOptions } from '../../options/validate.js'
import { checkWait } from '../../options/wait.js'
import type { CallOptions } from '../bounds.js'

/**
 * What a transaction sees of others, by the [names of the SQL
 * standard](https://www.postgresql.org/docs/current/transaction-iso.html). PostgreSQL treats `readUncommitted` as
 * `readCommitted`.
 */
export type IsolationLevel = 'readUncommitted' | 'readCommitted' | 'repeatableRead' | 'serializable'

/** The options of a transaction. */
export interface TransactionOptions extends CallOptions {
  /** What it sees of other transactions. @default the session's `default_transaction_isolation` */
  isolationLevel?: IsolationLevel | undefined
  /** Whether it may only read. @default the session's `default_transaction_read_only` */
  readOnly?: boolean | undefined
  /**
   * Whether it may wait at its begin for a moment from which on it cannot fail by serialization. Only of use when it is
   * `serializable` and `readOnly`. @default the session's `default_transaction_deferrable`
   */
  deferrable?: boolean | undefined
}

const LEVELS = {
  readUncommitted: 'READ UNCOMMITTED',
  readCommitted: 'READ COMMITTED',
  repeatableRead: 'REPEATABLE READ',
  serializable: 'SERIALIZABLE',
} as const satisfies Record<IsolationLevel, string>

const NAMES = [
  'isolationLevel',
  'readOnly',
  'deferrable',
  'signal',
  'timeoutMs',
] as const satisfies (keyof TransactionOptions)[]

/** @internal The options of a transaction, checked. */
export interface ResolvedTransactionOptions {
  /** The statement that begins it. */
  sql: string
  bounds: CallOptions
}

/** @internal Checks the options of a transaction. */
export function resolveTransactionOptions(
  options: TransactionOptions = {},
): ResolvedTransactionOptions {
  checkOptions('options', options, NAMES)
  checkWait(options)
  const { isolationLevel, readOnly, deferrable, signal, timeoutMs } = options
  let sql = 'BEGIN'
  if (isolationLevel !== undefined) {
    checkOneOf('isolationLevel', isolationLevel, Object.keys(LEVELS) as IsolationLevel[])
    sql += ` ISOLATION LEVEL ${LEVELS[isolationLevel]}`
  }
  if (readOnly !== undefined) {
    checkBoolean('readOnly', readOnly)
    sql += readOnly ? ' READ ONLY' : ' READ WRITE'
  }
  if (deferrable !== undefined) {
    checkBoolean('deferrable', deferrable)
    sql += deferrable ? ' DEFERRABLE' : ' NOT DEFERRABLE'
  }
  return { sql, bounds: { signal, timeoutMs } }
}
