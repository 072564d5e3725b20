// The JavaScript end of the only way from Rust to JavaScript. It settles promises, signals consumers that their buffers have
// something to drain, or hands them that, and keeps the process alive while a promise is pending.
import {
  Bridge,
  type NativeError,
  NativeListeners,
  type NativeQueryOutput,
  NativeSubscribers,
} from '#native'
import { warnOfDefect } from './defect.js'
import { fromNativeError } from './native-errors.js'
import { setInterval, throwLater } from './timers.js'

/** The kinds of entries of a wake. Mirrored in `src-rs/binding/wake.rs`. */
const enum Ready {
  Resolved = 0,
  Rejected = 1,
  Signal = 2,
  Handed = 3,
}

/** The most entries of a wake. Mirrored in `src-rs/binding/bridge.rs`. */
const MOST_AT_ONCE = 256
/** The numbers of an entry: its kind, its id, and two more of what is handed. Mirrored in `src-rs/binding/wake.rs`. */
const NUMBERS = 4

/** The end of a native operation: `value` is its result, or a {@link NativeError}. */
interface Outcome {
  resolved: boolean
  value: unknown
}

/** An object that Rust can signal, such as the JavaScript end of a consumer's buffer. */
export interface Consumer {
  /** Called when there is something to take, after the last attempt to take found nothing. */
  onReady(): void
  /**
   * Called in place of {@link Consumer.onReady} with the only notification that there is to take. The next one is handed too,
   * unless the consumer says otherwise.
   */
  onHanded?(channelId: number, processId: number, payload: string): void
}

/** The longest interval that Node allows. The timer only serves to keep the process alive, so it should never fire. */
const FOR_EVER_MS = 2 ** 31 - 1

/** Whether the event loop is libuv's. Others have functions of its names that do something else, or end the process. */
const HAS_LIBUV = !('bun' in process.versions) && !('deno' in process.versions)

const NOTHING: readonly never[] = []
const NO_BYTES = new Uint8Array()

/**
 * Makes a result, of which Rust gives the values in this order. Those that are empty are `undefined`. Many texts come as arrays of
 * texts.
 */
function makeOutput(
  columns: NativeQueryOutput['columns'],
  returnsRows: boolean,
  rowCount: number,
  isSuspended: boolean,
  rest: NativeQueryOutput['rest'],
  flags: string,
  numbers: ArrayLike<number> = NOTHING,
  integers: ArrayLike<bigint> = NOTHING,
  texts: readonly string[] | readonly string[][] = NOTHING,
  bytes = NO_BYTES,
): NativeQueryOutput {
  return {
    columns,
    returnsRows,
    rowCount,
    isSuspended,
    rest,
    flags,
    numbers,
    integers,
    texts: typeof texts[0] === 'object' ? joined(texts) : (texts as string[]),
    bytes,
  }
}

/** Joins texts that came as arrays: Rust nests them as deep as their number needs, since a call has a limited number of arguments. */
function joined(parts: readonly unknown[]): string[] {
  // `flat()` takes fifty times as long.
  const texts: unknown[] = []
  for (const part of parts as readonly unknown[][]) for (const text of part) texts.push(text)
  return typeof texts[0] === 'object' ? joined(texts) : (texts as string[])
}

/** Makes an array of its arguments, which Rust could only fill element by element. */
function gather(...values: unknown[]): unknown[] {
  return values
}

class JsBridge {
  #handle: Bridge | undefined
  #listeners: NativeListeners | undefined
  #subscribers: NativeSubscribers | undefined
  readonly #pending = new Map<number, (outcome: Outcome) => void>()
  readonly #consumers = new Map<number, WeakRef<Consumer> | Consumer>()
  /** Forgets consumers that were collected as garbage. */
  readonly #abandoned = new FinalizationRegistry<number>((id) => this.unregister(id))
  /** The consumers that keep the process alive. */
  readonly #keepingAlive = new Set<number>()
  #lastId = 0
  #refs = 0
  #timer: NodeJS.Timeout | undefined
  /** To be called once the present wake is over. */
  #behind: (() => void) | undefined
  /** The numbers of the entries of a wake. Rust writes them before each wake. */
  readonly #numbers = new Uint32Array(new ArrayBuffer(4 * NUMBERS * MOST_AT_ONCE))
  /** How many entries the present wake has, or the last one. */
  #entries = 0

  /**
   * Rust's end. It is made at first use, which is the first pool, because it is a handle of the environment: a program that
   * only imports the package has none.
   */
  get handle(): Bridge {
    this.#handle ??= new Bridge(
      (...values) => this.#wake(values),
      this.#numbers,
      HAS_LIBUV,
      makeOutput,
      gather,
    )
    return this.#handle
  }

  /** The native halves of listeners, each by the id under which its run is registered. */
  get listeners(): NativeListeners {
    this.#listeners ??= new NativeListeners(this.handle)
    return this.#listeners
  }

  /** The native buffers of consumers, each by the id under which its inbox is registered. */
  get subscribers(): NativeSubscribers {
    this.#subscribers ??= new NativeSubscribers(this.handle)
    return this.#subscribers
  }

  /**
   * Starts a native operation and returns its result. `start` gets the id under which Rust settles the operation; an
   * error that `start` throws rejects the promise. The process stays alive until the promise is settled.
   */
  async call<Result>(start: (id: number) => void): Promise<Result> {
    const id = this.#nextId()
    start(id)
    const outcome = await new Promise<Outcome>((settle) => {
      this.#pending.set(id, settle)
      this.ref()
    })
    // The error is made here and not in the wake, because V8 adds the functions that await this one to its stack.
    if (!outcome.resolved) throw fromNativeError(outcome.value as NativeError)
    return outcome.value as Result
  }

  /** Returns the id under which Rust signals a consumer. The consumer is held weakly. */
  register(consumer: Consumer): number {
    const id = this.#nextId()
    this.#consumers.set(id, new WeakRef(consumer))
    this.#abandoned.register(consumer, id, consumer)
    return id
  }

  /**
   * Holds a registered consumer, or holds it weakly again. One that waits for notifications is kept by others anyway, and to
   * look through a weak reference costs a good part of a lone notification.
   */
  hold(id: number, consumer: Consumer, isHeld: boolean): void {
    if (this.#consumers.has(id)) this.#consumers.set(id, isHeld ? consumer : new WeakRef(consumer))
  }

  /**
   * Removes a consumer, with the native half that has its id. A signal that is under way for it is ignored, and it does not keep
   * the process alive.
   */
  unregister(id: number): void {
    const consumer = this.#consumer(id)
    // Another consumer may have the id by the time at which this one is collected.
    if (consumer) this.#abandoned.unregister(consumer)
    this.#consumers.delete(id)
    this.keepAlive(id, false)
    try {
      this.#listeners?.forget(id)
      this.#subscribers?.forget(id)
    } catch (error) {
      // Often the garbage collector has asked for it, where nobody can catch an error: it would end the process.
      warnOfDefect(error)
    }
  }

  /** Says whether a registered consumer keeps the process alive. It does so no longer than until it is collected as garbage. */
  keepAlive(id: number, isAlive: boolean): void {
    if (isAlive === this.#keepingAlive.has(id)) return
    if (isAlive) {
      this.#keepingAlive.add(id)
      this.ref()
    } else {
      this.#keepingAlive.delete(id)
      this.unref()
    }
  }

  /** Keeps the process alive until {@link JsBridge.unref} has been called as often as this. */
  ref(): void {
    this.#refs += 1
    if (this.#refs === 1) {
      this.#timer ??= setInterval(() => {}, FOR_EVER_MS)
      this.#timer.ref()
    }
  }

  /** Takes one {@link JsBridge.ref} back. */
  unref(): void {
    this.#refs -= 1
    if (this.#refs === 0) this.#timer?.unref()
  }

  #nextId(): number {
    // Ids cross as 32 bits and may wrap around, so an id that is still in use is left out.
    do {
      this.#lastId = (this.#lastId + 1) >>> 0
    } while (this.#pending.has(this.#lastId) || this.#consumers.has(this.#lastId))
    return this.#lastId
  }

  /** Handles one wake from Rust, with the values of its entries. */
  #wake(values: readonly unknown[]): void {
    const numbers = this.#numbers
    this.#entries = values.length
    for (let at = 0; at < values.length; at += 1) {
      const kind = numbers[NUMBERS * at] as Ready
      const id = numbers[NUMBERS * at + 1]!
      if (kind === Ready.Handed) this.#hand(id, at, values[at] as string)
      else if (kind === Ready.Signal) this.#signal(id)
      else this.#settle(id, { resolved: kind === Ready.Resolved, value: values[at] })
    }
    const behind = this.#behind
    if (!behind) return
    this.#behind = undefined
    behind()
  }

  /** Has a function called once all entries of the present wake were handled: what they hold was taken before what it may take. */
  afterWake(behind: () => void): void {
    this.#behind = behind
  }

  /**
   * Adds the numbers of the channels of the notifications that the present wake hands over. Those that have not come to their
   * consumer are in no buffer any more.
   */
  noteHanded(channelIds: Set<number>): void {
    for (let at = 0; at < this.#entries; at += 1) {
      const isHanded = this.#numbers[NUMBERS * at] === (Ready.Handed as number)
      if (isHanded) channelIds.add(this.#numbers[NUMBERS * at + 2]!)
    }
  }

  /** Finds a registered consumer. */
  find(id: number): Consumer | undefined {
    return this.#consumer(id)
  }

  #consumer(id: number): Consumer | undefined {
    const found = this.#consumers.get(id)
    return found instanceof WeakRef ? found.deref() : found
  }

  #hand(id: number, at: number, payload: string): void {
    const channelId = this.#numbers[NUMBERS * at + 2]!
    const processId = this.#numbers[NUMBERS * at + 3]!
    try {
      this.#consumer(id)?.onHanded?.(channelId, processId, payload)
    } catch (error) {
      throwLater(error)
    }
  }

  #signal(id: number): void {
    try {
      this.#consumer(id)?.onReady()
    } catch (error) {
      // The other entries of the wake must still be handled: they have left Rust's queue.
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

/** The bridge of this environment. Each worker thread loads the module, and so has a bridge of its own. */
export const bridge = new JsBridge()
