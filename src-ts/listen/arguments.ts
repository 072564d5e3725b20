// Checks of the arguments that the methods of a listener take.
import { ListenerCallbackError } from '../errors.js'
import {
  MAX_DELAY_MS,
  checkBoolean,
  checkFunction,
  checkNumber,
  checkOptions,
  checkSignal,
  type Complete,
} from '../options/validate.js'
import type { ShutdownOptions, StartupOptions, SyncOptions } from './types.js'

const STARTUP_OPTIONS = ['retry', 'signal'] as const satisfies (keyof StartupOptions)[]
const SHUTDOWN_OPTIONS = ['drain', 'timeoutMs'] as const satisfies (keyof ShutdownOptions)[]
const SYNC_OPTIONS = ['signal'] as const satisfies (keyof SyncOptions)[]

/** How long a shutdown may take by default, in milliseconds. */
export const DEFAULT_SHUTDOWN_TIMEOUT_MS = 5000

/** Checks the options of `startup()`. */
export function resolveStartupOptions(options: StartupOptions): StartupOptions {
  checkOptions('options', options, STARTUP_OPTIONS)
  if (options.retry !== undefined) checkBoolean('retry', options.retry)
  if (options.signal !== undefined) checkSignal('signal', options.signal)
  return options
}

/** Checks the options of `shutdown()` and fills in the defaults. */
export function resolveShutdownOptions(options: ShutdownOptions): Complete<ShutdownOptions> {
  checkOptions('options', options, SHUTDOWN_OPTIONS)
  const { drain = false, timeoutMs = DEFAULT_SHUTDOWN_TIMEOUT_MS } = options
  checkBoolean('drain', drain)
  checkNumber('timeoutMs', timeoutMs, { min: 0, max: MAX_DELAY_MS })
  return { drain, timeoutMs }
}

/** Checks the options of `sync()`. */
export function resolveSyncOptions(options: SyncOptions): SyncOptions {
  checkOptions('options', options, SYNC_OPTIONS)
  if (options.signal !== undefined) checkSignal('signal', options.signal)
  return options
}

/** Checks a callback. Throws {@link ListenerCallbackError}. */
export function checkCallback(callback: unknown): void {
  checkFunction('callback', callback, callbackErrors)
}

const callbackErrors = {
  type: (message: string) => new ListenerCallbackError(message),
  range: (message: string) => new ListenerCallbackError(message),
}
