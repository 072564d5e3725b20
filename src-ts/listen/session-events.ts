// Turns the events of the server session, which come from Rust, into the public events of a listener.
import type { NativeEvent } from '#native'
import type { ListenerContext } from '../deliver/context.js'
import { Gap } from '../deliver/gap.js'
import { closedError } from '../deliver/pull-iterator.js'
import { unknownKind } from '../native/kinds.js'
import { fromNativeError, fromNativeServerMessage } from '../native/native-errors.js'

/** Emits the public events for one event of the session. `isFirst`: there was no session yet. */
export function reportSessionEvent(
  context: ListenerContext,
  event: NativeEvent,
  isFirst: boolean,
): void {
  const { events } = context
  const processId = event.processId ?? 0
  const { kind } = event
  switch (kind) {
    case 'connected':
      events.report('connected', { processId })
      break
    case 'disconnected':
      events.report('disconnected', { error: fromNativeError(event.error!), processId })
      break
    case 'attemptFailed': {
      const error = fromNativeError(event.error!)
      if (event.needsAttention === true) events.report('error', error)
      else
        events.report('warning', {
          kind: 'attempt',
          message: `attempt ${event.attempt} to connect ${isFirst ? '' : 'again '}failed: ${error.message}`,
          error,
        })
      break
    }
    case 'reconnecting': {
      const [attempt, delayMs] = [event.attempt ?? 0, event.delayMs ?? 0]
      const error = fromNativeError(event.error!)
      events.report('reconnecting', { attempt, delayMs, error })
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
      events.report('warning', { kind: 'notice', message: notice.message, notice })
      break
    }
    case 'warning':
      events.report('warning', { kind: 'session', message: event.message! })
      break
    case 'closed':
      events.report('closed', closedError(fromNativeError(event.error!)))
      break
    default:
      // As an event, because the events behind it are to be reported all the same.
      events.report('error', unknownKind('event', kind, event.message))
  }
}
