// The bounds of a wait on a listener: their documentation and their checks.
import { MAX_DELAY_MS, checkNumber, checkOptions, checkSignal } from './validate.js'

/** The bounds of a wait on a listener. */
export interface WaitOptions {
  /** Ends the wait when it is aborted: the promise rejects with its reason. @default no signal */
  signal?: AbortSignal | undefined
  /**
   * The longest time of the wait, in milliseconds, from 0 to 2147483647. Then the promise rejects with
   * {@link ListenerTimeoutError}.
   * @default no limit
   */
  timeoutMs?: number | undefined
}

const NAMES = ['signal', 'timeoutMs'] as const satisfies (keyof WaitOptions)[]

/** @internal Checks the options of a wait. */
export function resolveWaitOptions(options: WaitOptions = {}): WaitOptions {
  checkOptions('options', options, NAMES)
  checkWait(options)
  return options
}

/** @internal Checks the bounds among other options. */
export function checkWait({ signal, timeoutMs }: WaitOptions): void {
  if (signal !== undefined) checkSignal('signal', signal)
  if (timeoutMs !== undefined) checkNumber('timeoutMs', timeoutMs, { min: 0, max: MAX_DELAY_MS })
}
