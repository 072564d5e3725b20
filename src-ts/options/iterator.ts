// The options of iterators.
import { ArgumentTypeError } from '../errors.js'
import {
  MAX_DELAY_MS,
  checkChannel,
  checkNumber,
  checkOneOf,
  checkOptions,
  checkSignal,
  expected,
} from './validate.js'

const GAP_MODES: readonly GapMode[] = ['skip', 'throw', 'include']

/**
 * What an iterator does at a {@link Gap}: `skip` goes on (the listener's `gap` event tells of it all the same), `throw`
 * ends with a {@link ListenerGapError}, `include` yields it.
 */
export type GapMode = 'skip' | 'throw' | 'include'

/** Options of {@link Listener.messages}. */
export interface MessagesOptions<Gaps extends GapMode = GapMode> {
  /** The channels to yield, of those that are subscribed to. @default all of them */
  channels?: readonly string[]
  /** Ends the iteration by throwing its reason. */
  signal?: AbortSignal
  /** @default `skip` */
  gaps?: Gaps
}

/** Options of {@link Listener.batches}. */
export interface BatchesOptions<Gaps extends GapMode = GapMode> extends MessagesOptions<Gaps> {
  /** The most messages in a batch; with 256 KiB of payloads one is complete too, if it need not wait. @default 1024 */
  maxSize?: number
  /**
   * How long to wait for a batch to fill up, in milliseconds, from its first message on. 0 yields what is there.
   * @default 0
   */
  maxWaitMs?: number
}

/** @internal */
export interface ResolvedBatchesOptions {
  channels: readonly string[] | undefined
  signal: AbortSignal | undefined
  gaps: GapMode
  maxSize: number
  maxWaitMs: number
}

const MESSAGES_OPTIONS = ['channels', 'signal', 'gaps'] as const
const BATCHES_OPTIONS = [...MESSAGES_OPTIONS, 'maxSize', 'maxWaitMs'] as const

/** @internal Checks the options of {@link Listener.messages}. */
export function resolveMessagesOptions(options: MessagesOptions = {}): ResolvedBatchesOptions {
  checkOptions('options', options, MESSAGES_OPTIONS)
  return resolveBatchesOptions(options)
}

/** @internal Checks the options of {@link Listener.batches}. */
export function resolveBatchesOptions(options: BatchesOptions = {}): ResolvedBatchesOptions {
  checkOptions('options', options, BATCHES_OPTIONS)
  const { channels, signal, gaps = 'skip', maxSize = 1024, maxWaitMs = 0 } = options
  if (channels !== undefined) {
    if (!Array.isArray(channels))
      throw new ArgumentTypeError(expected('channels', 'an array of names', channels))
    channels.forEach((channel, index) => checkChannel(channel, `channels[${index}]`))
  }
  if (signal !== undefined) checkSignal('signal', signal)
  checkOneOf('gaps', gaps, GAP_MODES)
  checkNumber('maxSize', maxSize, { min: 1, integer: true, infinity: true })
  checkNumber('maxWaitMs', maxWaitMs, { min: 0, max: MAX_DELAY_MS })
  return { channels, signal, gaps, maxSize, maxWaitMs }
}
