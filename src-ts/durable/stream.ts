// A subscription as a stream of batches, for loops.
import { brand } from '../brand.js'
import { DurableError } from '../errors.js'
import { nothing, watchAbort } from '../native/abort.js'
import type { DurableEvent } from './event.js'
import { LoopOutlet, NotTaken, type Outlet, type SubscriptionBatch } from './outlet.js'

/** Runs a subscription until `stop` is aborted. */
type Run = (outlet: Outlet, stop: AbortSignal) => Promise<void>

/**
 * The batches of a subscription, one after the other: {@link Subscription.batches} makes it. It begins to run at the first `next()`, and
 * ends when its loop ends: a `break`, and an error in the loop, refuse the batch that was not acknowledged.
 *
 * @typeParam Event - The type of the events.
 */
export class SubscriptionStream<Event = DurableEvent> implements AsyncIterableIterator<
  SubscriptionBatch<Event>
> {
  readonly #run: Run
  readonly #signal: AbortSignal | undefined
  readonly #outlet = new LoopOutlet()
  readonly #ending = new AbortController()
  /** Settles when the run has ended. It does not reject. */
  #running: Promise<void> | undefined
  /** The error that has ended the run, until `next()` rejects with it. */
  #failure: { error: unknown } | undefined
  #isOver = false

  /** @internal */
  constructor(run: Run, signal: AbortSignal | undefined) {
    this.#run = run
    this.#signal = signal
  }

  /** Returns the stream itself. */
  [Symbol.asyncIterator](): this {
    return this
  }

  /**
   * Returns the next batch; waits for one. Ends without one when the signal is aborted.
   *
   * Rejects as {@link Subscription.run} does. Rejects with {@link DurableError} while another `next()` waits, and when the batch before
   * was neither acknowledged nor refused: then that batch is rolled back without being counted as an attempt, and the stream has ended.
   */
  async next(): Promise<IteratorResult<SubscriptionBatch<Event>, undefined>> {
    const outlet = this.#outlet
    if (outlet.isWaiting) {
      throw new DurableError(
        'expected one `next()` at a time, got a second one: each batch is worked before the next one is fetched',
      )
    }
    const open = outlet.open
    if (open) {
      open.refuse(new NotTaken('the batch was neither acknowledged nor refused'))
      await this.#end()
      throw new DurableError(
        'expected `ack()` or `nack()` of the batch before `next()`, got neither: the batch is rolled back, and the stream has ended',
      )
    }
    if (!this.#isOver && !this.#signal?.aborted) {
      this.#start()
      const batch: SubscriptionBatch<unknown> | undefined = await outlet.next()
      // The pool's schemas say what the events are.
      if (batch) return { done: false, value: batch as SubscriptionBatch<Event> }
    }
    this.#isOver = true
    const failure = this.#failure
    this.#failure = undefined
    if (failure) throw failure.error
    return { done: true, value: undefined }
  }

  /**
   * Ends the stream: refuses the batch that is open, which is what a `break` in the loop, and an error in it, come to. Resolves once its
   * transaction is rolled back, the attempt is counted, and nothing runs any more.
   */
  async return(): Promise<IteratorResult<SubscriptionBatch<Event>, undefined>> {
    this.#outlet.open?.refuse(new DurableError('the loop has ended before it called `ack()`'))
    await this.#end()
    return { done: true, value: undefined }
  }

  /** Ends the stream, as {@link SubscriptionStream.return} does. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.return()
  }

  #start(): void {
    if (this.#running) return
    const stop = this.#ending.signal
    const unwatch = this.#signal ? watchAbort(this.#signal, () => this.#ending.abort()) : nothing
    this.#running = this.#run(this.#outlet, stop)
      .catch((error: unknown) => {
        this.#failure = { error }
      })
      .finally(() => {
        unwatch()
        this.#isOver = true
        this.#outlet.end()
      })
  }

  async #end(): Promise<void> {
    this.#isOver = true
    this.#ending.abort()
    this.#outlet.end()
    await this.#running
    this.#failure = undefined
  }
}

brand(SubscriptionStream, 'SubscriptionStream')
