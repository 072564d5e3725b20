// The source `durable`: the events of a durable subscription. Nothing is lost from commit to stream, and nothing is stored twice.
//
// An event is stored, and then the position of the subscription moves, in the transaction that has handed the event out. A relay that
// ends between the two leaves events that are handed out again. The stream tells which: each message has the unique name of its event,
// the transaction, whose fate PostgreSQL knows, and the sequence up to which all transactions had committed by then.
import type { DurableEvent, Subscription, Transaction } from 'pglisten'
import { gapItem, type Item } from '../nats/item.js'
import type { Outlet } from '../nats/outlet.js'
import type { StreamReader } from '../nats/stream.js'
import { ownGap, type RelayGapReason } from '../wire/gaps.js'
import { Header, formatNumbered, headerOf } from '../wire/headers.js'
import { channelOf } from '../wire/subjects.js'

/** What the stream tells a relay that begins. */
export interface Tail {
  /** The sequence up to which the position of the subscription has moved for certain. */
  settled: number
  /** The names of the events that are stored after it. */
  uids: Set<string>
  /** Those of them by the transaction that has handed them out. */
  byTransaction: Map<string, string[]>
  /** The number of the last message that a relay has written. */
  previous: string | null
  /** The last number of each channel. */
  previousOf: Record<string, string>
}

/** Reads the end of the stream, back to where the position has moved for certain. */
export async function readTail(
  stream: StreamReader,
  last: number,
  subjects: readonly string[],
): Promise<Tail> {
  const tail: Tail = {
    settled: 0,
    uids: new Set(),
    byTransaction: new Map(),
    previous: null,
    previousOf: {},
  }
  let isFirst = true
  for (let sequence = last; sequence > tail.settled; sequence -= 1) {
    const message = await stream.message(sequence)
    // Retention has taken it and all before it.
    if (message === undefined) break
    if (message.numbered === undefined) continue
    if (isFirst) {
      isFirst = false
      tail.previous = formatNumbered(message.numbered.epoch, message.numbered.n)
      tail.settled = Number(headerOf(message.headers, Header.settled) ?? 0)
    }
    const uid = headerOf(message.headers, Header.uid)
    if (uid === undefined) continue
    tail.uids.add(uid)
    const transaction = headerOf(message.headers, Header.transaction) ?? '0'
    const together = tail.byTransaction.get(transaction)
    if (together) together.push(uid)
    else tail.byTransaction.set(transaction, [uid])
  }
  for (const subject of subjects) {
    const message = await stream.lastOf(subject)
    const number = headerOf(message?.headers, Header.channelSequence)
    if (number !== undefined) tail.previousOf[channelOf(subject)!] = number
  }
  return tail
}

export interface DurableTermOptions {
  subjectOf: (channel: string) => string
  gapSubject: string
  reason: RelayGapReason
}

/** What became of a transaction; `null` where the server does not know any more, or has never known. */
const STATUS = `
  SELECT CASE WHEN $1::text::xid8 < pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())
         THEN pg_catalog.pg_xact_status($1::text::xid8) END`

/** One time of leading. */
export class DurableTerm {
  readonly #outlet: Outlet
  readonly #tail: Tail
  readonly #options: DurableTermOptions
  #transaction: Transaction | undefined
  #transactionId: string | undefined
  /** The greatest id that {@link DurableTerm.#transaction} has handed out. */
  #greatest = 0n
  /**
   * The ids of events that are stored and whose transaction has not committed: they are handed out again, unless that was done before this
   * time of leading. What was handed out once comes again in the order of ids, so that none is left below one that is done.
   */
  readonly #pending = new Set<bigint>()

  constructor(outlet: Outlet, tail: Tail, options: DurableTermOptions) {
    this.#outlet = outlet
    this.#tail = tail
    this.#options = options
  }

  /** Stores the beginning of the epoch: nothing is missing, unless the stream is another one, without what the one before had. */
  async begin(tx: Transaction, signal: AbortSignal): Promise<void> {
    for (const [transaction, uids] of this.#tail.byTransaction) {
      if ((await statusOf(tx, transaction)) === 'aborted')
        for (const uid of uids) this.#pending.add(idOf(uid))
    }
    const now = new Date().toISOString()
    const { previous, previousOf } = this.#tail
    const { reason, gapSubject } = this.#options
    const missing =
      reason === 'stream-reset' ? { lostAt: null } : { lostAt: now, dropped: 0, previousOf }
    const body = ownGap({ reason, ...missing, resumedAt: now, previous })
    const settled = String(this.#tail.settled)
    await this.#outlet.store([gapItem(gapSubject, body, { [Header.settled]: settled })], signal)
  }

  /** Stores the events of a transaction, or some of them: those that are not stored already. */
  async relay(
    tx: Transaction,
    events: readonly DurableEvent[],
    signal: AbortSignal,
  ): Promise<void> {
    if (tx !== this.#transaction) await this.#onTransaction(tx)
    for (const { id } of events) if (id > this.#greatest) this.#greatest = id
    const missing = events.filter(({ uid }) => !this.#tail.uids.has(uid))
    await this.#outlet.store(
      missing.map((event) => this.#itemOf(event)),
      signal,
    )
    for (const { id, uid } of missing) {
      this.#tail.uids.add(uid)
      this.#pending.add(id)
    }
  }

  /** A new transaction: the one before has committed, or its events come again. */
  async #onTransaction(tx: Transaction): Promise<void> {
    if (
      this.#transactionId !== undefined &&
      (await statusOf(tx, this.#transactionId)) === 'committed'
    ) {
      for (const id of this.#pending) if (id <= this.#greatest) this.#pending.delete(id)
      if (this.#pending.size === 0) {
        this.#tail.settled = this.#outlet.last
        this.#tail.uids.clear()
      }
    }
    this.#greatest = 0n
    this.#transactionId = await tx.fetchVal<string>('SELECT pg_catalog.pg_current_xact_id()::text')
    this.#transaction = tx
  }

  #itemOf(event: DurableEvent): Item {
    return {
      subject: this.#options.subjectOf(event.channel),
      payload: event.payload,
      channel: event.channel,
      headers: {
        [Header.uid]: event.uid,
        [Header.key]: event.key === null ? undefined : encodeURIComponent(event.key),
        [Header.transaction]: this.#transactionId,
        [Header.settled]: String(this.#tail.settled),
      },
    }
  }
}

/** The id of the event that has this unique name. */
const idOf = (uid: string) => BigInt(uid.slice(0, uid.indexOf('-')))

async function statusOf(tx: Transaction, transaction: string): Promise<string | null> {
  return tx.fetchVal<string | null>(STATUS, [transaction])
}

/** Makes a time of leading: called with the first event. */
type Begin = (tx: Transaction, signal: AbortSignal) => Promise<DurableTerm>

/**
 * Works the subscription until `signal` is aborted or something fails; then it rejects with the failure. All events of a transaction are
 * stored before the first of them is waited for.
 */
export async function relayDurable(
  subscription: Subscription,
  begin: Begin,
  signal: AbortSignal,
): Promise<void> {
  const stream = subscription.batches({ signal })
  let term: DurableTerm | undefined
  try {
    for (;;) {
      const { done, value } = await stream.next()
      if (done === true) return
      try {
        term ??= await begin(value.tx, signal)
        await term.relay(value.tx, value.events, signal)
      } catch (error) {
        // Asked for the next one, the subscription rolls back without counting an attempt: the events are not at fault.
        await stream.next().catch(() => {})
        throw error
      }
      await value.ack()
    }
  } finally {
    await stream.return()
  }
}
