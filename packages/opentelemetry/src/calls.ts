// The diagnostics channels of pglisten: messages, and calls from their beginning to their end.
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type {
  CallbackContext,
  GapMessage,
  HandlerContext,
  ListenerMessage,
  NotifyContext,
  PoolMessage,
  QueueMessage,
  SessionMessage,
  SettledMessage,
  StatementContext,
  SubscriptionMessage,
  TracingContext,
} from 'pglisten'
import { contained, failureOf, type Failure } from './failure.js'

/** The channels, with their messages. */
interface Messages {
  'pglisten:pool': PoolMessage
  'pglisten:listener': ListenerMessage
  'pglisten:session': SessionMessage
  'pglisten:gap': GapMessage
  'pglisten:queue': QueueMessage
  'pglisten:settled': SettledMessage
  'pglisten:subscription': SubscriptionMessage
}

/** The tracing channels, with the contexts of their calls. */
export interface TracedCalls {
  'pglisten:callback': CallbackContext
  'pglisten:handler': HandlerContext
  'pglisten:statement': StatementContext
  'pglisten:notify': NotifyContext
}

/** Hears of the calls of a tracing channel. */
export interface CallWatcher<Context extends TracingContext> {
  /** Called before the call. */
  begin(call: Context): void
  /** Called when the call has returned or thrown; if it has returned a promise, when that has settled. */
  end(call: Context): void
}

/** Subscribes to a channel. Returns a function that ends the subscription. */
export function hear<Name extends keyof Messages>(
  name: Name,
  onMessage: (message: Messages[Name]) => void,
): () => void {
  return hearAny(name, (message) => onMessage(message as Messages[Name]))
}

/** Subscribes to a tracing channel. Returns a function that ends the subscription. */
export function hearCalls<Name extends keyof TracedCalls>(
  name: Name,
  watcher: CallWatcher<TracedCalls[Name]>,
): () => void {
  const ends = [
    hearAny(`tracing:${name}:start`, (call) => watcher.begin(call as TracedCalls[Name])),
    hearAny(`tracing:${name}:end`, (message) => {
      const call = message as TracedCalls[Name]
      if (call.returnedPromise !== true) watcher.end(call)
    }),
    hearAny(`tracing:${name}:asyncEnd`, (call) => watcher.end(call as TracedCalls[Name])),
  ]
  return () => {
    for (const end of ends) end()
  }
}

function hearAny(name: string, onMessage: (message: unknown) => void): () => void {
  const what = `what hears of \`${name}\``
  // Node would end the process with what a subscriber throws.
  const listener = (message: unknown) => contained(what, () => onMessage(message))
  subscribe(name, listener)
  return () => unsubscribe(name, listener)
}

/**
 * Calls `work`, and `onEnd` when it has returned or thrown; if it returns a promise, or what is like one, when that has settled.
 * Whatever `onEnd` does, the outcome is that of `work`.
 */
export function followed<Result>(
  work: () => Result,
  onEnd: (failure: Failure | undefined) => void,
): Result {
  const end = (failure?: Failure) => contained('the end of a call', () => onEnd(failure))
  const fail = (error: unknown) => end(failureOf({ error: error ?? new Error() }))
  let result: Result
  let isPending: boolean
  try {
    result = work()
    // A promise of any realm, and what is only like one, such as the queries of some libraries. A look at `then` may throw.
    isPending = typeof (result as { then?: unknown } | null | undefined)?.then === 'function'
  } catch (error) {
    fail(error)
    throw error
  }
  if (!isPending) {
    end()
    return result
  }
  return Promise.resolve(result).then(
    (value: unknown) => {
      end()
      return value
    },
    (error: unknown) => {
      fail(error)
      throw error
    },
  ) as Result
}
