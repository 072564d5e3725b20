// The JavaScript end of the one way from Rust: settles promises, tells consumers that they have something to
// drain, and keeps the process alive while somebody waits.
import { Bridge, type NativeError } from '#native'
import { fromNativeError } from './native-errors.js'
import { setInterval, throwLater } from './timers.js'
import { woken } from './turn.js'

/** How an entry is to be read. Mirrored in `src-rs/binding/bridge.rs`. */
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

class JsBridge {
  readonly handle: Bridge
  readonly #pending = new Map<number, (outcome: Outcome) => void>()
  readonly #consumers = new Map<number, WeakRef<Consumer>>()
  readonly #abandoned = new FinalizationRegistry<number>((id) => this.#consumers.delete(id))
  #lastId = 0
  #refs = 0
  #timer: NodeJS.Timeout | undefined

  constructor() {
    this.handle = new Bridge((...ready) => this.#wake(ready))
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
      this.ref()
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

  /** Keeps the process alive until {@link JsBridge.unref} was called as often. */
  ref(): void {
    this.#refs += 1
    if (this.#refs === 1) {
      this.#timer ??= setInterval(() => {}, FOR_EVER_MS)
      this.#timer.ref()
    }
  }

  unref(): void {
    this.#refs -= 1
    if (this.#refs === 0) this.#timer?.unref()
  }

  #nextId(): number {
    // Ids cross as 32 bits; by the time they come round, the old ones have long been used up.
    do {
      this.#lastId = (this.#lastId + 1) >>> 0
    } while (this.#pending.has(this.#lastId) || this.#consumers.has(this.#lastId))
    return this.#lastId
  }

  /** `ready`: the kind, the id and the value of each entry. */
  #wake(ready: readonly unknown[]): void {
    woken()
    for (let at = 0; at < ready.length; at += 3) {
      const kind = ready[at] as Ready
      const id = ready[at + 1] as number
      if (kind === Ready.Signal) this.#signal(id)
      else this.#settle(id, { resolved: kind === Ready.Resolved, value: ready[at + 2] })
    }
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
    this.unref()
    settle(outcome)
  }
}

/** One per environment: a worker thread loads the module, and so makes its own. */
export const bridge = new JsBridge()
