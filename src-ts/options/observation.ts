// The options by which a pool is observed: the logger, and what diagnostics may tell of the user's data.
import { asThenable, disregard } from '../native/thenable.js'
import {
  checkBoolean,
  checkFunction,
  checkOptions,
  expected,
  type CheckErrors,
} from './validate.js'

/**
 * A logger. Each method is called as `(fields, message)`, with an object first: [pino](https://getpino.io) takes it so, and
 * `console` prints both. A level without a method is not logged. What a method throws, and a promise that it returns and that
 * rejects, are ignored.
 *
 * The fields are those of the messages of `node:diagnostics_channel`, such as {@link SessionMessage}; the message says the
 * same in words. Neither holds a password, nor, without {@link DiagnosticsOptions.payloads}, a payload, a parameter or the text of
 * what a callback or a handler threw.
 *
 * - `debug`: a listener connects, or is about to connect again; a durable subscription falls asleep, wakes up, or stands by.
 * - `info`: a listener is connected, has moved to a session of its own, or was shut down; a durable subscription starts, gets a partition,
 *   or ends.
 * - `warn`: a session is lost, notifications may be missing, there is a `warning` event, or a `startup()` has failed; an attempt at an event has failed, or a restored
 *   dump was adopted.
 * - `error`: there is an `error` event, or a listener has given up; an event was given up, or a durable subscription has stopped.
 */
export interface Logger {
  /** Logs what is of use when something is looked into. */
  debug?(fields: object, message: string): unknown
  /** Logs what is as it should be. */
  info?(fields: object, message: string): unknown
  /** Logs what somebody should know. */
  warn?(fields: object, message: string): unknown
  /** Logs what somebody should act upon. */
  error?(fields: object, message: string): unknown
}

/** @internal The methods of a {@link Logger}. */
export type LogLevel = keyof Logger

/**
 * What the messages of `node:diagnostics_channel`, and the {@link Logger}, may tell of the user's data. By default those messages
 * hold no payload, no parameter, no SQL and no text of an error.
 */
export interface DiagnosticsOptions {
  /**
   * Whether the contexts of `pglisten:callback`, `pglisten:handler` and `pglisten:notify` have the payloads, and the errors as they were thrown:
   * for a tracer that finds its parent, such as `traceparent`, in a payload. The logger then gets them too: `err` and `payload` with
   * an `error` event, and `err` with whatever fails in a durable subscription.
   * @default false
   */
  payloads?: boolean | undefined
  /**
   * Whether the contexts of `pglisten:statement` have the SQL, without its parameters, and the errors of the server as they
   * are.
   * @default false
   */
  statements?: boolean | undefined
}

/** @internal How a pool is observed, checked and complete. */
export interface ResolvedObservation {
  readonly payloads: boolean
  readonly statements: boolean
  readonly logger: Logger | undefined
}

/** @internal The default. */
export const UNOBSERVED: ResolvedObservation = {
  payloads: false,
  statements: false,
  logger: undefined,
}

const LEVELS: readonly LogLevel[] = ['debug', 'info', 'warn', 'error']

/** @internal Checks a logger. */
export function checkLogger(value: unknown, errors: CheckErrors): asserts value is Logger {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null)
    throw errors.type(
      expected('logger', 'an object with `debug`, `info`, `warn` or `error`', value),
    )
  for (const level of LEVELS) {
    const method: unknown = (value as Logger)[level]
    if (method !== undefined) checkFunction(`logger.${level}`, method, errors)
  }
}

/** @internal Checks what diagnostics may tell. */
export function resolveDiagnostics(
  value: unknown,
  errors: CheckErrors,
): Omit<ResolvedObservation, 'logger'> {
  checkOptions('diagnostics', value, ['payloads', 'statements'], errors)
  const { payloads = false, statements = false } = value as DiagnosticsOptions
  checkBoolean('diagnostics.payloads', payloads, errors)
  checkBoolean('diagnostics.statements', statements, errors)
  return { payloads, statements }
}

/** @internal Logs, whatever the logger does. */
export function logTo(logger: Logger, level: LogLevel, fields: object, message: string): void {
  try {
    const returned = asThenable(logger[level]?.(fields, message))
    if (returned) disregard(returned)
  } catch {
    // It is the user's logger, and nobody else is there to be told.
  }
}
