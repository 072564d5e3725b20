// The steps that callbacks and iterators share: parsing a payload, and reporting what goes wrong with a delivery.
import { ListenerCallbackError } from '../errors.js'
import type { SlowWatch } from './calls.js'
import type { ListenerContext } from './context.js'
import type { ListenerEmitter } from './events.js'
import type { Gap } from './gap.js'
import type { ParseChannel, ParsePayload } from '../options/listener.js'
import { asThenable, disregard } from '../native/thenable.js'
import { Misfit } from '../options/schemas.js'
import { describe } from '../options/validate.js'

/** The result of {@link parsePayload} when `parse` threw: the notification is not delivered. */
export const UNPARSED = Symbol('unparsed')

/**
 * Returns the value that the user's `parse` makes of a payload. When `parse` throws, or returns a promise, reports that
 * and returns {@link UNPARSED}.
 */
export function parsePayload(
  context: ListenerContext,
  parse: ParsePayload,
  channel: string,
  text: string,
  processId: number,
): unknown {
  let promise: PromiseLike<unknown> | undefined
  try {
    const payload = parse(text, channel as ParseChannel)
    // Inside the `try`, because a look at `then` may run the user's code too.
    promise = asThenable(payload)
    if (!promise) return payload
  } catch (cause) {
    // The commonest reason: `JSON.parse` and a plain NOTIFY, which somebody sent as a wake-up.
    const ofParse = text === '' ? '`parse` failed: the payload is empty' : '`parse` failed'
    const what = cause instanceof Misfit ? cause.message : ofParse
    reportFailure(context, what, cause, channel, text, processId)
    return UNPARSED
  }
  disregard(promise)
  const got = `\`parse\` must be synchronous, but it returned ${describe(promise)}`
  reportFailure(context, got, undefined, channel, text, processId)
  return UNPARSED
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

/** Makes what tells of callbacks that are pending for longer than `slowMs`; `undefined` for `false`. */
export function slowCalls(slowMs: number | false, events: ListenerEmitter): SlowWatch | undefined {
  if (slowMs === false) return undefined
  const onSlow = (channel: string | undefined, pendingMs: number) => {
    const whose = channel === undefined ? 'a gap callback' : `a callback of channel \`${channel}\``
    const message = `${whose} has been pending for ${Math.round(pendingMs)} ms: \`slowCallbackMs\` is ${slowMs}`
    const about = channel === undefined ? {} : { channel }
    events.report('warning', { kind: 'slowCallback', message, ...about })
  }
  return { slowMs, onSlow }
}

/** Emits a `warning`: the user's code left a transaction open, and the end of the lease rolled it back. */
export function reportRollback(
  context: ListenerContext,
  message: string,
  channel: string | undefined,
): void {
  const about = channel === undefined ? {} : { channel }
  context.events.report('warning', { kind: 'rollback', message, ...about })
}
