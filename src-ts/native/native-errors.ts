// The one place where errors from Rust become instances of the classes in `errors.ts`.
import type { NativeError, NativeServerMessage } from '#native'
import {
  ConnectionClosedError,
  ConnectionExecuteError,
  ConnectionFailedError,
  ConnectionPoolConfigurationError,
  ConnectionPoolExecuteError,
  ConnectionTimeoutError,
  ConnectionTlsError,
  DatabaseError,
  ListenerClosedError,
  ListenerOverflowError,
  PglistenError,
  type ServerMessage,
} from '../errors.js'
import { AbortedError } from './aborted.js'
import { unknownKind } from './kinds.js'

/** Converts an error from Rust to an instance of its class. */
export function fromNativeError(error: NativeError): PglistenError {
  const made = classified(error)
  if (error.statementIndex !== undefined) made.statementIndex = error.statementIndex
  if (error.completed > 0) completed.set(made, error.completed)
  if (error.isOutdated) outdated.add(made)
  if (error.kind === 'noTransaction') withoutTransaction.add(made)
  return made
}

/** Errors that what was known of a statement has caused. */
const outdated = new WeakSet()

/** Whether a statement was refused before it did anything, for what was known of it: that is forgotten, and it may succeed now. */
export function isOutdated(error: unknown): boolean {
  return typeof error === 'object' && error !== null && outdated.has(error)
}

/** Errors of what was to begin within a transaction, when none was open. */
const withoutTransaction = new WeakSet()

/** Whether something, such as a cursor or a savepoint, was refused, and did nothing, because no transaction is open. */
export function lacksTransaction(error: unknown): boolean {
  if (error instanceof DatabaseError) return error.sqlState === '25P01'
  return typeof error === 'object' && error !== null && withoutTransaction.has(error)
}

/** How many statements of a pipeline the server completed before an error. */
const completed = new WeakMap<object, number>()

/** How many statements of a pipeline the server is known to have completed before the error. */
export function completedBefore(error: unknown): number {
  return (typeof error === 'object' && error !== null && completed.get(error)) || 0
}

function classified(error: NativeError): PglistenError {
  const { message, server } = error
  const { kind } = error
  if (kind === 'configuration') {
    return new ConnectionPoolConfigurationError(message, { option: error.option })
  }
  if (server) return new DatabaseError(fromNativeServerMessage(server))
  switch (kind) {
    case 'connect':
      return new ConnectionFailedError(message)
    case 'tls':
      return new ConnectionTlsError(message)
    case 'closed':
      return new ConnectionClosedError(message)
    case 'execute':
    case 'noTransaction':
      return new ConnectionExecuteError(message)
    case 'pool':
      return new ConnectionPoolExecuteError(message)
    case 'timedOut':
      return new ConnectionTimeoutError(message)
    case 'aborted':
      return new AbortedError(message)
    case 'listenerClosed':
      return new ListenerClosedError(message)
    case 'listenerOverflow':
      return new ListenerOverflowError(message)
    // A database error without the server's message is a mistake in this package.
    case 'database':
    case 'internal':
      return new PglistenError(message)
    default:
      return unknownKind('error', kind, message)
  }
}

/** Converts an error or a notice of the server to its public type. */
export function fromNativeServerMessage(message: NativeServerMessage): ServerMessage {
  return { ...message }
}
