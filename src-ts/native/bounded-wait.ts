// Waits that can be given up: by a signal, or after a time.
import { watchAbort } from './abort.js'
import { clearTimeout, setTimeout } from './timers.js'

/** The bounds of a wait. */
export interface Bounds {
  signal?: AbortSignal | undefined
  timeoutMs?: number | undefined
}

/**
 * Calls one of two functions, once, when a wait is over: `abort` with the signal's reason, `expire` when its time is over.
 * The caller must call the returned function when the wait has ended otherwise.
 */
export function watchBounds(
  { signal, timeoutMs }: Bounds,
  abort: (reason: unknown) => void,
  expire: (timeoutMs: number) => void,
): () => void {
  let timer: NodeJS.Timeout | undefined
  const unwatch = watchAbort(signal, (reason) => {
    clearTimeout(timer)
    abort(reason)
  })
  if (timeoutMs !== undefined) {
    timer = setTimeout(() => {
      unwatch()
      expire(timeoutMs)
    }, timeoutMs)
  }
  return () => {
    clearTimeout(timer)
    unwatch()
  }
}

/** Waits for a promise within bounds. After the time it rejects with what `late` makes. */
export function settledWithin<Result>(
  bounds: Bounds,
  promise: Promise<Result>,
  late: (timeoutMs: number) => Error,
): Promise<Result> {
  if (!bounds.signal && bounds.timeoutMs === undefined) return promise
  return new Promise((resolve, reject) => {
    const over = watchBounds(bounds, reject, (timeoutMs) => reject(late(timeoutMs)))
    promise.finally(over).then(resolve, reject)
  })
}
