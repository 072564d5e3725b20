// The steps that callbacks and iterators share: parsing a payload, and reporting what goes wrong with a delivery.
import { ListenerCallbackError } from '../errors.js'
import type { ListenerContext } from './context.js'
import type { Gap } from './gap.js'
import type { ParseChannel, ParsePayload } from '../options/listener.js'

/** The result of {@link parsePayload} when `parse` threw: the notification is not delivered. */
export const UNPARSED = Symbol('unparsed')

/**
 * Returns the value that the user's `parse` makes of a payload. When `parse` throws, reports that and returns {@link
 * UNPARSED}.
 */
export function parsePayload(
  context: ListenerContext,
  parse: ParsePayload,
  channel: string,
  text: string,
  processId: number,
): unknown {
  try {
    return parse(text, channel as ParseChannel)
  } catch (cause) {
    reportFailure(context, '`parse` failed', cause, channel, text, processId)
    return UNPARSED
  }
}

/** Counts a failure of the user's code and emits it as an `error` event. */
export function reportFailure(
  context: ListenerContext,
  message: string,
  cause: unknown,
  channel: string | undefined,
  payload: unknown,
  processId: number | undefined,
): void {
  context.counters.callbackErrors += 1
  const error = new ListenerCallbackError(message, { cause, channel, payload, processId })
  context.events.report('error', error)
}

/**
 * Counts a gap and emits it as a `gap` event, if the consumer's own overflow made it. Every other gap belongs to the
 * whole listener, and the session's events report it once.
 */
export function reportOverflow(context: ListenerContext, gap: Gap): void {
  if (gap.reason !== 'overflow') return
  context.counters.gaps += 1
  context.events.report('gap', gap)
}

/** Emits a `warning`: the user's code left a transaction open, and the end of the lease rolled it back. */
export function reportRollback(
  context: ListenerContext,
  message: string,
  channel: string | undefined,
): void {
  context.events.report('warning', { message, ...(channel === undefined ? {} : { channel }) })
}
