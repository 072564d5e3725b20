// The JavaScript end of the one way from Rust: settles promises, tells consumers that they have something to
// drain, and keeps the process alive while somebody waits.
import { Bridge, type NativeError } from '#native'
import { fromNativeError } from './native-errors.js'
import { setInterval, throwLater } from './timers.js'
import { woken } from './turn.js'

/** How many entries are taken at once. If there are more, Rust wakes us again. */
const MOST_AT_ONCE = 64

/** How many entries were taken, then the kind and the id of each. */
const newReady = (): Uint32Array => new Uint32Array(1 + 2 * MOST_AT_ONCE)

/** How an entry of `Bridge.take` is to be read. Mirrored in `src-rs/binding/bridge.rs`. */
const enum Ready {
  Resolved = 0,
  Rejected = 1,
  Signal = 2,
}

/** How a native operation has ended: with its result or a {@link NativeError}. */
interface Outcome {
  resolved: boolean
  value: unknown
}

/** Something in JavaScript that drains a buffer in Rust. */
export interface Consumer {
  /** The buffer went from empty to non-empty. */
  onReady(): void
}

/** The longest interval that Node takes: the timer is there for its `ref`, not for its ticks. */
const FOR_EVER_MS = 2 ** 31 - 1

/** How values that cross from Rust become an array: as arguments they cross at once. */
export const asArray = (...values: unknown[]): unknown[] => values

class JsBridge {
  readonly handle: Bridge
  readonly #pending = new Map<number, (outcome: Outcome) => void>()
  readonly #consumers = new Map<number, WeakRef<Consumer>>()
  readonly #abandoned = new FinalizationRegistry<number>((id) => this.#consumers.delete(id))
  #lastId = 0
  #holds = 0
  #keepAlive: NodeJS.Timeout | undefined
  #ready: Uint32Array | undefined

  constructor() {
    this.handle = new Bridge(() => this.#wake())
  }

  /**
   * Starts a native operation and gives its result. `start` gets the id under which the operation is settled; what
   * it throws rejects the promise. The process stays alive until then.
   */
  async call<Result>(start: (id: number) => void): Promise<Result> {
    const id = this.#nextId()
    start(id)
    const outcome = await new Promise<Outcome>((settle) => {
      this.#pending.set(id, settle)
      this.hold()
    })
    // Made here, and not in the wake: V8 adds the functions that await this one to an error's stack.
    if (!outcome.resolved) throw fromNativeError(outcome.value as NativeError)
    return outcome.value as Result
  }

  /** Gives a consumer the id under which Rust signals it. It is held weakly. */
  register(consumer: Consumer): number {
    const id = this.#nextId()
    this.#consumers.set(id, new WeakRef(consumer))
    this.#abandoned.register(consumer, id)
    return id
  }

  unregister(id: number): void {
    this.#consumers.delete(id)
  }

  /** Keeps the process alive until {@link JsBridge.release} was called as often. */
  hold(): void {
    this.#holds += 1
    if (this.#holds === 1) {
      this.#keepAlive ??= setInterval(() => {}, FOR_EVER_MS)
      this.#keepAlive.ref()
    }
  }

  release(): void {
    this.#holds -= 1
    if (this.#holds === 0) this.#keepAlive?.unref()
  }

  #nextId(): number {
    // Ids cross as 32 bits; by the time they come round, the old ones have long been used up.
    do {
      this.#lastId = (this.#lastId + 1) >>> 0
    } while (this.#pending.has(this.#lastId) || this.#consumers.has(this.#lastId))
    return this.#lastId
  }

  #wake(): void {
    woken()
    // Taken while it is read: a handler that runs the event loop by itself may be woken again in the middle.
    const ready = this.#ready ?? newReady()
    this.#ready = undefined
    const values = this.handle.take(ready, asArray)
    const end = 1 + 2 * ready[0]!
    let settled = 0
    for (let entry = 1; entry < end; entry += 2) {
      const id = ready[entry + 1]!
      if (ready[entry] === Ready.Signal) {
        this.#signal(id)
      } else {
        this.#settle(id, {
          resolved: ready[entry] === Ready.Resolved,
          value: values![settled],
        })
        settled += 1
      }
    }
    this.#ready = ready
  }

  #signal(id: number): void {
    try {
      this.#consumers.get(id)?.deref()?.onReady()
    } catch (error) {
      // The others were taken out of Rust's queue too, and are told only once.
      throwLater(error)
    }
  }

  #settle(id: number, outcome: Outcome): void {
    const settle = this.#pending.get(id)
    if (!settle) return
    this.#pending.delete(id)
    this.release()
    settle(outcome)
  }
}

/** One per environment: a worker thread loads the module, and so makes its own. */
export const bridge = new JsBridge()
