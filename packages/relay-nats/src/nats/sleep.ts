// Waiting that can be ended.

/** Resolves after `ms`, or rejects with the reason of `signal` when that is aborted. */
export function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason as Error)
      return
    }
    const end = () => {
      clearTimeout(timer)
      reject(signal.reason as Error)
    }
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', end)
      resolve()
    }, ms)
    signal.addEventListener('abort', end, { once: true })
  })
}

/** Runs `work` with a signal that is aborted with the first of two. */
export async function untilEither<Result>(
  one: AbortSignal,
  other: AbortSignal,
  work: (signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  // Not AbortSignal.any(): Node.js 20 keeps a trace of each such signal for as long as the one of the two lives that lives longer.
  const either = new AbortController()
  const watch = (signal: AbortSignal) => {
    const end = () => either.abort(signal.reason)
    if (signal.aborted) end()
    else signal.addEventListener('abort', end, { once: true })
    return () => signal.removeEventListener('abort', end)
  }
  const unwatch = [watch(one), watch(other)]
  try {
    return await work(either.signal)
  } finally {
    for (const end of unwatch) end()
  }
}

/** Delays that double from one to the next, up to a bound, each of them random between half and all of it. */
export class Backoff {
  readonly #first: number
  readonly #most: number
  #next: number

  constructor(first: number, most: number) {
    this.#first = first
    this.#most = most
    this.#next = first
  }

  /** Waits for the next delay. */
  async wait(signal: AbortSignal): Promise<void> {
    const ms = this.#next
    this.#next = Math.min(this.#most, ms * 2)
    await sleep(ms / 2 + (Math.random() * ms) / 2, signal)
  }

  /** The next delay is the first one again. */
  reset(): void {
    this.#next = this.#first
  }
}
