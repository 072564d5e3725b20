// Fairness: how much work may be done before the event loop gets its turn, and who goes on when it has had it.
import { AsyncResource } from 'node:async_hooks'
import { idleTime, nextTick, now, queueMicrotask, setImmediate } from './timers.js'

/**
 * How long one turn of the event loop may be spent on deliveries, in milliseconds. Timers and sockets wait no longer
 * than that, plus one stride and what comes before the time is counted: one delivery, or two where somebody took something
 * before Rust's wake.
 */
const SLICE_MS = 2

/** Checking the clock costs about as much as delivering a notification, so cheap ones are delivered in strides. */
const MAX_STRIDE = 8
/** What a stride may take, in milliseconds: the resolution of the clock. */
const STRIDE_MS = 1

/** The turn that is on: one for all consumers of the environment, as the event loop does not care who keeps it. */
const current = {
  /** Changes when a turn is over or its time used up: strides of before count no more. */
  number: 0,
  /** Something was delivered: the next delivery is counted, unless the event loop goes on before it. */
  begun: false,
  /** How long the event loop had waited by the last wake. */
  idleTime: 0,
  /** The time is counted, and the next turn is asked for. */
  counting: false,
  spent: false,
  startedAt: 0,
}

/** Who goes on in the turns to come, those first who have had nothing for the longest time. */
const waiting: Turn[] = []
let deliveredLast = 0

/** Calls `next` before the event loop goes on, when no promise has anything left to do. */
function whenQuiet(next: () => void): void {
  // A tick that a microtask asks for comes when there are no more microtasks.
  queueMicrotask(() => nextTick(next))
}

function count(): void {
  current.counting = true
  current.spent = false
  current.startedAt = now()
  // Behind the immediates of those who were served: one that comes back for more is to be there when the turn is given.
  whenQuiet(() => setImmediate(turnOver))
}

/**
 * To be called when Rust wakes JavaScript, before anything is delivered. What comes alone mostly comes in a turn of its own, but
 * wakes may also follow each other within one. Where nobody knows (Bun, Deno), every second one is counted.
 */
export function woken(): void {
  const idle = idleTime()
  if (idle === undefined || idle === current.idleTime) return
  current.idleTime = idle
  if (!current.counting) current.begun = false
}

function turnOver(): void {
  current.number += 1
  current.begun = false
  current.counting = false
  current.spent = false
  goOn()
}

/** Lets those who wait go on, one after the other, each with all that its promises start. */
function goOn(): void {
  if (current.spent) return
  const next = waiting.shift()
  if (!next) return
  if (waiting.length > 0) {
    if (!current.counting) count()
    // Together, message by message, they would keep the garbage of all alive.
    whenQuiet(goOn)
  }
  next.goOn()
}

/** What one consumer may take of the turns of the event loop. */
export class Turn {
  readonly #next: () => void
  /** The turn may be given by another consumer. */
  readonly #context = new AsyncResource('PglistenTurn')
  #waits = false
  /** When it has delivered last, among all. */
  #deliveredLast = 0
  /** The turn in which it delivers, */
  #number = 0
  /** and what it does there between two looks at the clock. */
  #stride = 1
  #left = 0
  #checkedAt = 0

  /** `next` is called at the start of a turn that was asked for with {@link Turn.yield}. It must not throw. */
  constructor(next: () => void) {
    this.#next = next
  }

  /**
   * Whether the turn's time is known to be used up: then nothing more is to be pulled either. Only asks; see
   * {@link Turn.charge}.
   */
  get isExhausted(): boolean {
    return current.spent
  }

  /**
   * Charges the turn with deliveries. To be called for each delivery, or once for several, when there is something to
   * deliver. `false`: the turn's time is used up, nothing was charged, and the consumer has to {@link Turn.yield}.
   */
  charge(deliveries = 1): boolean {
    if (this.#left <= 0 || this.#number !== current.number) {
      if (!this.#beginStride()) return false
      deliveredLast += 1
      this.#deliveredLast = deliveredLast
    }
    this.#left -= deliveries
    return true
  }

  /** Begins the next stride. `false`: the turn's time is used up. */
  #beginStride(): boolean {
    if (!current.counting) {
      if (!current.begun) {
        // Often it is the only one: then it need not wait for what would count it, which costs more than itself.
        current.begun = true
        this.#left = 1
        return true
      }
      count()
    }
    if (current.spent) return false
    const at = now()
    const isQuick = this.#number === current.number && at - this.#checkedAt <= STRIDE_MS
    this.#stride = isQuick ? Math.min(this.#stride * 2, MAX_STRIDE) : 1
    this.#left = this.#stride
    this.#number = current.number
    this.#checkedAt = at
    current.spent = at < current.startedAt || at >= current.startedAt + SLICE_MS
    if (current.spent) current.number += 1
    return !current.spent
  }

  /** Asks to go on in a turn to come. */
  yield(): void {
    if (this.#waits) return
    this.#waits = true
    let place = waiting.length
    while (place > 0 && waiting[place - 1]!.#deliveredLast > this.#deliveredLast) place -= 1
    waiting.splice(place, 0, this)
    if (!current.counting) count()
  }

  /** Goes on, for {@link goOn}. */
  goOn(): void {
    this.#waits = false
    this.#context.runInAsyncScope(this.#next)
  }
}
