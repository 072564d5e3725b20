// The JavaScript end of one consumer's buffer: pulls flat batches from Rust and hands out their entries one by one.
import { type NativeError, type NativeGap, type NativeListener, NativeSubscriber } from '#native'
import { bridge, type Consumer } from '../native/bridge.js'
import { type PglistenError } from '../errors.js'
import { Flood } from './flood.js'
import { Gap } from './gap.js'
import type { BufferOptions } from '../options/listener.js'
import { fromNativeError } from '../native/native-errors.js'

/** Marks an entry that is no notification. Mirrored in `src-rs/binding/batch.rs`. */
const SPECIAL = 0xffff_ffff

const enum SpecialKind {
  Gap = 0,
  Fence = 1,
  End = 2,
}

/** What is here while there is nothing. */
const EMPTY: unknown[] = []

/** How many entries are pulled at once: beyond a few hundred a batch gets no cheaper. */
const PULL_SIZE = 256

/**
 * Room for so many entries, the end, how many there are, and whether that is all. Rust keeps its address: over a buffer that was
 * asked for, as an engine may move a small array into one later.
 */
const metaFor = (entries: number): Uint32Array =>
  new Uint32Array(new ArrayBuffer(Uint32Array.BYTES_PER_ELEMENT * (2 * (entries + 1) + 2)))

/** How values that cross from Rust become an array: as arguments they cross at once. */
const asArray = (...values: unknown[]): unknown[] => values

/** What an inbox holds next. */
export const enum EntryKind {
  Notification,
  Gap,
  Fence,
  End,
}

/** Counts of one consumer. */
export interface InboxStats {
  buffered: number
  bufferedBytes: number
  oldestAgeMs: number | undefined
}

/**
 * A consumer's buffer. Rust keeps what was not pulled, within the bounds; at most one batch is here.
 *
 * {@link Inbox.advance} moves to the next entry, whose fields then are `kind`, `channelId` and so on.
 */
export class Inbox implements Consumer {
  /** Called when there is something to pull, after {@link Inbox.hasNext} found nothing. */
  owner: Consumer | undefined
  kind = EntryKind.Notification
  /** Of a notification: the number of its channel. */
  channelId = 0
  /** Of a notification: the backend that sent it. */
  processId = 0
  /** Of a fence: its number. */
  fence = 0
  /** Of a gap. */
  gap: Gap | undefined
  /** Of the end: why, if not by a shutdown. */
  error: PglistenError | undefined

  readonly #id: number
  readonly #native: NativeSubscriber
  #meta = metaFor(PULL_SIZE)
  #drain: (max: number) => unknown
  #values = EMPTY
  #index = 0
  #open = true
  /** Nothing was left behind by what was pulled last. */
  #isEmpty = false
  /** There was nothing to pull: Rust tells when there is. */
  #isArmed = false
  readonly #flood: Flood
  readonly #onGap: () => void

  /** `onGap` is called before an entry is a gap. */
  constructor(
    listener: NativeListener,
    bounds: Required<BufferOptions>,
    channels: string[] | null,
    onGap: () => void,
  ) {
    this.#onGap = onGap
    this.#flood = new Flood(bounds, () => this.onReady())
    this.#id = bridge.register(this)
    this.#native = new NativeSubscriber(bridge.handle, listener, bounds, channels, this.#id)
    this.#drain = this.#native.drainer(this.#meta, asArray)
  }

  onReady(): void {
    this.#isArmed = false
    this.owner?.onReady()
  }

  /**
   * Whether there is a next entry, after pulling up to `max` if need be. `false`: there is none, and `onReady` will be
   * called when there is.
   */
  hasNext(max = PULL_SIZE): boolean {
    return this.#index < this.#values.length || (!this.#isArmed && this.#pull(max))
  }

  /** Moves to the next entry, of which {@link Inbox.hasNext} has said that it is there. */
  advance(): void {
    const index = this.#index
    this.#index += 1
    const channelId = this.#meta[2 * index]!
    if (channelId === SPECIAL) {
      this.#advanceToSpecial(this.#meta[2 * index + 1]!, this.#values[index])
      return
    }
    this.kind = EntryKind.Notification
    this.channelId = channelId
    this.processId = this.#meta[2 * index + 1]!
  }

  /** Of a notification: the payload as sent. */
  get payload(): string {
    // Not a field: to keep a new object in an old one costs more than to look it up.
    return this.#values[this.#index - 1] as string
  }

  #advanceToSpecial(kind: SpecialKind, value: unknown): void {
    if (kind === SpecialKind.Gap) {
      this.#onGap()
      this.kind = EntryKind.Gap
      this.gap = new Gap(value as NativeGap)
    } else if (kind === SpecialKind.Fence) {
      this.kind = EntryKind.Fence
      this.fence = value as number
    } else {
      this.kind = EntryKind.End
      this.error = value == null ? undefined : fromNativeError(value as NativeError)
    }
  }

  /** Goes back to the entry that {@link Inbox.advance} just moved to: it will be the next again. */
  back(): void {
    this.#index -= 1
  }

  /**
   * Takes all that was pulled, at most `max` entries, and gives what `make` makes of each; what it makes `undefined` of is
   * left out. `undefined`: some of it was taken already, or it is more than notifications, and {@link Inbox.advance} has
   * to be used.
   */
  takeAll<Item>(
    max: number,
    make: (channelId: number, processId: number, payload: string) => Item | undefined,
  ): Item[] | undefined {
    if (this.#index > 0 || this.#values.length > max) return undefined
    const meta = this.#meta
    const values = this.#values
    for (let index = 0; index < values.length; index += 1) {
      if (meta[2 * index] === SPECIAL) return undefined
    }
    this.#values = EMPTY
    // In place: an array that grows is copied again and again.
    let made = 0
    for (let index = 0; index < values.length; index += 1) {
      const item = make(meta[2 * index]!, meta[2 * index + 1]!, values[index] as string)
      if (item === undefined) continue
      values[made] = item
      made += 1
    }
    values.length = made
    return values as Item[]
  }

  /** The channels that are wanted, by name; `null` wants all. */
  setChannels(channels: string[] | null): void {
    if (this.#open) this.#native.setChannels(channels)
  }

  /** Adds or removes one wanted channel. */
  setChannel(channel: string, wanted: boolean): void {
    if (this.#open) this.#native.setChannel(channel, wanted)
  }

  stats(): InboxStats {
    const here = this.#values.length - this.#index
    if (!this.#open) return { buffered: here, bufferedBytes: 0, oldestAgeMs: undefined }
    const native = this.#native.stats()
    return {
      buffered: native.buffered + here,
      bufferedBytes: native.bufferedBytes,
      oldestAgeMs: (here > 0 ? native.drainedAgeMs : native.oldestAgeMs) ?? undefined,
    }
  }

  /** From now on nothing is left to come together: the end is near. */
  hurry(): void {
    this.#flood.hurry()
  }

  /** Takes nothing more, and forgets what is here. */
  close(): void {
    if (!this.#open) return
    this.#open = false
    this.#native.close()
    this.#flood.close()
    bridge.unregister(this.#id)
    this.#values = EMPTY
    this.#index = 0
    this.owner = undefined
  }

  #pull(max: number): boolean {
    if (!this.#open || this.#flood.isResting) return false
    if (this.#isEmpty) {
      this.#isEmpty = false
      if (this.#flood.beginRest()) return false
    }
    if (this.#meta.length < 2 * (max + 2)) {
      const meta = metaFor(max)
      this.#drain = this.#native.drainer(meta, asArray)
      this.#meta = meta
    }
    // First: if this fails, what was here before is not here again.
    this.#index = 0
    this.#values = EMPTY
    const drained = this.#drain(max)
    const count = this.#meta[this.#meta.length - 2]!
    if (count > 0) this.#values = count === 1 ? [drained] : (drained as unknown[])
    this.#isArmed = count === 0
    this.#flood.count(count)
    this.#isEmpty = this.#meta[this.#meta.length - 1] === 1
    return count > 0
  }
}
