// The options of iterators: their documentation, their defaults and their checks.
import { ArgumentRangeError, ArgumentTypeError } from '../errors.js'
import {
  MAX_DELAY_MS,
  checkChannel,
  checkNumber,
  checkOneOf,
  checkOptions,
  checkSignal,
  expected,
} from './validate.js'
import {
  type CoalesceMode,
  type NotificationFilter,
  type ResolvedSelection,
  resolveSelection,
} from './selection.js'

const GAP_MODES: readonly GapMode[] = ['skip', 'throw', 'include']
const BATCH_SHAPES: readonly BatchShape[] = ['messages', 'columns']

/**
 * The behaviour of an iterator at a {@link Gap}. The listener's `gap` event reports the gap with each of them.
 *
 * - `skip`: the iterator does not yield the gap.
 * - `throw`: the iteration ends with a {@link ListenerGapError}.
 * - `include`: the iterator yields the gap, at its place among the messages.
 */
export type GapMode = 'skip' | 'throw' | 'include'

/** The options of {@link Listener.messages}. */
export interface MessagesOptions<Gaps extends GapMode = GapMode> {
  /**
   * The names of the channels whose notifications are yielded. The option does not subscribe: a channel that the
   * listener is not subscribed to yields nothing.
   * @default all channels of the listener
   */
  channels?: readonly string[] | undefined
  /** Ends the iteration when it is aborted: the next `next()` rejects with its reason. @default no signal */
  signal?: AbortSignal | undefined
  /** What the iterator does at a gap. @default `skip` */
  gaps?: Gaps | undefined
  /**
   * Which notifications are merged while they wait for this iterator, as {@link CoalesceMode} says; `false` for none.
   * What the listener's `coalesce` has merged between `startup()` and the first consumer stays merged.
   * @default the listener's `coalesce`
   */
  coalesce?: CoalesceMode | false | undefined
  /**
   * Which notifications this iterator gets, in place of the listener's `filter`; `false` for all. Of what has arrived between
   * `startup()` and the first consumer, the listener's `filter` has left out the rest already.
   * @default the listener's `filter`
   */
  filter?: NotificationFilter | false | undefined
  /**
   * Ends the iteration after so many messages: an integer from 1, or `Infinity`. Gaps do not count.
   * @default Infinity
   */
  limit?: number | undefined
}

/**
 * The shape of a batch.
 *
 * - `messages`: an array of {@link ListenerNotificationMsg}.
 * - `columns`: {@link NotificationColumns}, the cheapest to make: an array for each part of the notifications.
 */
export type BatchShape = 'messages' | 'columns'

/** The options of {@link Listener.batches}. */
export interface BatchesOptions<
  Gaps extends GapMode = GapMode,
  Shape extends BatchShape = BatchShape,
> extends Omit<MessagesOptions<Gaps>, 'limit'> {
  /** The shape of each batch. @default `messages` */
  shape?: Shape | undefined
  /**
   * The most items of a batch: an integer from 1, or `Infinity`. A batch that does not wait (`maxWaitMs` is 0) is
   * complete with 256 KiB of payloads too.
   * @default 1024
   */
  maxSize?: number | undefined
  /**
   * The longest time that a batch waits to fill up after its first message, in milliseconds, from 0 to 2147483647. With
   * 0 a batch has the messages that are buffered at the time.
   * @default 0
   */
  maxWaitMs?: number | undefined
}

/** @internal The options of an iterator, checked and complete. */
export interface ResolvedBatchesOptions extends ResolvedSelection {
  channels: readonly string[] | undefined
  signal: AbortSignal | undefined
  gaps: GapMode
  limit: number
  maxSize: number
  maxWaitMs: number
  shape: BatchShape
}

const COMMON_OPTIONS = ['channels', 'signal', 'gaps', 'coalesce', 'filter'] as const
const MESSAGES_OPTIONS = [...COMMON_OPTIONS, 'limit'] as const
const BATCHES_OPTIONS = [...COMMON_OPTIONS, 'maxSize', 'maxWaitMs', 'shape'] as const

/** @internal Checks the options of {@link Listener.messages}. */
export function resolveMessagesOptions(options: MessagesOptions = {}): ResolvedBatchesOptions {
  checkOptions('options', options, MESSAGES_OPTIONS)
  const { limit = Infinity, ...common } = options
  checkNumber('limit', limit, { min: 1, integer: true, infinity: true })
  return { ...resolveBatchesOptions(common), limit }
}

/** @internal Checks the options of {@link Listener.batches}. */
export function resolveBatchesOptions(options: BatchesOptions = {}): ResolvedBatchesOptions {
  checkOptions('options', options, BATCHES_OPTIONS)
  const { channels, signal, gaps = 'skip' } = options
  const { maxSize = 1024, maxWaitMs = 0, shape = 'messages' } = options
  if (channels !== undefined) {
    if (!Array.isArray(channels))
      throw new ArgumentTypeError(expected('channels', 'an array of names', channels))
    if (channels.length === 0)
      throw new ArgumentRangeError(expected('channels', 'at least one name', channels))
    channels.forEach((channel, index) => checkChannel(channel, `channels[${index}]`))
  }
  if (signal !== undefined) checkSignal('signal', signal)
  checkOneOf('gaps', gaps, GAP_MODES)
  checkNumber('maxSize', maxSize, { min: 1, integer: true, infinity: true })
  checkNumber('maxWaitMs', maxWaitMs, { min: 0, max: MAX_DELAY_MS })
  checkOneOf('shape', shape, BATCH_SHAPES)
  const selection = resolveSelection(options)
  return { channels, signal, gaps, limit: Infinity, maxSize, maxWaitMs, shape, ...selection }
}
