// Turns the events of the server session, which come from Rust, into the public events of a listener.
import type { NativeEvent } from '#native'
import {
  ConnectionPoolConfigurationError,
  ConnectionTlsError,
  type PglistenError,
} from '../errors.js'
import type { ListenerContext } from '../deliver/context.js'
import { Gap } from '../deliver/gap.js'
import { closedError } from '../deliver/pull-iterator.js'
import { eventKind, unknownKind } from '../native/kinds.js'
import { fromNativeError, fromNativeServerMessage } from '../native/native-errors.js'

/** Emits the public events for one event of the session. */
export function reportSessionEvent(context: ListenerContext, event: NativeEvent): void {
  const { events } = context
  const processId = event.processId ?? 0
  const kind = eventKind(event)
  switch (kind) {
    case 'connected':
      events.report('connected', { processId })
      break
    case 'disconnected':
      events.report('disconnected', { error: fromNativeError(event.error!), processId })
      break
    case 'attemptFailed': {
      const error = fromNativeError(event.error!)
      if (needsAttention(error)) events.report('error', error)
      else
        events.report('warning', {
          message: `attempt ${event.attempt} to connect again failed: ${error.message}`,
          error,
        })
      break
    }
    case 'reconnected': {
      const gap = new Gap(event.gap!)
      context.counters.gaps += 1
      events.report('gap', gap)
      events.report('reconnected', { gap })
      break
    }
    case 'notice': {
      const notice = fromNativeServerMessage(event.notice!)
      events.report('warning', { message: notice.message, notice })
      break
    }
    case 'warning':
      events.report('warning', { message: event.message! })
      break
    case 'closed':
      events.report('closed', closedError(fromNativeError(event.error!)))
      break
    default:
      // As an event, because the events behind it are to be reported all the same.
      events.report('error', unknownKind('event', kind, event.message))
  }
}

/**
 * Whether only a person can make the next attempt to connect succeed: the server refuses the user (SQLSTATE class 28),
 * the database is missing (3D000), or certificates or their files are wrong.
 */
function needsAttention(error: PglistenError): boolean {
  if (error instanceof ConnectionTlsError || error instanceof ConnectionPoolConfigurationError)
    return true
  const sqlState = (error as { sqlState?: string }).sqlState
  return sqlState !== undefined && (sqlState.startsWith('28') || sqlState === '3D000')
}
