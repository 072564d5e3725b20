// The hold of a stream on the channels for which it was made.
import type { PullIterator } from '../deliver/pull-iterator.js'
import type { Subscription, Subscriptions } from '../deliver/subscriptions.js'

/** Releases the channels of streams that were collected as garbage before they ended. */
const abandoned = new FinalizationRegistry<Hold>((hold) => hold.release())

/** Keeps channels subscribed for as long as a stream lasts. It does not keep the stream. */
export class Hold {
  readonly subscriptions: readonly Subscription[]
  readonly #iterator: WeakRef<PullIterator<unknown>>
  readonly #onReleased: (released: readonly Subscription[]) => void
  #isReleased = false

  constructor(
    iterator: PullIterator<unknown>,
    channels: readonly string[],
    subscriptions: Subscriptions,
    onReleased: (released: readonly Subscription[]) => void,
  ) {
    this.#iterator = new WeakRef(iterator)
    this.#onReleased = onReleased
    this.subscriptions = channels.map((name) => subscriptions.open(name))
    for (const subscription of this.subscriptions) subscription.holds += 1
    abandoned.register(iterator, this, this)
    void iterator.finished.then(() => this.release())
  }

  /** Ends the stream, and releases its channels. */
  end(): void {
    this.#iterator.deref()?.close()
    this.release()
  }

  /** Lets the channels go. A second call has no effect. */
  release(): void {
    if (this.#isReleased) return
    this.#isReleased = true
    abandoned.unregister(this)
    for (const subscription of this.subscriptions) subscription.holds -= 1
    this.#onReleased(this.subscriptions)
  }
}
