// Fairness: how long consumers may deliver before the event loop goes on, and which consumer delivers next.
//
// A turn is one iteration of the event loop. All consumers of the environment share its time slice.
import { AsyncResource } from 'node:async_hooks'
import { idleTime, nextTick, now, queueMicrotask, setImmediate } from './timers.js'

/**
 * The time slice: how long one turn may be spent on deliveries, in milliseconds. Upper bound for timers and sockets:
 * SLICE_MS, plus one stride (up to MAX_STRIDE deliveries between looks at the clock, or what the turn was made with), plus one or two
 * uncounted deliveries at the start of a turn. Those before a slice are part of it.
 */
export const SLICE_MS = 2

/** The most deliveries between two looks at the clock: a look costs about as much as one delivery. */
const MAX_STRIDE = 8
/** A stride that takes no longer than this, in milliseconds, lets the next one be longer. It is the clock's resolution. */
const STRIDE_MS = 1
/**
 * The most deliveries of a turn before its slice starts, each with a look at the clock: where notifications are collected for a
 * millisecond there are often no more, and one more iteration of the event loop costs more than all of them.
 */
const FEW = 16

/** The present turn: one for all consumers of the environment, because together they keep the event loop waiting. */
const current = {
  /** Changes when the turn ends or its slice is used up, which ends every consumer's stride. */
  number: 0,
  /** Whether there was a delivery in this turn. */
  begun: false,
  /** How many deliveries there were behind that one and before the slice: at most {@link FEW}. */
  few: 0,
  /** When the first of those was made, by {@link now}. */
  fewSince: 0,
  /** How long the event loop had been idle when a turn began, in milliseconds; `undefined` where the platform does not tell. */
  idleTime: undefined as number | undefined,
  /** Whether the slice has started, and with it the wait for the next turn. */
  sliced: false,
  /** Whether the slice is used up. */
  spent: false,
  /** When the slice started, by {@link now}. */
  startedAt: 0,
}

/** The consumers that wait for a turn; first those whose last delivery is the longest ago. */
const waiting: Turn[] = []
/** Numbers the strides of all consumers, so that {@link waiting} can be ordered by them. */
let deliveredLast = 0

/** Calls `next` once no microtask is left, and before the event loop goes on. */
function whenQuiet(next: () => void): void {
  // Node runs a tick that a microtask asks for when no microtask is left.
  queueMicrotask(() => nextTick(next))
}

/** Starts the slice of the present turn, and asks for the next turn. */
function startSlice(): void {
  current.sliced = true
  current.spent = false
  // The few that came before are part of the slice.
  current.startedAt = current.few > 0 ? current.fewSince : now()
  // Scheduled after the consumers' own immediates, so that a consumer that asks again has queued before the next one is
  // chosen.
  whenQuiet(() => setImmediate(turnOver))
}

/**
 * Whether the event loop has been idle since this was last asked, which shows on Node that this is another turn. Bun and Deno do not
 * tell, so there every second delivery starts a slice.
 */
function hasIdled(): boolean {
  const idle = idleTime()
  if (idle === undefined || idle === current.idleTime) return false
  current.idleTime = idle
  return true
}

/**
 * Counts deliveries before the slice of the present turn has started, which it need not if they are few. Returns `false` if it has to.
 */
function areFew(deliveries: number): boolean {
  if (current.few > 0 && current.few + deliveries <= FEW) {
    const passedMs = now() - current.fewSince
    if (passedMs >= 0 && passedMs < STRIDE_MS) {
      current.few += deliveries
      return true
    }
  }
  if (hasIdled() || !current.begun) {
    // Often the first delivery is the only one of its turn: to look at the clock would cost as much as the delivery.
    current.begun = true
    current.few = 0
    return true
  }
  if (current.few > 0 || deliveries > FEW || current.idleTime === undefined) return false
  current.few = deliveries
  current.fewSince = now()
  return true
}

function turnOver(): void {
  current.number += 1
  current.begun = false
  current.few = 0
  current.sliced = false
  current.spent = false
  goOn()
}

/** Lets the waiting consumers go on, one after the other, each together with the promise reactions that it causes. */
function goOn(): void {
  if (current.spent) return
  const next = waiting.shift()
  if (!next) return
  if (waiting.length > 0) {
    if (!current.sliced) startSlice()
    // Interleaved message by message, the consumers would keep each other's garbage alive.
    whenQuiet(goOn)
  }
  next.goOn()
}

/** A consumer that takes its turn. */
export interface TurnTaker {
  /** Called when the consumer goes on after {@link Turn.yield}. Must not throw. */
  onTurn(): void
}

/**
 * Whether the slice of the present turn is known to be used up, so that nothing more is to be pulled either. Asks without
 * charging; see {@link Turn.charge}.
 */
export function isTurnSpent(): boolean {
  return current.spent
}

/**
 * The turn of whoever has several consumers deliver at present, one after the other. They charge that one, and do not yield: they are
 * called again.
 */
export const common: { turn: Turn | undefined } = { turn: undefined }

/** The share of one consumer in the turns of the event loop. */
export class Turn {
  readonly #taker: TurnTaker
  /** The most deliveries between two looks at the clock. */
  readonly #maxStride: number
  /** The asynchronous context of the consumer, because another consumer's code may give it its turn. */
  readonly #context = new AsyncResource('PglistenTurn')
  /** Whether the consumer is in {@link waiting}. */
  #waits = false
  /** The number of the consumer's last stride among all consumers' strides. */
  #deliveredLast = 0
  /** The number of the turn to which the present stride belongs. */
  #number = 0
  /** The length of the present stride: how many deliveries there are between two looks at the clock. */
  #stride = 1
  /** Deliveries that are left in the present stride. */
  #left = 0
  /** When the consumer last looked at the clock. */
  #checkedAt = 0

  constructor(taker: TurnTaker, maxStride = MAX_STRIDE) {
    this.#taker = taker
    this.#maxStride = maxStride
  }

  /** Whether the consumer neither waits for its turn nor has ever been charged for a delivery. */
  get isUnused(): boolean {
    return !this.#waits && this.#deliveredLast === 0
  }

  /** Whether the consumer waits for its turn. */
  get isAwaited(): boolean {
    return this.#waits
  }

  /** Changes with each stride of the consumer: as long as it is the same, nothing was delivered, or what was begun before. */
  get lastStride(): number {
    return this.#deliveredLast
  }

  /**
   * Charges the turn with deliveries, of one notification or of several at once. To be called only when there is
   * something to deliver. Returns `false` when the slice is used up: nothing was charged, and the consumer has to
   * {@link Turn.yield}.
   */
  charge(deliveries = 1): boolean {
    if (this.#left <= 0 || this.#number !== current.number) {
      if (!this.#beginStride(deliveries)) return false
      deliveredLast += 1
      this.#deliveredLast = deliveredLast
    }
    this.#left -= deliveries
    return true
  }

  /** Begins the next stride. Returns `false` when the slice is used up. */
  #beginStride(deliveries: number): boolean {
    if (!current.sliced) {
      if (areFew(deliveries)) {
        this.#left = deliveries
        return true
      }
      startSlice()
    }
    if (current.spent) return false
    const at = now()
    const isQuick = this.#number === current.number && at - this.#checkedAt <= STRIDE_MS
    this.#stride = isQuick ? Math.min(this.#stride * 2, this.#maxStride) : 1
    this.#left = this.#stride
    this.#number = current.number
    this.#checkedAt = at
    current.spent = at < current.startedAt || at >= current.startedAt + SLICE_MS
    if (current.spent) current.number += 1
    return !current.spent
  }

  /** Asks for another turn: the consumer is called when it may go on. */
  yield(): void {
    if (this.#waits) return
    this.#waits = true
    let place = waiting.length
    while (place > 0 && waiting[place - 1]!.#deliveredLast > this.#deliveredLast) place -= 1
    waiting.splice(place, 0, this)
    if (!current.sliced) startSlice()
  }

  /** Lets the consumer go on; for {@link goOn}. */
  goOn(): void {
    this.#waits = false
    this.#context.runInAsyncScope(this.#taker.onTurn, this.#taker)
  }
}
