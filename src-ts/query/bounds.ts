// The bounds of a call: a signal, and a time. They reach the server, where the statement is cancelled.
import { NativeCallBounds } from '#native'
import { ArgumentTypeError, ConnectionTimeoutError } from '../errors.js'
import { watchAbort } from '../native/abort.js'
import { AbortedError } from '../native/aborted.js'
import { settledWithin, watchBounds } from '../native/bounded-wait.js'
import { warnOfDefect } from '../native/defect.js'
import type { CallOptions } from '../options/call.js'
import { checkOptions } from '../options/validate.js'
import { checkWait } from '../options/wait.js'

export type { CallOptions }

/** @internal The bounds of a call that may be made within a transaction. */
export interface CallBounds extends CallOptions {
  /**
   * Aborted when a bound of the transaction is reached. A signal of its own, as Node.js 20 keeps a trace of each `AbortSignal.any()` for as
   * long as the signals live that it is made of.
   */
  readonly ofTransaction?: AbortSignal | undefined
}

const NAMES = ['signal', 'timeoutMs'] as const satisfies (keyof CallOptions)[]

/** The names of the options of all methods that take parameters. */
const OPTION_NAMES: ReadonlySet<string> = new Set([
  ...NAMES,
  'prepared',
  'types',
  'rowMode',
  'map',
  'columns',
  'batchSize',
])

/** Whether a value looks like options: an object whose keys, at least one, are all names of options. */
export function looksLikeOptions(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  const keys = Object.keys(value)
  return keys.length > 0 && keys.every((key) => OPTION_NAMES.has(key))
}

/** Checks the options of a call. */
export function resolveCallOptions(options: CallOptions = {}): CallOptions {
  checkOptions('options', options, NAMES)
  const { signal, timeoutMs } = options
  checkWait(options)
  return { signal, timeoutMs }
}

/** Tells what is left of the bounds of a call that takes several steps. An error names the time: in whole milliseconds. */
export function countdown({ signal, timeoutMs }: CallOptions): () => CallOptions {
  if (timeoutMs === undefined) return () => ({ signal })
  const deadline = performance.now() + timeoutMs
  return () => ({ signal, timeoutMs: Math.max(0, Math.ceil(deadline - performance.now())) })
}

/** Refuses options in the place of parameters. */
export function refuseOptions(params: unknown, name = 'params'): void {
  if (!looksLikeOptions(params)) return
  throw new ArgumentTypeError(
    `Expected \`${name}\` to be an array, got options: they are the third argument, after the parameters`,
  )
}

/**
 * Starts a call within bounds, at once, so that its place in the order is taken when this returns. `start` gets
 * `undefined` when there is no bound. The listeners of the signals come off again on every way out.
 */
export function bounded<Result>(
  { signal, ofTransaction, timeoutMs }: CallBounds,
  start: (bounds: NativeCallBounds | undefined) => Promise<Result>,
): Promise<Result> {
  if (!signal && !ofTransaction && timeoutMs === undefined) return start(undefined)
  if (signal?.aborted) return Promise.reject(signal.reason as Error)
  if (ofTransaction?.aborted) return Promise.reject(ofTransaction.reason as Error)
  const bounds = new NativeCallBounds(timeoutMs)
  let aborted: { reason: unknown } | undefined
  const abort = (reason: unknown) => {
    if (aborted) return
    aborted = { reason }
    try {
      bounds.abort()
    } catch (error) {
      // Nobody catches what the listener of a signal throws. The statement goes on.
      warnOfDefect(error)
    }
  }
  const unwatch = watchAbort(signal, abort)
  const unwatchTransaction = watchAbort(ofTransaction, abort)
  return settled(
    start(bounds),
    () => aborted,
    () => {
      unwatch()
      unwatchTransaction()
    },
  )
}

/** Waits for a lease that is still to come, within the bounds of the call that needs it. */
export function leasedWithin<Lease>(bounds: CallOptions, leasing: Promise<Lease>): Promise<Lease> {
  return settledWithin(bounds, leasing, lateLease)
}

/**
 * Starts something on a lease that is still to come, unless the bounds of the call are reached before. It starts in the very reaction to
 * `leasing` that is added here: what is added later, such as the end of the lease, comes behind it.
 */
export function startedOn<Lease, Result>(
  bounds: CallOptions,
  leasing: Promise<Lease>,
  start: (lease: Lease) => Promise<Result>,
): Promise<Result> {
  const { signal, timeoutMs } = bounds
  if (!signal && timeoutMs === undefined) return leasing.then(start)
  return new Promise((resolve, reject) => {
    let isGivenUp = false
    const giveUp = (reason: unknown) => {
      isGivenUp = true
      reject(reason)
    }
    const unwatch = watchBounds(bounds, giveUp, (after) => giveUp(lateLease(after)))
    const started = leasing.then(
      (lease) => {
        unwatch()
        // Nobody waits for the outcome of a call that was given up.
        return isGivenUp ? (undefined as never) : start(lease)
      },
      (error: unknown) => {
        unwatch()
        throw error
      },
    )
    started.then(resolve, reject)
  })
}

function lateLease(timeoutMs: number): ConnectionTimeoutError {
  return new ConnectionTimeoutError(`waiting for a connection took longer than ${timeoutMs} ms`)
}

async function settled<Result>(
  outcome: Promise<Result>,
  aborted: () => { reason: unknown } | undefined,
  unwatch: () => void,
): Promise<Result> {
  try {
    return await outcome
  } catch (error) {
    const abort = error instanceof AbortedError && aborted()
    if (abort) throw abort.reason
    throw error
  } finally {
    unwatch()
  }
}
