// What the server answers when a subscription cannot be worked, and what that means.
import { DatabaseError, DurableError } from '../errors.js'

/** SQLSTATEs: those of PostgreSQL (https://www.postgresql.org/docs/current/errcodes-appendix.html), and those of `sql/1.sql`. */
export const SqlState = {
  /** Another worker has the lock. */
  WorkedElsewhere: '55P03',
  /** The positions come from another cluster. */
  Elsewhere: 'PGL01',
  /** There is no such subscription. */
  Unknown: 'PGL02',
  /** The subscription has other settings. */
  OtherSettings: 'PGL04',
  /** Positions cannot be adopted before more transaction ids were used. */
  TooFewIds: 'PGL05',
  SerializationFailure: '40001',
  Deadlock: '40P01',
  ReadOnly: '25006',
  UndefinedTable: '42P01',
  UndefinedFunction: '42883',
  InvalidSchema: '3F000',
  InsufficientPrivilege: '42501',
} as const

const {
  OtherSettings,
  InsufficientPrivilege,
  InvalidSchema,
  ReadOnly,
  UndefinedFunction,
  UndefinedTable,
  Unknown,
} = SqlState

/** The SQLSTATE of an error of the server; `undefined` for any other error. */
export function sqlStateOf(error: unknown): string | undefined {
  return error instanceof DatabaseError ? error.sqlState : undefined
}

/** Why what durable subscriptions need cannot be used here at all; `undefined` when that is not what an error says. */
export function refusal(error: unknown): DurableError | undefined {
  switch (sqlStateOf(error)) {
    case UndefinedTable:
    case UndefinedFunction:
    case InvalidSchema:
      return new DurableError(
        'durable subscriptions are not installed in this database: `pool.durable.install()` does that',
        { cause: error },
      )
    case InsufficientPrivilege:
      return new DurableError(
        'this role has no right to use durable subscriptions: name it in the options of `pool.durable.install()`',
        { cause: error },
      )
    case ReadOnly:
      return new DurableError(
        'this server is a standby, or read-only: subscriptions are worked on the primary (`targetSessionAttrs: "read-write"`)',
        { cause: error },
      )
    case Unknown:
    case OtherSettings:
      return new DurableError((error as Error).message, { cause: error })
    default:
      return undefined
  }
}

/** Rejects with the reason that {@link refusal} knows. */
export async function explained<Result>(work: Promise<Result>): Promise<Result> {
  try {
    return await work
  } catch (error) {
    throw refusal(error) ?? error
  }
}
