// The end of a pool.
import { MAX_DELAY_MS, checkNumber, checkOptions } from '../options/validate.js'

/** How long `close()` waits for leased connections, in milliseconds. */
const CLOSE_TIMEOUT_MS = 5000

/** The options of {@link ConnectionPool.close}. */
export interface PoolCloseOptions {
  /**
   * How long leased connections are waited for, in milliseconds, from 0 to 2147483647. @default 5000
   */
  timeoutMs?: number | undefined
}

/** @internal Checks the options. Returns how long leased connections are waited for, in milliseconds. */
export function resolveCloseOptions(options: PoolCloseOptions = {}): number {
  checkOptions('options', options, ['timeoutMs'])
  const { timeoutMs = CLOSE_TIMEOUT_MS } = options
  checkNumber('timeoutMs', timeoutMs, { min: 0, max: MAX_DELAY_MS })
  return timeoutMs
}
