// Waiting that can be ended, and work that ends soon once it is to.
import { ConnectionTimeoutError } from '../errors.js'
import { nothing, watchAbort } from '../native/abort.js'
import { clearTimeout, setTimeout } from '../native/timers.js'

/** Waits for so long, in milliseconds, or until `sooner` resolves or `stop` is aborted. */
export async function waited(ms: number, stop: AbortSignal, sooner?: Promise<void>): Promise<void> {
  if (stop.aborted) return
  let timer: NodeJS.Timeout | undefined
  let unwatch = nothing
  await Promise.race([
    new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ms)
      unwatch = watchAbort(stop, () => resolve())
    }),
    ...(sooner ? [sooner] : []),
  ])
  clearTimeout(timer)
  unwatch()
}

/** For how long what is done at the end of a run waits for a server that may have been cut off in silence, in milliseconds. */
const END_MS = 2000

/** Runs `work` with a signal that is aborted some seconds after `stop` is, or after the call where that is later. */
export async function outlasting<Result>(
  stop: AbortSignal,
  work: (signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  const bound = new AbortController()
  let timer: NodeJS.Timeout | undefined
  const onStop = () => {
    const late = () =>
      bound.abort(new ConnectionTimeoutError(`the server did not answer within ${END_MS} ms`))
    timer = setTimeout(late, END_MS)
  }
  const unwatch = watchAbort(stop, onStop)
  if (stop.aborted) onStop()
  try {
    return await work(bound.signal)
  } finally {
    clearTimeout(timer)
    unwatch()
  }
}

/** The longest wait after failures, unless the first one is longer, in milliseconds. */
const MAX_RETRY_DELAY_MS = 30_000

/** The wait after so many failures of an event, in milliseconds: at first `firstMs`, and then twice as long each time. */
export function retryDelay(firstMs: number, failures: number): number {
  // 0 times Infinity is no number.
  const doubled = firstMs * 2 ** Math.min(failures - 1, 31)
  return Math.min(doubled, Math.max(firstMs, MAX_RETRY_DELAY_MS))
}
