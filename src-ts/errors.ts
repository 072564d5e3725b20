// Every error that the package throws.

/** What every error of this package can carry besides its message. */
export interface PglistenErrorOptions {
  /** The error that led to this one. */
  cause?: unknown
}

/**
 * The base of every error of this package.
 *
 * `code` is stable and meant for programs; the message is meant for people and may change. No message, and no
 * property, holds a password or a whole DSN.
 */
export class PglistenError extends Error {
  /** Stable identifier, such as `ERR_PGLISTEN_LISTENER_START`. */
  readonly code: string = 'ERR_PGLISTEN_INTERNAL'

  /**
   * Errors are made by this package; the class is exported for `instanceof`.
   *
   * @param message - For people: what was expected, and what came.
   */
  constructor(message: string, options?: PglistenErrorOptions) {
    super(message, options)
    // On the prototype, as built-in errors have it, so that it is not printed as an own property.
    Object.defineProperty(this, 'name', {
      value: new.target.name,
      configurable: true,
      writable: true,
    })
  }
}

/** An argument has the wrong type. Nothing was sent to the server. */
export class ArgumentTypeError extends PglistenError {
  override readonly code = 'ERR_PGLISTEN_ARGUMENT_TYPE'
}

/** An argument has the right type and a value that cannot be used. Nothing was sent to the server. */
export class ArgumentRangeError extends PglistenError {
  override readonly code = 'ERR_PGLISTEN_ARGUMENT_RANGE'
}

/** The base of what can go wrong with a {@link ConnectionPool}. */
export class ConnectionPoolError extends PglistenError {
  override readonly code: string = 'ERR_PGLISTEN_POOL'
}

/**
 * An option of the pool, a DSN or an environment variable is wrong; or, when a connection is made, a file that one of them
 * names cannot be used, or the server asks for a password and there is none.
 */
export class ConnectionPoolConfigurationError extends ConnectionPoolError {
  override readonly code = 'ERR_PGLISTEN_POOL_CONFIGURATION'
  /** The name of the option at fault. */
  readonly option: string | undefined

  /**
   * Errors are made by this package; the class is exported for `instanceof`.
   *
   * @param message - For people. `options.option` names the option.
   */
  constructor(message: string, options?: PglistenErrorOptions & { option?: string | undefined }) {
    super(message, options)
    this.option = options?.option
  }
}

/** The pool has no connection to give: it is closed, or none became free. */
export class ConnectionPoolExecuteError extends ConnectionPoolError {
  override readonly code = 'ERR_PGLISTEN_POOL_EXECUTE'
}

/** The base of what can go wrong with a {@link Connection}, apart from what the server says. */
export class ConnectionError extends PglistenError {
  override readonly code: string = 'ERR_PGLISTEN_CONNECTION'
}

/** No server could be reached: name resolution, the network, a deadline, or no server with the role asked for. */
export class ConnectionFailedError extends ConnectionError {
  override readonly code = 'ERR_PGLISTEN_CONNECTION_FAILED'
}

/**
 * Encryption as asked for cannot be had: the server has no TLS, its certificate is not accepted, or it does not accept
 * ours. The message says which. A listener that meets this while it reconnects tells of it in an `error` event.
 */
export class ConnectionTlsError extends ConnectionError {
  override readonly code = 'ERR_PGLISTEN_CONNECTION_TLS'
}

/** The connection ended, was closed, or its lease is over. */
export class ConnectionClosedError extends ConnectionError {
  override readonly code = 'ERR_PGLISTEN_CONNECTION_CLOSED'
}

/** A statement cannot be run as asked: a parameter, a type, a number of rows. */
export class ConnectionExecuteError extends ConnectionError {
  override readonly code = 'ERR_PGLISTEN_CONNECTION_EXECUTE'
}

/** The base of what can go wrong with a {@link Transaction}, apart from what the server says. */
export class TransactionError extends PglistenError {
  override readonly code: string = 'ERR_PGLISTEN_TRANSACTION'
}

/** A transaction cannot begin, because another one is open on the same connection. */
export class TransactionBeginError extends TransactionError {
  override readonly code = 'ERR_PGLISTEN_TRANSACTION_BEGIN'
}

/** The server rolled back what was to be committed, because a statement of the transaction had failed. */
export class TransactionCommitError extends TransactionError {
  override readonly code = 'ERR_PGLISTEN_TRANSACTION_COMMIT'
}

/** The transaction has ended. */
export class TransactionClosedError extends TransactionError {
  override readonly code = 'ERR_PGLISTEN_TRANSACTION_CLOSED'
}

/** The base of what can go wrong with a {@link Listener}. */
export class ListenerError extends PglistenError {
  override readonly code: string = 'ERR_PGLISTEN_LISTENER'
}

/** The listener is not started, or is started already. */
export class ListenerStartError extends ListenerError {
  override readonly code = 'ERR_PGLISTEN_LISTENER_START'
}

/** The listener was shut down, or gave up, while something waited for it. */
export class ListenerClosedError extends ListenerError {
  override readonly code = 'ERR_PGLISTEN_LISTENER_CLOSED'
}

/** What a {@link ListenerCallbackError} is about. */
export interface ListenerCallbackErrorOptions extends PglistenErrorOptions {
  /** {@link ListenerCallbackError.channel} */
  channel?: string | undefined
  /** {@link ListenerCallbackError.payload} */
  payload?: unknown
  /** {@link ListenerCallbackError.processId} */
  processId?: number | undefined
}

/**
 * A callback or `parse` threw or rejected (`cause` is what it threw), or is not a function.
 */
export class ListenerCallbackError extends ListenerError {
  override readonly code = 'ERR_PGLISTEN_LISTENER_CALLBACK'
  /** The channel of the notification, if it was about one. */
  readonly channel: string | undefined
  /** The payload as the callback got it; the text as sent, when `parse` failed. */
  readonly payload: unknown
  /** The process id of the notifying backend. */
  readonly processId: number | undefined

  /**
   * Errors are made by this package; the class is exported for `instanceof`.
   *
   * @param message - For people: what failed.
   */
  constructor(message: string, options?: ListenerCallbackErrorOptions) {
    super(message, options)
    this.channel = options?.channel
    this.payload = options?.payload
    this.processId = options?.processId
  }
}

/** A consumer's buffer was full and its policy is `error`. */
export class ListenerOverflowError extends ListenerError {
  override readonly code = 'ERR_PGLISTEN_LISTENER_OVERFLOW'
}

/** Thrown by an iterator made with `gaps: 'throw'`. */
export class ListenerGapError<GapType = unknown> extends ListenerError {
  override readonly code = 'ERR_PGLISTEN_LISTENER_GAP'
  /** What was missed. */
  readonly gap: GapType

  /**
   * Errors are made by this package; the class is exported for `instanceof`.
   *
   * @param message - For people.
   */
  constructor(message: string, gap: GapType) {
    super(message)
    this.gap = gap
  }
}

/**
 * The server answered with an error. The fields are those of its `ErrorResponse`
 * (https://www.postgresql.org/docs/current/protocol-error-fields.html); what it did not say is `undefined`.
 */
export class DatabaseError extends PglistenError {
  override readonly code = 'ERR_PGLISTEN_DATABASE'
  /** The five characters of the SQLSTATE, such as `23505`. */
  readonly sqlState: string
  /** `ERROR`, `FATAL` or `PANIC`, never localized. */
  readonly severity: string
  /** More about it, such as `Key (id)=(1) already exists.` */
  readonly detail: string | undefined
  /** What may help. */
  readonly hint: string | undefined
  /** Where in the statement, in characters from 1. */
  readonly position: number | undefined
  /** The call stack inside the server. */
  readonly context: string | undefined
  /** The schema of what it is about. */
  readonly schema: string | undefined
  /** The table that it is about. */
  readonly table: string | undefined
  /** The column that it is about. */
  readonly column: string | undefined
  /** The name of the data type that it is about. */
  readonly dataType: string | undefined
  /** The constraint that was violated. */
  readonly constraint: string | undefined

  /**
   * Errors are made by this package; the class is exported for `instanceof`.
   *
   * @param server - What the server said.
   */
  constructor(server: ServerMessage, options?: PglistenErrorOptions) {
    super(server.message, options)
    this.sqlState = server.sqlState
    this.severity = server.severity
    this.detail = server.detail
    this.hint = server.hint
    this.position = server.position
    this.context = server.context
    this.schema = server.schema
    this.table = server.table
    this.column = server.column
    this.dataType = server.dataType
    this.constraint = server.constraint
  }
}

/** The fields of an error or a notice of the server. */
export interface ServerMessage {
  /** `ERROR`, `FATAL`, `PANIC`, `WARNING`, `NOTICE`, `DEBUG`, `INFO` or `LOG`, never localized. */
  severity: string
  /** The five characters of the SQLSTATE. */
  sqlState: string
  /** In the language of the server's `lc_messages`. */
  message: string
  /** More about it. */
  detail?: string | undefined
  /** What may help. */
  hint?: string | undefined
  /** Where in the statement, in characters from 1. */
  position?: number | undefined
  /** The call stack inside the server. */
  context?: string | undefined
  /** The schema of what it is about. */
  schema?: string | undefined
  /** The table that it is about. */
  table?: string | undefined
  /** The column that it is about. */
  column?: string | undefined
  /** The name of the data type that it is about. */
  dataType?: string | undefined
  /** The constraint that was violated. */
  constraint?: string | undefined
}
