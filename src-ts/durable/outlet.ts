// The way of batches from the workers of a subscription to a loop: one at a time, and only when the loop asks.
import { DurableError } from '../errors.js'
import { watchAbort } from '../native/abort.js'
import type { Transaction } from '../query/transaction.js'
import type { DurableEvent } from './event.js'

/** A batch was not worked, through no fault of its events: it is not counted as an attempt. */
export class NotTaken extends DurableError {}

/** Hands batches to a loop. */
export interface Outlet {
  /** Takes the right to fetch a batch, if the loop waits for one and no other worker has the right. */
  claim(): boolean
  /** Gives the right back: nothing was there, or the batch is over. Returns whether other workers have waited for it. */
  release(): boolean
  /** Resolves when the right may be claimed, and when `stop` is aborted. */
  wanted(stop: AbortSignal): Promise<void>
  /** Hands a batch over. Resolves once it is acknowledged; rejects with the reason why it is not. */
  hand(tx: Transaction, events: readonly DurableEvent<unknown>[]): Promise<void>
  /** The transaction of the batch is committed. */
  committed(): void
  /** The transaction is rolled back. */
  rolledBack(reason: unknown): void
}

/** A batch, as a loop gets it. One transaction holds the work and the position. */
export interface SubscriptionBatch<Event = DurableEvent> {
  /** The events, at least one, in order. */
  readonly events: readonly Event[]
  /** The transaction: what is done on it is committed by {@link SubscriptionBatch.ack} together with the position. */
  readonly tx: Transaction
  /**
   * Commits. The events are done then.
   *
   * Rejects when that fails, such as for a deferred constraint, a statement that failed before, or a transaction that the loop has ended
   * itself or that took longer than {@link SubscriptionOptions.maxHandlerMs}: nothing is done then, the failure is counted, and the
   * events come again. When the connection is lost meanwhile, the next batch tells whether it was committed. Rejects with
   * {@link DurableError} when the batch was acknowledged or refused before.
   */
  readonly ack: () => Promise<void>
  /**
   * Rolls back. The events are tried again after a while, one by one; the failure is counted at the first one. Rejects with
   * {@link DurableError} when the batch was acknowledged or refused before. Its argument is the reason, for the event `failure` and
   * the table of what was given up.
   */
  readonly nack: (error?: unknown) => Promise<void>
}

/** What became of a batch. */
type State = 'open' | 'acknowledged' | 'refused' | 'over'

/** A batch that was handed to the loop. */
class Batch implements SubscriptionBatch<DurableEvent<unknown>> {
  readonly events: readonly DurableEvent<unknown>[]
  readonly tx: Transaction
  /** Settles with what the loop decides. */
  readonly decided: Promise<void>
  #state: State = 'open'
  #accept!: () => void
  #refuse!: (reason: unknown) => void
  /** Settles once the transaction has ended. */
  readonly #ended: Promise<void>
  #commit!: () => void
  #fail!: (reason: unknown) => void
  /** Why the transaction is over without a decision. */
  #cause: unknown

  constructor(tx: Transaction, events: readonly DurableEvent<unknown>[]) {
    this.tx = tx
    this.events = events
    this.decided = new Promise((resolve, reject) => {
      this.#accept = resolve
      this.#refuse = reject
    })
    this.decided.catch(() => {})
    this.#ended = new Promise((resolve, reject) => {
      this.#commit = resolve
      this.#fail = reject
    })
    this.#ended.catch(() => {})
  }

  /** Whether the loop has not decided yet. */
  get isOpen(): boolean {
    return this.#state === 'open'
  }

  // Functions of their own, so that a loop may take them out of the batch.
  readonly ack = async (): Promise<void> => {
    this.#checkOpen('ack')
    this.#state = 'acknowledged'
    this.#accept()
    await this.#ended
  }

  readonly nack = async (
    reason: unknown = new DurableError('the batch was refused by `nack()`'),
  ): Promise<void> => {
    this.#checkOpen('nack')
    this.refuse(reason)
    await Promise.allSettled([this.#ended])
  }

  /** Decides that the batch is not done, unless that is decided. */
  refuse(reason: unknown): void {
    if (this.#state !== 'open') return
    this.#state = 'refused'
    this.#refuse(reason)
  }

  committed(): void {
    this.#commit()
  }

  rolledBack(reason: unknown): void {
    if (this.#state === 'open') {
      this.#state = 'over'
      this.#cause = reason
      this.#refuse(reason)
    }
    this.#fail(reason)
  }

  #checkOpen(call: string): void {
    if (this.#state === 'open') return
    const why = {
      acknowledged: 'the batch was acknowledged before',
      refused: 'the batch was refused before',
      over: 'the transaction of the batch is over, and nothing is done',
    }[this.#state]
    throw new DurableError(
      `expected \`${call}()\` of an open batch, got one that is over: ${why}`,
      {
        cause: this.#cause,
      },
    )
  }
}

/** The outlet of one loop. */
export class LoopOutlet implements Outlet {
  /** The loop, while it waits. */
  #waiter: ((batch: Batch | undefined) => void) | undefined
  #isClaimed = false
  #batch: Batch | undefined
  /** Workers that wait for the right. */
  readonly #waiting = new Set<() => void>()

  /** The batch that the loop has not decided about. */
  get open(): Batch | undefined {
    return this.#batch?.isOpen ? this.#batch : undefined
  }

  /** Whether the loop waits. */
  get isWaiting(): boolean {
    return this.#waiter !== undefined
  }

  /** Waits for a batch. Resolves without one at the end. */
  next(): Promise<Batch | undefined> {
    return new Promise((resolve) => {
      this.#waiter = resolve
      this.#call()
    })
  }

  /** No batch comes any more. */
  end(): void {
    this.#waiter?.(undefined)
    this.#waiter = undefined
  }

  claim(): boolean {
    if (!this.#isFree) return false
    this.#isClaimed = true
    return true
  }

  release(): boolean {
    this.#isClaimed = false
    this.#batch = undefined
    const isContended = this.#waiting.size > 0
    this.#call()
    return isContended
  }

  async wanted(stop: AbortSignal): Promise<void> {
    if (stop.aborted || this.#isFree) return
    let call!: () => void
    const called = new Promise<void>((resolve) => {
      call = resolve
    })
    this.#waiting.add(call)
    const unwatch = watchAbort(stop, call)
    await called
    unwatch()
    this.#waiting.delete(call)
  }

  get #isFree(): boolean {
    return this.#waiter !== undefined && !this.#isClaimed
  }

  /** Tells the workers that the right is free, whoever has waited longest first. */
  #call(): void {
    if (!this.#isFree) return
    for (const call of this.#waiting) call()
    this.#waiting.clear()
  }

  async hand(tx: Transaction, events: readonly DurableEvent<unknown>[]): Promise<void> {
    const waiter = this.#waiter
    if (!waiter) throw new NotTaken('the loop has ended')
    this.#waiter = undefined
    this.#batch = new Batch(tx, events)
    waiter(this.#batch)
    await this.#batch.decided
  }

  committed(): void {
    this.#batch?.committed()
  }

  rolledBack(reason: unknown): void {
    this.#batch?.rolledBack(reason)
  }
}
