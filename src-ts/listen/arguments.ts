// Checks of the arguments that the methods of a listener take.
import { ArgumentRangeError, ListenerCallbackError } from '../errors.js'
import {
  MAX_DELAY_MS,
  checkBoolean,
  checkChannel,
  checkFunction,
  checkNumber,
  checkOneOf,
  checkOptions,
  type Complete,
} from '../options/validate.js'
import { resolveMessagesOptions, type ResolvedBatchesOptions } from '../options/iterator.js'
import type { OnceOptions, ShutdownOptions, StartupOptions, SubscribeOptions } from './types.js'
import { checkWait } from '../options/wait.js'

const SUBSCRIBE_OPTIONS = [
  'signal',
  'gaps',
  'limit',
  'coalesce',
  'filter',
  'timeoutMs',
] as const satisfies (keyof SubscribeOptions)[]
const ONCE_OPTIONS = ['signal', 'gaps', 'timeoutMs'] as const satisfies (keyof OnceOptions)[]
const STARTUP_OPTIONS = ['retry', 'signal', 'timeoutMs'] as const satisfies (keyof StartupOptions)[]
const SHUTDOWN_OPTIONS = ['drain', 'timeoutMs'] as const satisfies (keyof ShutdownOptions)[]

/** How long a shutdown may take by default, in milliseconds. */
export const DEFAULT_SHUTDOWN_TIMEOUT_MS = 5000

/** Checks the options of `startup()`. */
export function resolveStartupOptions(options: StartupOptions): StartupOptions {
  checkOptions('options', options, STARTUP_OPTIONS)
  if (options.retry !== undefined) checkBoolean('retry', options.retry)
  checkWait(options)
  return options
}

/** Checks the arguments of `subscribe()` and fills in the defaults. */
export function resolveSubscribeArguments(
  channels: string | readonly string[],
  options: SubscribeOptions = {},
): ResolvedBatchesOptions & { channels: readonly string[]; timeoutMs: number | undefined } {
  checkOptions('options', options, SUBSCRIBE_OPTIONS)
  const { timeoutMs, ...iteration } = options
  checkWait(options)
  if (!Array.isArray(channels)) checkChannel(channels, 'channels')
  const names = typeof channels === 'string' ? [channels] : channels
  const resolved = resolveMessagesOptions({ ...iteration, channels: names })
  if (names.length === 0)
    throw new ArgumentRangeError(
      'Expected `channels` to be the name of a channel, or at least one name, got none',
    )
  return { ...resolved, channels: [...new Set(names)], timeoutMs }
}

/** Checks the options of `once()` for a channel. */
export function resolveOnceOptions(options: OnceOptions = {}): OnceOptions {
  checkOptions('options', options, ONCE_OPTIONS)
  checkWait(options)
  if (options.gaps !== undefined) checkOneOf('gaps', options.gaps, ['skip', 'throw'])
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

/** Checks a callback, which a message calls by `name`. Throws {@link ListenerCallbackError}. */
export function checkCallback(callback: unknown, name = 'callback'): void {
  checkFunction(name, callback, callbackErrors)
}

const callbackErrors = {
  type: (message: string) => new ListenerCallbackError(message),
  range: (message: string) => new ListenerCallbackError(message),
}
