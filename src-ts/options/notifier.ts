// The options of a notifier: their documentation, their defaults and their checks.
import { MAX_DELAY_MS, checkFunction, checkNumber, checkOptions } from './validate.js'

/** The options of {@link ConnectionPool.notifier}. */
export interface NotifierOptions {
  /**
   * How long the first payload waits for others, in milliseconds, from 0 to 2147483647. Payloads that follow do not make the
   * wait longer. With 0 those of one turn of the event loop are sent together.
   * @default 10
   */
  delayMs?: number | undefined
  /**
   * The most payloads that wait, and that one transaction sends: an integer from 1. When so many wait, or 1 MiB of them, they
   * are sent at once. While others are still under way, the next one is refused.
   * @default 10000
   */
  maxPayloads?: number | undefined
  /**
   * The longest time that one transaction may take, the wait for a connection included, in milliseconds, from 0 to
   * 2147483647. Then its payloads are given up.
   * @default 30000
   */
  timeoutMs?: number | undefined
  /**
   * Called when payloads were not sent, once for all that failed together, with the texts that would have been sent; it need
   * not await anything that {@link Notifier.notify} returned. An error that it throws is an uncaught exception.
   * @default a warning of the process, at the first failure after a success
   */
  onError?: ((error: unknown, payloads: string[]) => void) | undefined
}

/** @internal The options of a notifier, checked and complete. */
export interface ResolvedNotifierOptions {
  delayMs: number
  maxPayloads: number
  timeoutMs: number
  onError: ((error: unknown, payloads: string[]) => void) | undefined
}

const NAMES = [
  'delayMs',
  'maxPayloads',
  'timeoutMs',
  'onError',
] as const satisfies (keyof NotifierOptions)[]

/** @internal Checks the options of a notifier. */
export function resolveNotifierOptions(options: NotifierOptions = {}): ResolvedNotifierOptions {
  checkOptions('options', options, NAMES)
  const { delayMs = 10, maxPayloads = 10_000, timeoutMs = 30_000, onError } = options
  checkNumber('delayMs', delayMs, { min: 0, max: MAX_DELAY_MS })
  checkNumber('maxPayloads', maxPayloads, { min: 1, integer: true })
  checkNumber('timeoutMs', timeoutMs, { min: 0, max: MAX_DELAY_MS })
  if (onError !== undefined) checkFunction('onError', onError)
  return { delayMs, maxPayloads, timeoutMs, onError }
}
