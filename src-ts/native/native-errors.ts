// The one place where errors of the native half become the classes of `errors.ts`.
import type { NativeError, NativeServerMessage } from '#native'
import {
  ConnectionClosedError,
  ConnectionExecuteError,
  ConnectionFailedError,
  ConnectionPoolConfigurationError,
  ConnectionPoolExecuteError,
  ConnectionTlsError,
  DatabaseError,
  ListenerClosedError,
  ListenerOverflowError,
  PglistenError,
  type ServerMessage,
} from '../errors.js'

const classes: Record<
  Exclude<NativeError['kind'], 'database'>,
  new (message: string) => PglistenError
> = {
  configuration: ConnectionPoolConfigurationError,
  connect: ConnectionFailedError,
  tls: ConnectionTlsError,
  closed: ConnectionClosedError,
  execute: ConnectionExecuteError,
  pool: ConnectionPoolExecuteError,
  listenerClosed: ListenerClosedError,
  listenerOverflow: ListenerOverflowError,
  internal: PglistenError,
}

/** Makes an error of the native half an instance of its class. */
export function fromNativeError(error: NativeError): PglistenError {
  if (error.kind === 'configuration') {
    return new ConnectionPoolConfigurationError(error.message, { option: error.option })
  }
  if (error.server) {
    return new DatabaseError(fromNativeServerMessage(error.server))
  }
  return new (error.kind === 'database' ? PglistenError : classes[error.kind])(error.message)
}

/** The fields of a server's message, under their public type. */
export function fromNativeServerMessage(message: NativeServerMessage): ServerMessage {
  return { ...message }
}
