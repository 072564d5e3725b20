// Reads what comes for several consumers together: one crossing and one string for each notification, however many they are.
import { bridge, type Consumer } from '../native/bridge.js'
import { RETRY_MS, defect } from '../native/defect.js'
import { setTimeout, throwLater } from '../native/timers.js'
import { common, isTurnSpent, Turn, type TurnTaker } from '../native/turn.js'
import { BatchNumbers, asArray } from './batch.js'
import type { PglistenError } from '../errors.js'

/** The most entries that are read at once. */
const READ_SIZE = 256

/**
 * The most deliveries between two looks at the clock: a delivery costs a tenth of a look here, which the consumers of one
 * notification share.
 */
const MAX_STRIDE = 32

/** The most audiences whose members are remembered. */
const MOST_KNOWN = 64

/** The JavaScript end of a member's buffer. */
interface Member extends Consumer {
  /** The consumer that delivers what is there. */
  readonly owner: Consumer | undefined
  /** Whether there are entries that were not taken. */
  readonly hasMore: boolean
  /** Takes a batch that the other members take too, and that nobody may change. */
  share(values: unknown[], numbers: BatchNumbers): void
  /** Copies what was not taken, because the numbers will be those of another batch. */
  keep(): void
  /** Tells that entries could not be taken. */
  report(error: PglistenError): void
}

const NOBODY: readonly Member[] = []

/** The members of an audience, as of a generation. */
interface Members {
  readonly generation: number
  readonly inboxes: readonly Member[]
}

/** Reads for all audiences of the environment, and has the members deliver one after the other. */
class AudienceReader implements Consumer, TurnTaker {
  readonly #numbers = new BatchNumbers(READ_SIZE)
  /** The number of the audience that was read, and its generation. Rust writes them. */
  readonly #about = new Uint32Array(new ArrayBuffer(2 * Uint32Array.BYTES_PER_ELEMENT))
  readonly #drain: (max: number) => unknown
  readonly #turn = new Turn(this, MAX_STRIDE)
  readonly #known = new Map<number, Members>()
  /** The members for whom the present batch is, and the next one of them. */
  #inboxes = NOBODY
  #next = 0
  readonly #readLater = () => this.#read()

  constructor() {
    const id = bridge.register(this)
    this.#drain = bridge.subscribers.audienceDrainer(id, this.#numbers.array, this.#about, asArray)
  }

  onReady(): void {
    // A consumer that has just been handed a notification by the same wake may have become a member, for what follows.
    bridge.afterWake(this.#readLater)
  }

  onTurn(): void {
    this.#read()
  }

  /** Forgets who the members are, because one of them may be collected as garbage. */
  forget(): void {
    this.#known.clear()
  }

  #read(): void {
    common.turn = this.#turn
    try {
      while (this.#deliver() && !isTurnSpent()) if (!this.#readNext()) return
      this.#turn.yield()
    } catch (error) {
      // Nobody else asks again: Rust signals once, until all was read.
      throwLater(error)
      setTimeout(this.#readLater, RETRY_MS).unref()
    } finally {
      common.turn = undefined
    }
  }

  /** Has the members deliver the present batch. Returns `false` when the slice is used up before all have. */
  #deliver(): boolean {
    const inboxes = this.#inboxes
    while (this.#next < inboxes.length) {
      const inbox = inboxes[this.#next]!
      this.#next += 1
      try {
        inbox.owner?.onReady()
      } catch (error) {
        // The other members must still get the batch. What this one has not taken it gets a moment later.
        throwLater(error)
        setTimeout(() => inbox.owner?.onReady(), RETRY_MS).unref()
      }
      if (!inbox.hasMore) continue
      if (isTurnSpent()) {
        this.#next -= 1
        return false
      }
      inbox.keep()
    }
    this.#inboxes = NOBODY
    return true
  }

  /** Reads the next batch, and gives it to all members before the first of them delivers. */
  #readNext(): boolean {
    let read: unknown
    try {
      read = this.#drain(READ_SIZE)
    } catch (error) {
      const failure = defect('taking notifications', error)
      for (const inbox of this.#members()) inbox.report(failure)
      setTimeout(this.#readLater, RETRY_MS).unref()
      return false
    }
    if (read === null) {
      bridge.subscribers.admitToAudiences()
      return false
    }
    const numbers = this.#numbers
    const values = numbers.count === 1 ? [read] : (read as unknown[])
    const inboxes = this.#members()
    for (const inbox of inboxes) inbox.share(values, numbers)
    this.#inboxes = inboxes
    this.#next = 0
    bridge.subscribers.audienceKeptUp()
    return true
  }

  /** The members for whom the last batch is. */
  #members(): readonly Member[] {
    const [number, generation] = this.#about as unknown as [number, number]
    const known = this.#known.get(number)
    if (known?.generation === generation) return known.inboxes
    const inboxes: Member[] = []
    for (const id of bridge.subscribers.audienceMembers()) {
      const inbox = bridge.find(id)
      if (inbox) inboxes.push(inbox as Member)
    }
    if (this.#known.size >= MOST_KNOWN) this.#known.clear()
    this.#known.set(number, { generation, inboxes })
    return inboxes
  }
}

let reader: AudienceReader | undefined

/** Says whether a consumer takes what comes for several together. */
export function setJoins(id: number, joins: boolean): void {
  if (joins) reader ??= new AudienceReader()
  bridge.subscribers.setJoins(id, joins)
  if (!joins) forgetMembers()
}

/** Forgets who the members of audiences are. To be called when one of them is no member any more. */
export function forgetMembers(): void {
  reader?.forget()
}
