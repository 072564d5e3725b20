// The source `durable`: the events of a durable subscription. Nothing is lost from commit to stream, and nothing is stored twice.
//
// An event is stored, and then the position of the subscription moves, in the transaction that has handed the event out. A relay that
// ends between the two leaves events that are handed out again. The stream tells which are stored: each message has the unique name of
// its event, and the sequence up to which all transactions had committed by then.
import type { DurableEvent, Subscription, Transaction } from 'pglisten'
import { textOf } from '../errors.js'
import { gapItem, type Item } from '../nats/item.js'
import type { Outlet } from '../nats/outlet.js'
import type { Stored, StreamReader } from '../nats/stream.js'
import { ownGap, type RelayGapReason } from '../wire/gaps.js'
import { Header, formatNumbered, headerOf } from '../wire/headers.js'
import { channelOf } from '../wire/subjects.js'

/** What the stream tells a relay that begins. */
export interface Tail {
  /** The sequence up to which the position of the subscription has moved for certain. */
  settled: number
  /** The names of the events that are stored after it, with their ids. */
  unsettled: Map<string, bigint>
  /** The number of the last message that a relay has written. */
  previous: string | null
  /** The last number of each channel that has messages of that epoch. */
  previousOf: Record<string, string>
}

/** How many messages of the stream are asked for at once. */
const MAX_ASKED = 64

/**
 * Reads the end of the stream, back to where the position has moved for certain.
 *
 * @param own - The subjects of all messages that relays of this database write.
 */
export async function readTail(
  stream: StreamReader,
  own: string,
  subjects: readonly string[],
  signal: AbortSignal,
): Promise<Tail> {
  const tail: Tail = {
    settled: 0,
    unsettled: new Map(),
    previous: null,
    previousOf: {},
  }
  let epoch: string | undefined
  let isDurable = false
  const asked = new Map<number, Promise<Stored | undefined>>()
  // Once it is known how far to read, many are asked for at once.
  const ask = (last: number) => {
    const first = isDurable ? Math.max(tail.settled + 1, last - MAX_ASKED + 1) : last
    for (let sequence = last; sequence >= first; sequence -= 1) {
      const answer = stream.message(sequence)
      answer.catch(() => {})
      asked.set(sequence, answer)
    }
    return asked.get(last)!
  }
  let sequence = (await stream.lastOf(own))?.sequence ?? 0
  while (sequence > tail.settled) {
    signal.throwIfAborted()
    const message = await (asked.get(sequence) ?? ask(sequence))
    // Retention has taken it and all before it.
    if (message === undefined) break
    const { numbered, headers } = message
    if (numbered !== undefined && epoch === undefined) {
      epoch = numbered.epoch
      tail.previous = formatNumbered(epoch, numbered.n)
    }
    const settled = headerOf(headers, Header.settled)
    if (numbered !== undefined && settled === undefined) {
      // An epoch of the source `channels` has no event. Its first message is that much earlier, or more where others write too: one of
      // theirs may say 0.
      sequence -= Math.max(1, numbered.n)
      continue
    }
    if (numbered !== undefined) {
      if (!isDurable) tail.settled = Number(settled)
      isDurable = true
      const uid = headerOf(headers, Header.uid)
      if (uid !== undefined) tail.unsettled.set(uid, idOf(uid))
    }
    sequence -= 1
  }
  for (const subject of subjects) {
    signal.throwIfAborted()
    const message = await stream.lastOf(subject)
    const number = headerOf(message?.headers, Header.channelSequence)
    if (number !== undefined && message?.numbered?.epoch === epoch)
      tail.previousOf[channelOf(subject)!] = number
  }
  return tail
}

export interface DurableTermOptions {
  /** The name of the subscription. */
  subscription: string
  subjectOf: (channel: string) => string
  gapSubject: string
  reason: RelayGapReason
  /** The longest time that a transaction may take. */
  maxHandlerMs: number
}

/** What became of a transaction; `null` where the server does not know any more, or has never known. */
const STATUS = `
  SELECT CASE WHEN $1::text::xid8 < pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())
         THEN pg_catalog.pg_xact_status($1::text::xid8) END`

/** Those of some events that a subscription has not done yet. */
const UNDONE = `SELECT e AS id FROM pg_catalog.unnest($2::bigint[]) AS e WHERE pglisten.is_undone($1, e)`

/**
 * The share of its time in which the events of a transaction have to be stored, and before the first of them the end of the stream has to be read. A transaction that ends by itself counts as a failure of its
 * events, which are then tried one by one; before PostgreSQL 17 the server ends one that has been idle for half of the time.
 */
const STORING_SHARE = 0.4

/** One time of leading. */
export class DurableTerm {
  readonly #outlet: Outlet
  readonly #tail: Tail
  readonly #options: DurableTermOptions
  #transaction: Transaction | undefined
  #transactionId: string | undefined
  /** The greatest id that {@link DurableTerm.#transaction} has handed out. */
  #greatest = 0n

  constructor(outlet: Outlet, tail: Tail, options: DurableTermOptions) {
    this.#outlet = outlet
    this.#tail = tail
    this.#options = options
  }

  /** Stores the beginning of the epoch: nothing is missing, unless the stream is another one, without what the one before had. */
  async begin(tx: Transaction, signal: AbortSignal): Promise<void> {
    await this.#settle(tx)
    const now = new Date().toISOString()
    const { previous, previousOf } = this.#tail
    const { reason, gapSubject } = this.#options
    const isReset = reason === 'stream-reset'
    const missing = isReset ? { lostAt: null } : { lostAt: now, dropped: 0 }
    const body = ownGap({ reason, ...missing, resumedAt: now, previous })
    const headers = { [Header.settled]: String(this.#tail.settled) }
    const plain = gapItem(gapSubject, body, headers)
    // The numbers of many channels may be too many for a message.
    const full = { ...gapItem(gapSubject, { ...body, previousOf }, headers), smaller: plain }
    await this.#store([isReset ? plain : full], signal)
  }

  /**
   * Forgets what never comes again: events behind which the position has moved, and those that this database does not have, such as after it was
   * installed again or restored. Any of them would keep what follows from being settled, and be read at each beginning.
   */
  async #settle(tx: Transaction): Promise<void> {
    const { unsettled } = this.#tail
    if (unsettled.size > 0) {
      const ids = [...unsettled.values()]
      const undone = await tx.fetch<{ id: bigint }>(UNDONE, [this.#options.subscription, ids])
      const left = new Set([...undone].map(({ id }) => id))
      for (const [uid, id] of unsettled) if (!left.has(id)) unsettled.delete(uid)
    }
    if (unsettled.size === 0) this.#tail.settled = this.#outlet.last
  }

  /** Stores the events of a transaction, or some of them: those that are not stored already. */
  async relay(
    tx: Transaction,
    events: readonly DurableEvent[],
    signal: AbortSignal,
  ): Promise<void> {
    if (tx !== this.#transaction) await this.#onTransaction(tx)
    for (const { id } of events) if (id > this.#greatest) this.#greatest = id
    const missing = events.filter(({ uid }) => !this.#tail.unsettled.has(uid))
    await this.#store(
      missing.map((event) => this.#itemOf(event)),
      signal,
    )
    for (const { id, uid } of missing) this.#tail.unsettled.set(uid, id)
  }

  /**
   * A new transaction: the one before has committed, or its events come again. Events that were handed out once come again in the order of ids,
   * so the commit settles every event up to its greatest id. The transactions of earlier relays settle nothing: a server that has crashed, or a
   * standby that was promoted, may not know one that had not committed, and give its id to another transaction.
   */
  async #onTransaction(tx: Transaction): Promise<void> {
    if (
      this.#transactionId !== undefined &&
      (await statusOf(tx, this.#transactionId)) === 'committed'
    ) {
      const { unsettled } = this.#tail
      for (const [uid, id] of unsettled) if (id <= this.#greatest) unsettled.delete(uid)
      if (unsettled.size === 0) this.#tail.settled = this.#outlet.last
    }
    this.#greatest = 0n
    this.#transactionId = await tx.fetchVal<string>('SELECT pg_catalog.pg_current_xact_id()::text')
    this.#transaction = tx
  }

  /** Stores messages, or rejects while the transaction can still be rolled back. */
  async #store(items: readonly Item[], signal: AbortSignal): Promise<void> {
    await withinShare(this.#options.maxHandlerMs, signal, (bounded) =>
      this.#outlet.store(items, bounded),
    )
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

/** Makes a time of leading: called in the transaction of the first batch. */
type Begin = (tx: Transaction, signal: AbortSignal) => Promise<DurableTerm>

/** The signals that end the work at a subscription. */
export interface DurableSignals {
  /** Ends the taking of events. A batch that was taken is still stored. */
  taking: AbortSignal
  /** Ends the storing too. */
  storing: AbortSignal
}

/**
 * Works the subscription until `taking` is aborted or something fails; then it rejects with the failure. All events of a transaction are
 * stored before the first of them is waited for.
 */
export async function relayDurable(
  subscription: Subscription,
  begin: Begin,
  { taking, storing }: DurableSignals,
): Promise<void> {
  const stream = subscription.batches({ signal: taking })
  let term: DurableTerm | undefined
  try {
    for (;;) {
      const { done, value } = await stream.next()
      if (done === true) return
      const { tx, events, ack } = value
      try {
        term ??= await begin(tx, storing)
        await term.relay(tx, events, storing)
      } catch (error) {
        // Asked for the next batch, the subscription rolls back without counting an attempt: the events are not at fault. Once the
        // transaction has ended by itself, it would wait for another batch instead.
        if (!tx.isEnded) await stream.next().catch(() => {})
        throw error
      }
      try {
        await ack()
      } catch (error) {
        // The events come again. A subscription that cannot be worked any more says so when the next batch is asked for.
        throw new Error(`the position was not moved: ${textOf(error)}`, { cause: error })
      }
    }
  } finally {
    await stream.return()
  }
}

/** Runs `work` with a signal that is aborted together with `signal`, and when its share of the time of a transaction is over. */
export async function withinShare<Result>(
  maxHandlerMs: number,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  const ms = STORING_SHARE * maxHandlerMs
  signal.throwIfAborted()
  const bound = new AbortController()
  // Not AbortSignal.any(): Node.js 20 keeps a trace of each such signal for as long as `signal` lives.
  const end = () => bound.abort(signal.reason)
  signal.addEventListener('abort', end, { once: true })
  const late = () => bound.abort(new Error(`the stream has not taken them within ${ms} ms`))
  const timer = setTimeout(late, ms)
  try {
    return await work(bound.signal)
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', end)
  }
}
