// Calls that are told to a tracing channel, with the moments and the order that `tracePromise()` and `traceSync()` of
// `node:diagnostics_channel` have. Their results are left out: they are the user's data.
import { asThenable, whenSettled } from '../native/thenable.js'
import { callbackChannels, type TracingChannels, type TracingContext } from './channels.js'
import { errorFacts } from './facts.js'

/** Whether anybody hears of calls. */
export function isTraced({ start, end, asyncStart, asyncEnd, error }: TracingChannels): boolean {
  return (
    start.hasSubscribers ||
    end.hasSubscribers ||
    asyncStart.hasSubscribers ||
    asyncEnd.hasSubscribers ||
    error.hasSubscribers
  )
}

/** Whether anybody hears of callbacks. Asked once for each run of deliveries. */
export const areCallbacksTraced = (): boolean => isTraced(callbackChannels)

/**
 * Calls a function, within the stores that are bound to `start`, and tells of its moments. It returns what the function
 * returned; in the place of a promise, one that settles as that does and that was told of before. `tellsErrors`: whether the
 * context gets the error itself.
 */
export function traced<Result>(
  channels: TracingChannels,
  context: TracingContext,
  tellsErrors: boolean,
  call: () => Result,
): Result {
  const { start, end, asyncStart, asyncEnd, error } = channels
  const fail = (cause: unknown): void => {
    note(context, 'error', tellsErrors ? cause : errorFacts(cause))
    error.publish(context)
  }
  const settle = (): void => {
    asyncStart.publish(context)
    asyncEnd.publish(context)
  }
  return start.runStores(context, () => {
    let result: Result
    let promise: PromiseLike<unknown> | undefined
    try {
      result = call()
      promise = asThenable(result)
    } catch (cause) {
      fail(cause)
      throw cause
    } finally {
      note(context, 'returnedPromise', promise !== undefined)
      end.publish(context)
    }
    if (!promise) return result
    const pending = promise
    // Its `then` is called once: some begin their work with it.
    return new Promise((resolve, reject) => {
      whenSettled(
        pending,
        (value) => {
          settle()
          resolve(value)
        },
        (cause) => {
          fail(cause)
          settle()
          reject(cause)
        },
      )
    }) as Result
  })
}

/** Sets a field of a context, unless a subscriber has frozen it. */
function note(context: TracingContext, field: keyof TracingContext, value: unknown): void {
  Reflect.set(context, field, value)
}
