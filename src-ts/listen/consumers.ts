// The consumers of one run: callbacks together as one, and each iterator as one.
import type { NativeSelection } from '#native'
import type { ListenerContext } from '../deliver/context.js'
import { Dispatcher } from '../deliver/dispatcher.js'
import { Inbox, type InboxOwner, type InboxStats } from '../deliver/inbox.js'
import type { IteratorWatcher, PullIterator } from '../deliver/pull-iterator.js'
import type { Subscription } from '../deliver/subscriptions.js'
import type { ResolvedBatchesOptions } from '../options/iterator.js'
import type { ResolvedSelection } from '../options/selection.js'
import { bridge } from '../native/bridge.js'
import { Fences } from './fences.js'
import { toNativeSelection } from './native-options.js'
import { sumOfInboxes } from './statistics.js'

/** The functions that {@link Consumers} calls on the run to which they belong. */
export interface ConsumersOwner extends InboxOwner {
  /** Called when {@link Consumers.isNeeded} may have changed. */
  onNeedChanged(): void
}

const NO_SELECTION: ResolvedSelection = { coalesce: undefined, filter: undefined }

/** Whether a channel is subscribed for any consumer, and not only for streams that hold it. */
const isForAnybody = ({ explicit, isCalled }: Subscription) => explicit || isCalled

/** The options of an iterator that its buffer depends on. */
type InboxOptions = ResolvedSelection & Pick<ResolvedBatchesOptions, 'channels' | 'signal'>

/** The consumers of one run, their buffers, and the fences that they pass. */
export class Consumers implements IteratorWatcher {
  readonly #context: ListenerContext
  /** The id of the native half of the run. */
  readonly #listener: number
  readonly #owner: ConsumersOwner
  /** Buffers the notifications that arrive before there is a consumer; the first consumer takes it over. */
  #backlog: Inbox | undefined
  /** Whether the backlog leaves out the channels that only streams of `subscribe()` hold, which read them themselves. */
  #isBacklogSelective = false
  /** Whether somebody was told that callbacks wait for `listen()`. */
  #isToldOfListen = false
  #dispatcher: Dispatcher | undefined
  /** Made for the first one. */
  #iterators: Set<WeakRef<PullIterator<unknown>>> | undefined
  /** Iterators for which a `next()` waits. */
  #waiting: Set<PullIterator<unknown>> | undefined
  /** Made for the first one. */
  #fences: Fences | undefined

  constructor(context: ListenerContext, listener: number, owner: ConsumersOwner) {
    this.#context = context
    this.#listener = listener
    this.#owner = owner
    this.#backlog = this.#newInbox(null)
  }

  /** Whether a consumer waits for notifications, so that the run must not be collected. */
  get isNeeded(): boolean {
    return (this.#waiting?.size ?? 0) > 0 || this.#dispatcher?.listening === true
  }

  /** Says whether the module keeps the run, and with it its consumers. */
  set isKept(isKept: boolean) {
    if (this.#dispatcher) this.#dispatcher.inbox.isHeld = isKept && this.#dispatcher.listening
  }

  /** Starts delivering to callbacks, or goes on with it. */
  listen(): void {
    if (!this.#dispatcher) {
      const called = this.#context.subscriptions.called
      const inbox = this.#backlog ?? this.#newInbox(called)
      if (this.#backlog) inbox.setChannels(called)
      this.#backlog = undefined
      this.#dispatcher = new Dispatcher(this.#context, inbox, this)
    }
    this.#dispatcher.listen()
    this.#owner.onNeedChanged()
  }

  /** Stops delivering to callbacks for now. */
  abortListen(): void {
    this.#dispatcher?.abort()
    this.#owner.onNeedChanged()
  }

  /** Tells the buffers who wants a channel: callbacks, or anybody but a stream. To be called when that may have changed. */
  setWanted(name: string): void {
    const subscription = this.#context.subscriptions.get(name)
    this.#dispatcher?.inbox.setChannel(name, subscription?.isCalled ?? false)
    if (this.#isBacklogSelective) {
      this.#backlog?.setChannel(name, subscription !== undefined && isForAnybody(subscription))
    }
  }

  /** Warns, once, of callbacks that are never called. */
  warnOfSilence(): void {
    const { subscriptions, events } = this.#context
    if (this.#dispatcher || this.#isToldOfListen || subscriptions.called.length === 0) return
    this.#isToldOfListen = true
    const message = 'callbacks are not called before `listen()`'
    events.report('warning', { kind: 'usage', message })
  }

  /** Drops the notifications of a removed channel that iterators hold for a batch. */
  forget(subscription: Subscription): void {
    for (const iterator of this.#liveIterators()) iterator.forget(subscription.name)
  }

  /** Adds to numbers of channels those under which there are notifications that have left their buffer and were not taken. */
  withNumbersHere(buffered: Iterable<number>): ReadonlySet<number> {
    const numbers = new Set(buffered)
    for (const inbox of this.#inboxes()) inbox.noteNumbers(numbers)
    bridge.noteHanded(numbers)
    return numbers
  }

  /** Makes the buffer of an iterator that gets the notifications from now on. */
  freshInbox({ channels, ...selection }: InboxOptions & { channels: readonly string[] }): Inbox {
    if (this.#backlog && !this.#isBacklogSelective) {
      this.#isBacklogSelective = true
      const kept = [...this.#context.subscriptions].filter(isForAnybody)
      this.#backlog.setChannels(kept.map(({ name }) => name))
    }
    return this.#newInbox([...channels], this.#selectionOf(selection))
  }

  /** Makes the buffer of an iterator. The first consumer gets the notifications that have arrived since `startup()`. */
  inbox({ channels, signal, coalesce, filter }: InboxOptions): Inbox {
    const wanted = channels ? [...channels] : null
    const selection = this.#selectionOf({ coalesce, filter })
    // An iterator that is aborted before it begins takes nothing from those that follow.
    if (signal?.aborted) return this.#newInbox(wanted, selection)
    const backlog = this.#backlog
    this.#backlog = undefined
    if (!backlog) return this.#newInbox(wanted, selection)
    if (coalesce !== undefined || filter !== undefined) backlog.setSelection(selection)
    if (wanted || this.#isBacklogSelective) backlog.setChannels(wanted)
    return backlog
  }

  /** Adds an iterator, so that the end of the run ends it. The iterator is held weakly. */
  adopt(iterator: PullIterator<unknown>): void {
    this.#iterators ??= new Set()
    this.#iterators.add(new WeakRef(iterator))
  }

  onWaiting(iterator: PullIterator<unknown>, waiting: boolean): void {
    this.#waiting ??= new Set()
    if (waiting) this.#waiting.add(iterator)
    else this.#waiting.delete(iterator)
    this.#owner.onNeedChanged()
  }

  onExhausted(iterator: PullIterator<unknown>): void {
    this.#fences?.forget(iterator)
  }

  onIteratorClosed(iterator: PullIterator<unknown>): void {
    for (const reference of this.#iterators ?? []) {
      const other = reference.deref()
      if (!other || other === iterator) this.#iterators?.delete(reference)
    }
    this.#fences?.forget(iterator)
  }

  onFence(fence: number, consumer: object): void {
    this.#fences?.passedBy(consumer, fence)
  }

  /**
   * Resolves when every present consumer has passed a new fence. `send` and `signal` are those of {@link Fences.pass}.
   */
  async sync(
    send: (fence: number) => Promise<void>,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const consumers = new Set<object>()
    for (const iterator of this.#liveIterators()) {
      if (!iterator.isExhausted) consumers.add(iterator)
    }
    if (this.#dispatcher) consumers.add(this.#dispatcher)
    this.#fences ??= new Fences()
    await this.#fences.pass(consumers, send, signal)
  }

  /** Resolves when each consumer that takes notifications has reached the end of its stream. */
  async finished(): Promise<void> {
    const consumers = [...this.#liveIterators()].map((iterator) => iterator.finished)
    if (this.#dispatcher?.listening) consumers.push(this.#dispatcher.finished)
    await Promise.all(consumers)
  }

  /** The counts of all buffers, with the notifications that wait beside a buffer for a busy channel. */
  stats(): InboxStats {
    const sum = sumOfInboxes(this.#inboxes().map((inbox) => inbox.stats()))
    return { ...sum, buffered: sum.buffered + (this.#dispatcher?.waiting ?? 0) }
  }

  /** Lets no consumer rest any more: the session has ended, and what is buffered is still to be delivered. */
  hurry(): void {
    for (const inbox of this.#inboxes()) inbox.hurry()
  }

  /** Ends every consumer. Fences that were not passed reject with `reason`. */
  close(reason: Error): void {
    // Before the consumers end, because a fence does not wait for a consumer that is closed, and would resolve.
    this.#fences?.rejectAll(reason)
    for (const iterator of this.#liveIterators()) iterator.close()
    this.#dispatcher?.close()
    this.#dispatcher = undefined
    this.#backlog?.close()
    this.#backlog = undefined
  }

  /** What reaches an iterator: by its own options, or else by those of the listener. */
  #selectionOf({ coalesce, filter }: ResolvedSelection): NativeSelection | null {
    const { options } = this.#context
    return toNativeSelection(coalesce ?? options.coalesce, filter ?? options.filter)
  }

  #newInbox(channels: string[] | null, selection = this.#selectionOf(NO_SELECTION)): Inbox {
    const { buffer } = this.#context.options
    return new Inbox(this.#listener, buffer, channels, selection, this.#owner)
  }

  #inboxes(): Inbox[] {
    const inboxes = [...this.#liveIterators()].map((iterator) => iterator.inbox)
    if (this.#dispatcher) inboxes.push(this.#dispatcher.inbox)
    if (this.#backlog) inboxes.push(this.#backlog)
    return inboxes
  }

  *#liveIterators(): Iterable<PullIterator<unknown>> {
    for (const reference of this.#iterators ?? []) {
      const iterator = reference.deref()
      if (iterator) yield iterator
    }
  }
}
