// The diagnostics channels of pglisten: messages, and calls from their beginning to their end.
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type {
  CallbackContext,
  ErrorFacts,
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
  const listener = (message: unknown) => onMessage(message)
  subscribe(name, listener)
  return () => unsubscribe(name, listener)
}

/** Calls `work`, and `onEnd` when it has returned or thrown; if it returns a promise, or what is like one, when that has settled. */
export function followed<Result>(
  work: () => Result,
  onEnd: (failure: Failure | undefined) => void,
): Result {
  const fail = (error: unknown) => onEnd(failureOf({ error: error ?? new Error() }))
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
    onEnd(undefined)
    return result
  }
  return Promise.resolve(result).then(
    (value: unknown) => {
      onEnd(undefined)
      return value
    },
    (error: unknown) => {
      fail(error)
      throw error
    },
  ) as Result
}

/** The name of a class. */
const NAME = /^\w{1,64}$/
/** A code as programs have it, such as `ENOENT`: other texts may be data of the user's. */
const CODE = /^[A-Z][A-Z0-9_]{0,63}$/
/** An SQLSTATE. */
const SQL_STATE = /^[0-9A-Z]{5}$/

/** The value of `error.type` for a call that has failed, the narrowest that is known; and the SQLSTATE, if there is one. */
export interface Failure {
  type: string
  sqlState: string | undefined
}

/**
 * Says how a call has failed; `undefined` if it has not. The context has the facts of the error, or, if the pool's options say
 * so, what was thrown. Nothing is told but names and codes: a message may hold anything.
 */
export function failureOf({ error }: TracingContext): Failure | undefined {
  if (error === undefined) return undefined
  try {
    const sqlState = field(error, 'sqlState', SQL_STATE)
    const type = sqlState ?? field(error, 'code', CODE) ?? nameOf(error) ?? 'Error'
    return { type, sqlState }
  } catch {
    // A getter or a proxy of the user's.
    return { type: 'Error', sqlState: undefined }
  }
}

/** The name of the error's class, because its own name may be any text. */
function nameOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null) return undefined
  const prototype = Object.getPrototypeOf(error) as { constructor?: unknown } | null
  const facts = prototype === Object.prototype && Object.keys(error).join() === FACTS
  return facts ? field(error, 'name', NAME) : field(prototype?.constructor, 'name', NAME)
}

const FACTS = (['name', 'code', 'sqlState'] satisfies (keyof ErrorFacts)[]).join()

function field(value: unknown, name: string, form: RegExp): string | undefined {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return undefined
  const text = (value as Record<string, unknown>)[name]
  return typeof text === 'string' && form.test(text) ? text : undefined
}
