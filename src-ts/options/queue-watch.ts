// The options by which a pool watches the server's queue of notifications.
import { MAX_DELAY_MS, checkNumber, checkOptions, type CheckErrors } from './validate.js'

/**
 * How the server's queue of notifications is watched. A backend that listens and stays in a transaction, or whose client does not
 * read, keeps the queue of all databases from being emptied. When the queue is full, each transaction that notifies fails.
 */
export interface QueueWatchOptions {
  /**
   * The time between two looks, in milliseconds, from 1 to 2147483647. A look is a short statement on a connection of the pool;
   * there is none while no listener of the pool is started.
   * @default 60000
   */
  intervalMs?: number | undefined
  /** How much of the queue has to be in use for a `warning` event, from more than 0 to 1. @default 0.25 */
  threshold?: number | undefined
}

/** @internal The options of a watch, checked and complete. */
export interface ResolvedQueueWatch {
  intervalMs: number
  threshold: number
}

/** @internal Checks the options of a watch; `undefined` for `false`. */
export function resolveQueueWatch(
  value: unknown,
  errors: CheckErrors,
): ResolvedQueueWatch | undefined {
  if (value === false) return undefined
  checkOptions('queueWatch', value, ['intervalMs', 'threshold'], errors)
  const { intervalMs = 60_000, threshold = 0.25 } = value as QueueWatchOptions
  checkNumber('queueWatch.intervalMs', intervalMs, { min: 1, max: MAX_DELAY_MS }, errors)
  checkNumber('queueWatch.threshold', threshold, { min: Number.MIN_VALUE, max: 1 }, errors)
  return { intervalMs, threshold }
}
