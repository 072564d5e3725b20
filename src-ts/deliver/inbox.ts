// The JavaScript end of one consumer's buffer: pulls flat batches from Rust, and hands out their entries one by one.
import type { Complete } from '../options/validate.js'
import type { NativeError, NativeGap, NativeSelection } from '#native'
import { bridge, type Consumer } from '../native/bridge.js'
import { type PglistenError } from '../errors.js'
import { forgetMembers, setJoins } from './audience.js'
import { arrayFor, BatchNumbers, SPECIAL, SpecialKind, asArray } from './batch.js'
import type { NotificationColumns } from './columns.js'
import { Flood } from './flood.js'
import { Gap } from './gap.js'
import type { BufferOptions } from '../options/listener.js'
import { RETRY_MS, defect } from '../native/defect.js'
import { fromNativeError } from '../native/native-errors.js'
import { clearTimeout, queueMicrotask, setTimeout } from '../native/timers.js'

/** The values of an inbox that holds no entries. */
const EMPTY: unknown[] = []

/** The most entries that are pulled at once to be taken one by one: beyond a few hundred a larger batch is no cheaper. */
const PULL_SIZE = 256

/** The most notifications that are handed over before they are taken: a consumer may have to wait for its turn. */
const MOST_HANDED = 4

/** The entries that are pulled at once, to be taken one by one, until there have been so many. */
const FEW = 6

/** Before the first pull. */
const NO_NUMBERS = new BatchNumbers(0)

/** The kinds of entries of an inbox. */
export const enum EntryKind {
  Notification,
  Gap,
  Fence,
  End,
}

/** What an {@link Inbox} calls on the run to which it belongs. */
export interface InboxOwner {
  /** Called before {@link Inbox.advance} moves to a gap. */
  onGap(): void
  /** Called, in a microtask, when entries could not be pulled. This is tried again, and a gap stands for those that are lost. */
  onDefect(error: PglistenError): void
}

/** The present state of one consumer's buffer. */
export interface InboxStats {
  buffered: number
  bufferedBytes: number
  oldestAgeMs: number | undefined
}

/**
 * The JavaScript end of a consumer's buffer. Rust keeps the entries that were not pulled, within the bounds; the inbox
 * holds at most one batch.
 *
 * {@link Inbox.advance} moves to the next entry and puts it into the fields `kind`, `channelId` and so on. There is no
 * object for an entry, because a flood would make one for each notification.
 */
export class Inbox implements Consumer {
  /** The consumer, which is called when there is something to pull after {@link Inbox.hasNext} found nothing. */
  owner: Consumer | undefined
  kind = EntryKind.Notification
  /** The number of the channel, if the entry is a notification. */
  channelId = 0
  /** The process id of the notifying backend, if the entry is a notification. */
  processId = 0
  /** The number of the fence, if the entry is one. */
  fence = 0
  /** The gap, if the entry is one. */
  gap: Gap | undefined
  /** The reason of the end, if the entry is the end and a shutdown did not cause it. */
  error: PglistenError | undefined

  readonly #id: number
  /** The numbers of the entries that are here: `#pulled`, or those of a batch that others have too. */
  #numbers = NO_NUMBERS
  /** Where Rust writes the numbers of entries that are pulled. */
  #pulled = NO_NUMBERS
  /**
   * The native closure that takes entries; it holds the buffer and `#pulled`, so that only `max` has to cross. Made when there is
   * something to pull, for a few entries, and again for more once there have been so many: most of thousands of listeners are idle.
   */
  #drain: ((max: number) => unknown) | undefined
  /** The entries for which `#pulled` has room. */
  #room = 0
  #values = EMPTY
  #index = 0
  #open = true
  #isHeld = false
  /** Whether the last pull emptied Rust's buffer. */
  #isEmpty = false
  /** Whether the last pull found nothing, so that Rust signals the next entry, or hands it over. */
  #isArmed = false
  /** How many notifications were handed over and not taken: their payloads are the last ones in `#values`. */
  #handed = 0
  /** The numbers of those that were handed over while the first was still there, two each. */
  #numbersOfMore: number[] | undefined
  /** The bounds of the buffer; `undefined` once no rest is allowed any more. */
  #bounds: Complete<BufferOptions> | undefined
  /** Made when there is something to count. */
  #flood: Flood | undefined
  readonly #run: InboxOwner
  /** Pulls again after a failure. */
  #retry: NodeJS.Timeout | undefined

  /** `listener` is the id of its native half. `channels`: `null` wants all channels; a selection of `null` wants every notification as it comes. */
  constructor(
    listener: number,
    bounds: Complete<BufferOptions>,
    channels: string[] | null,
    selection: NativeSelection | null,
    run: InboxOwner,
  ) {
    this.#run = run
    this.#bounds = bounds
    this.#id = bridge.register(this)
    const { listeners, subscribers } = bridge
    subscribers.make(this.#id, listeners, listener, bounds, channels, selection)
  }

  onReady(): void {
    this.#isArmed = false
    this.owner?.onReady()
  }

  onHanded(channelId: number, processId: number, payload: string): void {
    if (!this.#open) return
    if (this.#handed === 0) {
      this.channelId = channelId
      this.processId = processId
      this.#values = [payload]
      this.#index = 0
      this.#numbersOfMore = undefined
    } else {
      this.#values.push(payload)
      this.#numbersOfMore ??= []
      this.#numbersOfMore.push(channelId, processId)
    }
    this.#handed += 1
    this.owner?.onReady()
    if (this.#handed < MOST_HANDED || !this.#open) return
    // What follows has to stay in the buffer, within its bounds.
    this.#isArmed = false
    bridge.subscribers.stopHanding(this.#id)
  }

  /**
   * Takes a batch that other consumers take too; nobody changes it. A consumer that has not taken what it has yet gets what follows in
   * its own buffer, within the bounds of that.
   */
  share(values: unknown[], numbers: BatchNumbers): void {
    if (!this.#open) return
    if (this.hasMore) {
      this.#hold(values, numbers)
      forgetMembers()
      this.#isArmed = false
      bridge.subscribers.leaveAudience(this.#id)
      return
    }
    this.#values = values
    this.#numbers = numbers
    this.#index = 0
  }

  /** Whether there are entries here that were not taken. */
  get hasMore(): boolean {
    return this.#index < this.#values.length
  }

  /** Keeps what was not taken of a shared batch, whose numbers will be those of another one. */
  keep(): void {
    this.#hold(EMPTY, NO_NUMBERS)
  }

  /** Makes the entries that were not taken, and more, a batch of this consumer's own. */
  #hold(more: unknown[], numbersOfMore: BatchNumbers): void {
    const rest = this.#values.slice(this.#index)
    const numbers = new BatchNumbers(rest.length + more.length)
    for (const at of rest.keys()) {
      const index = this.#index + at
      if (this.#handed === 0) {
        numbers.set(at, this.#numbers.channelId(index), this.#numbers.processId(index))
      } else if (index === 0) numbers.set(at, this.channelId, this.processId)
      else {
        const [channelId, processId] = this.#numbersOfMore!.slice(2 * index - 2, 2 * index)
        numbers.set(at, channelId!, processId!)
      }
    }
    for (const at of more.keys())
      numbers.set(rest.length + at, numbersOfMore.channelId(at), numbersOfMore.processId(at))
    this.#values = more.length === 0 ? rest : [...rest, ...more]
    this.#numbers = numbers
    this.#index = 0
    this.#handed = 0
  }

  /**
   * Whether there is a next entry. Pulls up to `max` entries if the inbox holds none, or as many as are cheap to pull. After
   * `false` the owner's `onReady` is called as soon as there is an entry.
   */
  hasNext(max?: number): boolean {
    return this.#index < this.#values.length || (!this.#isArmed && this.#pull(max))
  }

  /** Moves to the next entry. {@link Inbox.hasNext} must have returned `true`. */
  advance(): void {
    const index = this.#index
    this.#index += 1
    if (this.#handed > 0) {
      this.#handed -= 1
      this.kind = EntryKind.Notification
      if (index === 0) return
      this.channelId = this.#numbersOfMore![2 * index - 2]!
      this.processId = this.#numbersOfMore![2 * index - 1]!
      return
    }
    const channelId = this.#numbers.channelId(index)
    if (channelId === SPECIAL) {
      this.#advanceToSpecial(this.#numbers.processId(index), this.#values[index])
      return
    }
    this.kind = EntryKind.Notification
    this.channelId = channelId
    this.processId = this.#numbers.processId(index)
  }

  /** Moves to the next entry, if it is here already and a notification of this channel. Says whether it is. */
  advanceWithin(channelId: number): boolean {
    const index = this.#index
    const numbers = this.#numbers
    if (index >= this.#values.length || this.#handed > 0 || numbers.channelId(index) !== channelId)
      return false
    this.processId = numbers.processId(index)
    this.#index = index + 1
    return true
  }

  /** The payload as sent, if the entry is a notification. */
  get payload(): string {
    // A look-up and not a field: storing a new string in an old object costs the garbage collector's write barrier.
    return this.#values[this.#index - 1] as string
  }

  #advanceToSpecial(kind: SpecialKind, value: unknown): void {
    if (kind === SpecialKind.Gap) {
      this.#run.onGap()
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

  /** Takes the last {@link Inbox.advance} back: the present entry will be the next one again. */
  back(): void {
    this.#index -= 1
  }

  /** Whether {@link Inbox.takeAll} and {@link Inbox.takeColumns} may take all that is here, or what is pulled next. */
  get isWhole(): boolean {
    return this.#handed === 0 && (this.#index === 0 || this.#index >= this.#values.length)
  }

  /**
   * Takes all pulled entries at once and returns the items that `make` makes of them, without those that are
   * `undefined`. Returns `undefined`, and takes nothing, if an entry was taken before, if there are more than `max`, if
   * one of them is not a notification, or if one was handed over: then {@link Inbox.advance} has to be used.
   */
  takeAll<Item>(
    max: number,
    make: (channelId: number, processId: number, payload: string) => Item | undefined,
  ): Item[] | undefined {
    const values = this.#takeWhole(max)
    if (!values) return undefined
    const numbers = this.#numbers
    // The items replace the payloads in the same array, because an array that grows is copied several times.
    let made = 0
    for (let index = 0; index < values.length; index += 1) {
      const item = make(numbers.channelId(index), numbers.processId(index), values[index] as string)
      if (item === undefined) continue
      values[made] = item
      made += 1
    }
    values.length = made
    return values as Item[]
  }

  /**
   * Takes all pulled entries at once, as columns, without those for whose channel `nameOf` returns `undefined`. Returns
   * `undefined`, and takes nothing, when {@link Inbox.takeAll} does.
   */
  takeColumns(
    max: number,
    nameOf: (channelId: number) => string | undefined,
  ): NotificationColumns | undefined {
    const payloads = this.#takeWhole(max) as string[] | undefined
    if (!payloads) return undefined
    const numbers = this.#numbers
    const processIds = numbers.processIds()
    const { length } = payloads
    if (numbers.isSingle) {
      const name = nameOf(numbers.channelId(0))
      if (name !== undefined)
        return { payloads, channels: arrayFor<string>(length).fill(name), processIds, length }
    }
    const channels = arrayFor<string>(length)
    let kept = 0
    for (let index = 0; index < length; index += 1) {
      const name = nameOf(numbers.channelId(index))
      if (name === undefined) continue
      channels[kept] = name
      payloads[kept] = payloads[index]!
      processIds[kept] = processIds[index]!
      kept += 1
    }
    if (kept === length) return { payloads, channels, processIds, length }
    payloads.length = kept
    channels.length = kept
    return { payloads, channels, processIds: processIds.slice(0, kept), length: kept }
  }

  /** Takes the values of all pulled entries, if all of them are notifications and none was taken before. */
  #takeWhole(max: number): unknown[] | undefined {
    if (this.#handed > 0 || this.#index > 0 || this.#values.length > max) return undefined
    if (this.#numbers.specials > 0) return undefined
    const values = this.#values
    this.#values = EMPTY
    return values
  }

  /** Says whether whoever takes the entries is kept by others, because it waits for them. */
  set isHeld(isHeld: boolean) {
    if (isHeld === this.#isHeld || !this.#open) return
    this.#isHeld = isHeld
    bridge.hold(this.#id, this, isHeld)
    setJoins(this.#id, isHeld)
  }

  /** Sets the names of the wanted channels; `null` wants all. */
  setChannels(channels: string[] | null): void {
    if (this.#open) bridge.subscribers.setChannels(this.#id, channels)
  }

  /** Changes what reaches the consumer, also of what is buffered; `null` for everything as it comes. */
  setSelection(selection: NativeSelection | null): void {
    if (this.#open) bridge.subscribers.setSelection(this.#id, selection)
  }

  /** Adds or removes one wanted channel. */
  setChannel(channel: string, wanted: boolean): void {
    if (this.#open) bridge.subscribers.setChannel(this.#id, channel, wanted)
  }

  /** The present state of the buffer, with the notifications that were pulled and not taken. */
  stats(): InboxStats {
    const here = this.#notificationsHere()
    if (!this.#open) return { buffered: here, bufferedBytes: 0, oldestAgeMs: undefined }
    const native = bridge.subscribers.stats(this.#id)
    return {
      buffered: native.buffered + here,
      bufferedBytes: native.bufferedBytes,
      oldestAgeMs: (here > 0 ? native.drainedAgeMs : native.oldestAgeMs) ?? undefined,
    }
  }

  /** How many notifications were pulled and not taken: gaps, fences and the end are entries too, but not counted. */
  #notificationsHere(): number {
    if (this.#handed > 0) return this.#handed
    let count = 0
    for (let index = this.#index; index < this.#values.length; index += 1) {
      if (this.#numbers.channelId(index) !== SPECIAL) count += 1
    }
    return count
  }

  /** Adds the numbers of the channels of the notifications that were pulled, or handed over, and not taken. */
  noteNumbers(numbers: Set<number>): void {
    for (let index = this.#index; index < this.#values.length; index += 1) {
      if (this.#handed === 0) numbers.add(this.#numbers.channelId(index))
      else numbers.add(index === 0 ? this.channelId : this.#numbersOfMore![2 * index - 2]!)
    }
  }

  /** Allows no rest in a flood any more, because the session has ended. */
  hurry(): void {
    this.#bounds = undefined
    this.#flood?.hurry()
  }

  /** Closes the buffer and drops its entries. */
  close(): void {
    if (!this.#open) return
    this.#open = false
    clearTimeout(this.#retry)
    this.#flood?.close()
    if (this.#isHeld) forgetMembers()
    bridge.unregister(this.#id)
    this.#values = EMPTY
    this.#index = 0
    this.#handed = 0
    this.owner = undefined
  }

  /** Pulls up to `max` entries, or as many as are cheap to pull. Returns whether there are any. */
  #pull(max: number | undefined): boolean {
    if (!this.#open || this.#flood?.isResting) return false
    if (this.#isEmpty) {
      this.#isEmpty = false
      if (this.#flood?.beginRest()) return false
    }
    let drain = this.#drain
    if (drain === undefined && bridge.subscribers.arm(this.#id)) {
      this.#isArmed = true
      return false
    }
    const most = max ?? PULL_SIZE
    // One by one, few are pulled at once until there have been so many.
    const isEnough = most <= this.#room || (!max && this.#pulled.count < this.#room)
    if (drain === undefined || !isEnough) drain = this.#makeDrain(max)
    // Reset before the call, so that entries that were taken are not taken again if it throws.
    this.#index = 0
    this.#values = EMPTY
    let drained: unknown
    try {
      drained = drain(most)
    } catch (error) {
      this.#failed(defect('taking notifications', error))
      return false
    }
    const numbers = this.#pulled
    this.#numbers = numbers
    const { count } = numbers
    if (count > 0) this.#values = count === 1 ? [drained] : (drained as unknown[])
    this.#isArmed = count === 0
    if (count > 0 && this.#bounds) {
      this.#flood ??= new Flood(this.#bounds, this)
      this.#flood.count(count)
    }
    this.#isEmpty = numbers.isEmpty
    return count > 0
  }

  /** Makes the closure that takes up to `max` entries; without it the first one has room for a few. */
  #makeDrain(max: number | undefined): (max: number) => unknown {
    this.#room = max ?? (this.#drain === undefined ? FEW : PULL_SIZE)
    this.#pulled = new BatchNumbers(this.#room)
    this.#drain = bridge.subscribers.drainer(this.#id, this.#pulled.array, asArray)
    return this.#drain
  }

  #failed(error: PglistenError): void {
    // Until then, as if there were nothing: whoever has asked is told by `onReady()`.
    this.#isArmed = true
    clearTimeout(this.#retry)
    this.#retry = setTimeout(() => this.onReady(), RETRY_MS)
    this.#retry.unref()
    // Later, because a handler may end the iteration that is asking.
    queueMicrotask(() => this.report(error))
  }

  /** Tells the run that entries could not be taken. */
  report(error: PglistenError): void {
    this.#run.onDefect(error)
  }
}
