// The classes of every error that the package throws.
import { brandError } from './brand.js'

/**
 * Sets a property that may hold what belongs into no log. Not being enumerable, it is left out by `console.error(error)`,
 * `JSON.stringify(error)` and loggers.
 */
function setHidden<Target extends object, Name extends keyof Target>(
  target: Target,
  name: Name,
  value: Target[Name],
): void {
  Object.defineProperty(target, name, { value, configurable: true, writable: true })
}

/** The options of the constructors of all errors of this package. */
export interface PglistenErrorOptions {
  /** The error that led to this one. */
  cause?: unknown
}

/**
 * The base of every error of this package.
 *
 * `code` is stable and meant for programs; the message is meant for people and may change. Neither the message nor a
 * property holds a password or a whole DSN, and no enumerable property a payload, or a value or parameter of a statement.
 */
export class PglistenError extends Error {
  /** The stable identifier of the class, such as `ERR_PGLISTEN_LISTENER_START`. */
  readonly code: string = 'ERR_PGLISTEN_INTERNAL'
  /** Which statement of `pipeline()` failed, or which list of parameters of `executeMany()`, counted from 0. Other errors do not have the property. */
  declare statementIndex?: number

  /**
   * The package makes its errors itself; the class is exported for `instanceof`.
   *
   * @param message - The message for people.
   */
  // oxlint-disable-next-line eslint/no-useless-constructor -- unlike that of `Error`, it takes no call without a message.
  constructor(message: string, options?: PglistenErrorOptions) {
    super(message, options)
  }
}

/** An argument has the wrong type. Nothing was sent to the server. */
export class ArgumentTypeError extends PglistenError {
  override readonly code = 'ERR_PGLISTEN_ARGUMENT_TYPE'
}

/** An argument has the right type, but a value that is not allowed. Nothing was sent to the server. */
export class ArgumentRangeError extends PglistenError {
  override readonly code = 'ERR_PGLISTEN_ARGUMENT_RANGE'
}

/** The base of the errors of a {@link ConnectionPool}. */
export class ConnectionPoolError extends PglistenError {
  override readonly code: string = 'ERR_PGLISTEN_POOL'
}

/**
 * An option of the pool, its DSN or an environment variable is wrong. When a connection is made, the error can also
 * mean that a file that one of them names cannot be used, or that the server asks for a password and there is none.
 */
export class ConnectionPoolConfigurationError extends ConnectionPoolError {
  override readonly code = 'ERR_PGLISTEN_POOL_CONFIGURATION'
  /** The name of the wrong option. */
  readonly option: string | undefined

  /**
   * The package makes its errors itself; the class is exported for `instanceof`.
   *
   * @param message - The message for people.
   * @param options - The cause, and the name of the wrong option.
   */
  constructor(message: string, options?: PglistenErrorOptions & { option?: string | undefined }) {
    super(message, options)
    this.option = options?.option
  }
}

/** The pool cannot lease a connection: it is closed, or no connection became free. */
export class ConnectionPoolExecuteError extends ConnectionPoolError {
  override readonly code = 'ERR_PGLISTEN_POOL_EXECUTE'
}

/** The base of the errors of a {@link Connection}, apart from {@link DatabaseError}. */
export class ConnectionError extends PglistenError {
  override readonly code: string = 'ERR_PGLISTEN_CONNECTION'
}

/**
 * No server could be reached: name resolution or the network failed, the time was over, no server has the role asked
 * for, or the operating system has no thread or file descriptor left.
 */
export class ConnectionFailedError extends ConnectionError {
  override readonly code = 'ERR_PGLISTEN_CONNECTION_FAILED'
}

/**
 * The encryption that was asked for is not possible: the server has no TLS, its certificate is not accepted, or it does
 * not accept the client's certificate. The message says which. A listener that is reconnecting reports it as an `error`
 * event.
 */
export class ConnectionTlsError extends ConnectionError {
  override readonly code = 'ERR_PGLISTEN_CONNECTION_TLS'
}

/** The connection was lost or closed, or its lease has ended. */
export class ConnectionClosedError extends ConnectionError {
  override readonly code = 'ERR_PGLISTEN_CONNECTION_CLOSED'
}

/** A statement does not fit its call: a parameter, a type that is not supported, or the number of rows. */
export class ConnectionExecuteError extends ConnectionError {
  override readonly code = 'ERR_PGLISTEN_CONNECTION_EXECUTE'
}

/**
 * A call took longer than its `timeoutMs`. A statement of it was cancelled and had no effect, unless the message says that
 * this is not known. What a `COMMIT` among several statements, or within a procedure, had committed before is not undone.
 */
export class ConnectionTimeoutError extends ConnectionError {
  override readonly code = 'ERR_PGLISTEN_CONNECTION_TIMEOUT'
}

/** The base of the errors of a {@link Transaction}, apart from {@link DatabaseError}. */
export class TransactionError extends PglistenError {
  override readonly code: string = 'ERR_PGLISTEN_TRANSACTION'
}

/** A transaction cannot begin, because another one is open on the same connection. */
export class TransactionBeginError extends TransactionError {
  override readonly code = 'ERR_PGLISTEN_TRANSACTION_BEGIN'
}

/**
 * The transaction was rolled back instead of committed, because one of its statements had failed, or because something was
 * still open in it.
 */
export class TransactionCommitError extends TransactionError {
  override readonly code = 'ERR_PGLISTEN_TRANSACTION_COMMIT'
}

/** The transaction has ended, so no statement can run in it. */
export class TransactionClosedError extends TransactionError {
  override readonly code = 'ERR_PGLISTEN_TRANSACTION_CLOSED'
}

/** The base of the errors of a {@link Listener}. */
export class ListenerError extends PglistenError {
  override readonly code: string = 'ERR_PGLISTEN_LISTENER'
}

/** The call needs a started listener, or the listener is started already. */
export class ListenerStartError extends ListenerError {
  override readonly code = 'ERR_PGLISTEN_LISTENER_START'
}

/** The listener was shut down, or gave up, while a call waited for it. */
export class ListenerClosedError extends ListenerError {
  override readonly code = 'ERR_PGLISTEN_LISTENER_CLOSED'
}

/** The options of the constructor of {@link ListenerCallbackError}. */
export interface ListenerCallbackErrorOptions extends PglistenErrorOptions {
  /** The value of {@link ListenerCallbackError.channel}. */
  channel?: string | undefined
  /** The value of {@link ListenerCallbackError.payload}. */
  payload?: unknown
  /** The value of {@link ListenerCallbackError.processId}. */
  processId?: number | undefined
}

/**
 * A callback or `parse` failed, and `cause` is the error that it threw or rejected with; or `parse` returned a promise;
 * or a callback is not a function.
 */
export class ListenerCallbackError extends ListenerError {
  override readonly code = 'ERR_PGLISTEN_LISTENER_CALLBACK'
  /** The channel of the notification; `undefined` if the failure was not about one. */
  readonly channel: string | undefined
  /** The payload as the callback got it, or the text as sent when `parse` failed. Not enumerable, so that no log shows it unasked. */
  declare readonly payload: unknown
  /** The process id of the notifying backend; `undefined` if the failure was not about a notification. */
  readonly processId: number | undefined

  /**
   * The package makes its errors itself; the class is exported for `instanceof`.
   *
   * @param message - The message for people.
   * @param options - The cause, and the notification that it was about.
   */
  constructor(message: string, options?: ListenerCallbackErrorOptions) {
    super(message, options)
    this.channel = options?.channel
    setHidden(this, 'payload', options?.payload)
    this.processId = options?.processId
  }
}

/** A wait on a listener took longer than its `timeoutMs`. Nothing is lost by it, and the listener goes on. */
export class ListenerTimeoutError extends ListenerError {
  override readonly code = 'ERR_PGLISTEN_LISTENER_TIMEOUT'
}

/** A consumer's buffer was full, and the option `buffer.overflow` is `error`: the listener has closed. */
export class ListenerOverflowError extends ListenerError {
  override readonly code = 'ERR_PGLISTEN_LISTENER_OVERFLOW'
}

/** Notifications may be missing. Thrown by an iterator with the option `gaps: 'throw'`. */
export class ListenerGapError<GapType = unknown> extends ListenerError {
  override readonly code = 'ERR_PGLISTEN_LISTENER_GAP'
  /** The gap. */
  readonly gap: GapType

  /**
   * The package makes its errors itself; the class is exported for `instanceof`.
   *
   * @param message - The message for people.
   * @param gap - The gap.
   */
  constructor(message: string, gap: GapType) {
    super(message)
    this.gap = gap
  }
}

/** Durable subscriptions cannot be used here: what they need is not installed, or of another owner, or the role may not use it. */
export class DurableError extends PglistenError {
  override readonly code: string = 'ERR_PGLISTEN_DURABLE'
}

/** A subscription has stopped at an event whose handler failed too often. Its `cause` is the error of the handler. */
export class SubscriptionStoppedError extends DurableError {
  override readonly code = 'ERR_PGLISTEN_SUBSCRIPTION_STOPPED'
  /** The id of the event. */
  readonly eventId: bigint | undefined

  /**
   * The package makes its errors itself; the class is exported for `instanceof`.
   *
   * @param message - The message for people.
   */
  constructor(message: string, options?: PglistenErrorOptions & { eventId?: bigint }) {
    super(message, options)
    this.eventId = options?.eventId
  }
}

/**
 * The server answered with an error. The properties are the fields of its
 * [`ErrorResponse`](https://www.postgresql.org/docs/current/protocol-error-fields.html); a field that it did not send
 * is `undefined`.
 */
export class DatabaseError extends PglistenError {
  override readonly code = 'ERR_PGLISTEN_DATABASE'
  /** The SQLSTATE: five characters, such as `23505`. */
  readonly sqlState: string
  /** The severity, never localized: `ERROR`, `FATAL` or `PANIC`. */
  readonly severity: string
  /** Details of the error, such as `Key (id)=(1) already exists.` They may quote values, so this is not enumerable: no log shows it unasked. */
  declare readonly detail: string | undefined
  /** A hint how to avoid the error. */
  readonly hint: string | undefined
  /** The position in the statement, in characters from 1. */
  readonly position: number | undefined
  /** The context in the server, such as the call stack of a PL/pgSQL function. It may quote parameters and SQL, so it is not enumerable either. */
  declare readonly context: string | undefined
  /** The name of the schema that the error is about. */
  readonly schema: string | undefined
  /** The name of the table that the error is about. */
  readonly table: string | undefined
  /** The name of the column that the error is about. */
  readonly column: string | undefined
  /** The name of the data type that the error is about. */
  readonly dataType: string | undefined
  /** The name of the constraint that was violated. */
  readonly constraint: string | undefined

  /**
   * The package makes its errors itself; the class is exported for `instanceof`.
   *
   * @param server - The fields of the server's message.
   */
  constructor(server: ServerMessage, options?: PglistenErrorOptions) {
    super(server.message, options)
    this.sqlState = server.sqlState
    this.severity = server.severity
    setHidden(this, 'detail', server.detail)
    this.hint = server.hint
    this.position = server.position
    setHidden(this, 'context', server.context)
    this.schema = server.schema
    this.table = server.table
    this.column = server.column
    this.dataType = server.dataType
    this.constraint = server.constraint
  }
}

/** The fields of an error or a notice that the server sent. */
export interface ServerMessage {
  /** The severity, never localized: `ERROR`, `FATAL`, `PANIC`, `WARNING`, `NOTICE`, `DEBUG`, `INFO` or `LOG`. */
  severity: string
  /** The SQLSTATE: five characters. */
  sqlState: string
  /** The message, in the language of the server's `lc_messages`. */
  message: string
  /** Details. */
  detail?: string | undefined
  /** A hint how to avoid the error. */
  hint?: string | undefined
  /** The position in the statement, in characters from 1. */
  position?: number | undefined
  /** The context in the server, such as the call stack of a PL/pgSQL function. */
  context?: string | undefined
  /** The name of the schema that the error is about. */
  schema?: string | undefined
  /** The name of the table that the error is about. */
  table?: string | undefined
  /** The name of the column that the error is about. */
  column?: string | undefined
  /** The name of the data type that the error is about. */
  dataType?: string | undefined
  /** The name of the constraint that was violated. */
  constraint?: string | undefined
}

// As literals, because the names of the classes are what a minifier changes.
brandError(PglistenError, 'PglistenError')
brandError(ArgumentTypeError, 'ArgumentTypeError')
brandError(ArgumentRangeError, 'ArgumentRangeError')
brandError(ConnectionPoolError, 'ConnectionPoolError')
brandError(DurableError, 'DurableError')
brandError(SubscriptionStoppedError, 'SubscriptionStoppedError')
brandError(ConnectionPoolConfigurationError, 'ConnectionPoolConfigurationError')
brandError(ConnectionPoolExecuteError, 'ConnectionPoolExecuteError')
brandError(ConnectionError, 'ConnectionError')
brandError(ConnectionFailedError, 'ConnectionFailedError')
brandError(ConnectionTlsError, 'ConnectionTlsError')
brandError(ConnectionClosedError, 'ConnectionClosedError')
brandError(ConnectionExecuteError, 'ConnectionExecuteError')
brandError(ConnectionTimeoutError, 'ConnectionTimeoutError')
brandError(TransactionError, 'TransactionError')
brandError(TransactionBeginError, 'TransactionBeginError')
brandError(TransactionCommitError, 'TransactionCommitError')
brandError(TransactionClosedError, 'TransactionClosedError')
brandError(ListenerError, 'ListenerError')
brandError(ListenerStartError, 'ListenerStartError')
brandError(ListenerClosedError, 'ListenerClosedError')
brandError(ListenerCallbackError, 'ListenerCallbackError')
brandError(ListenerTimeoutError, 'ListenerTimeoutError')
brandError(ListenerOverflowError, 'ListenerOverflowError')
brandError(ListenerGapError, 'ListenerGapError')
brandError(DatabaseError, 'DatabaseError')
