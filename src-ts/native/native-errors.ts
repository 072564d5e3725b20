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
import { unknownKind } from './kinds.js'

/** Makes an error of the native half an instance of its class. */
export function fromNativeError(error: NativeError): PglistenError {
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
      return new ConnectionExecuteError(message)
    case 'pool':
      return new ConnectionPoolExecuteError(message)
    case 'listenerClosed':
      return new ListenerClosedError(message)
    case 'listenerOverflow':
      return new ListenerOverflowError(message)
    // A database error has what the server said, so without that it is a mistake of ours.
    case 'database':
    case 'internal':
      return new PglistenError(message)
    default:
      return unknownKind('error', kind, message)
  }
}

/** The fields of a server's message, under their public type. */
export function fromNativeServerMessage(message: NativeServerMessage): ServerMessage {
  return { ...message }
}
