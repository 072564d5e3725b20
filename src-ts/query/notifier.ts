// A notifier: gathers payloads for a moment, and sends them in one transaction.
import { brand } from '../brand.js'
import { ConnectionPoolExecuteError } from '../errors.js'
import { clearTimeout, setTimeout, throwLater } from '../native/timers.js'
import type { ResolvedNotifierOptions } from '../options/notifier.js'
import type { CallOptions } from './bounds.js'

/** The bytes of payloads that are sent at once, although `delayMs` is not over. */
const MOST_BYTES = 2 ** 20

/** What a {@link Notifier} calls on the pool that made it. */
export interface NotifierOwner {
  /** Throws when the pool is closed. */
  checkOpen(): void
  /** Makes the text of a payload. Throws when it cannot be sent. */
  encode(payload: unknown): string
  /** Sends payloads in one transaction. */
  send(payloads: string[], bounds: CallOptions): Promise<void>
  /** Called when a notifier begins to have payloads that wait, and when it has none any more. */
  onWaiting(notifier: WaitingNotifier, waiting: boolean): void
}

/** A notifier with payloads that wait. */
export interface WaitingNotifier {
  /** Gives up the payloads that wait. */
  abandon(error: unknown): void
}

/** The payloads of one transaction. */
class Gathering {
  readonly payloads = new Set<string>()
  #bytes = 0
  /** Whether they are to be sent as soon as nothing else is under way. */
  isDue = false
  timer: NodeJS.Timeout | undefined
  succeed!: () => void
  fail!: (error: unknown) => void
  /** Resolves when they are committed. */
  readonly sent = new Promise<void>((resolve, reject) => {
    this.succeed = resolve
    this.fail = reject
  })

  constructor() {
    void handled(this.sent)
  }

  add(payload: string): void {
    this.payloads.add(payload)
    this.#bytes += Buffer.byteLength(payload)
  }

  isFull(maxPayloads: number): boolean {
    return this.payloads.size >= maxPayloads || this.#bytes >= MOST_BYTES
  }
}

/** Lets a caller ignore a promise: its rejection does not end the process. */
function handled<Result>(promise: Promise<Result>): Promise<Result> {
  promise.catch(() => {})
  return promise
}

/**
 * Sends notifications to a channel, those of a moment in one transaction: for code that notifies more often than anybody
 * needs to hear. {@link ConnectionPool.notifier} makes one.
 *
 * A transaction is under way at a time, so payloads arrive in the order in which they were given. Of equal payloads that wait
 * together one is sent, at the place of the first: PostgreSQL delivers equal payloads of one transaction once.
 *
 * Payloads that wait keep the process alive until they are sent; an idle notifier holds nothing.
 *
 * @typeParam Payload - The type of the payloads: text, or the input of the channel's schema.
 */
export class Notifier<Payload = string> implements AsyncDisposable {
  readonly #owner: NotifierOwner
  readonly #options: ResolvedNotifierOptions
  /** The payloads that wait. */
  #next: Gathering | undefined
  /** The payloads that are under way. */
  #current: Gathering | undefined
  #closed: Promise<void> | undefined
  /** Whether a failure was warned of since the last success. */
  #isWarned = false

  /** @internal */
  constructor(owner: NotifierOwner, options: ResolvedNotifierOptions) {
    this.#owner = owner
    this.#options = options
  }

  /**
   * Gives a payload to be sent. The promise resolves once it is committed. It may be ignored: its rejection is also reported
   * to `onError`, or as a warning of the process, and does not end the process.
   *
   * Rejects as {@link ConnectionPool.notify} does, at once when the payload cannot be sent, and with
   * {@link ConnectionPoolExecuteError} when the notifier or the pool is closed, or too many payloads wait. After another
   * rejection the payload may have been sent all the same, as with each statement whose answer did not come.
   *
   * @param args - The payload. @default the empty text
   */
  notify(
    ...args: string extends Payload ? [payload?: Payload] : [payload: Payload]
  ): Promise<void> {
    const refused: string[] = []
    try {
      this.#owner.checkOpen()
      if (this.#closed) throw new ConnectionPoolExecuteError('the notifier is closed')
      const text = this.#owner.encode(args[0])
      refused.push(text)
      const next = (this.#next ??= this.#gather())
      if (!next.payloads.has(text)) this.#add(next, text)
      return next.sent
    } catch (error) {
      this.#report(error, refused)
      return handled(Promise.reject(error as Error))
    }
  }

  /**
   * Sends the payloads that wait without further delay. Resolves once all that were given before are committed, and rejects with
   * the first error when some were not. As with {@link Notifier.notify}, the promise may be ignored.
   */
  flush(): Promise<void> {
    return handled(this.#flush())
  }

  async #flush(): Promise<void> {
    const sent = [this.#current, this.#next].flatMap((gathering) => gathering?.sent ?? [])
    this.#hurry()
    for (const outcome of await Promise.allSettled(sent))
      if (outcome.status === 'rejected') throw outcome.reason
  }

  /**
   * Sends the payloads that wait, as {@link Notifier.flush} does, and takes no more. A second call returns the promise of the
   * first. To be called before the pool is closed, which gives up what waits.
   */
  close(): Promise<void> {
    this.#closed ??= this.flush()
    return this.#closed
  }

  /** Closes the notifier, as {@link Notifier.close} does. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #gather(): Gathering {
    const next = new Gathering()
    next.timer = setTimeout(() => this.#hurry(), this.#options.delayMs)
    this.#owner.onWaiting(this.#waiting, true)
    return next
  }

  #add(next: Gathering, text: string): void {
    const { maxPayloads } = this.#options
    if (next.isFull(maxPayloads)) {
      const { size } = next.payloads
      const how = `${size} payloads wait for the transaction that is under way`
      throw new ConnectionPoolExecuteError(`the notifier is full: ${how}`)
    }
    next.add(text)
    if (next.isFull(maxPayloads)) this.#hurry()
  }

  /** Sends the payloads that wait as soon as nothing else is under way. */
  #hurry(): void {
    const next = this.#next
    if (!next) return
    clearTimeout(next.timer)
    next.isDue = true
    if (!this.#current) void this.#send(next)
  }

  async #send(gathered: Gathering): Promise<void> {
    this.#next = undefined
    this.#current = gathered
    this.#owner.onWaiting(this.#waiting, false)
    const payloads = [...gathered.payloads]
    try {
      await this.#owner.send(payloads, { timeoutMs: this.#options.timeoutMs })
      this.#isWarned = false
      gathered.succeed()
    } catch (error) {
      this.#fail(gathered, error)
    } finally {
      this.#current = undefined
      this.#goOn()
    }
  }

  /** Sends what became due meanwhile. */
  #goOn(): void {
    if (this.#next?.isDue) this.#hurry()
  }

  #fail(gathered: Gathering, error: unknown): void {
    gathered.fail(error)
    this.#report(error, [...gathered.payloads])
  }

  #report(error: unknown, payloads: string[]): void {
    const { onError } = this.#options
    if (onError) {
      try {
        onError(error, payloads)
      } catch (thrown) {
        throwLater(thrown)
      }
    } else if (!this.#isWarned) {
      this.#isWarned = true
      process.emitWarning(`notifications were not sent: ${(error as Error).message}`, {
        type: 'PglistenWarning',
        code: 'PGLISTEN_NOTIFIER',
      })
    }
  }

  /** What the pool knows of this notifier while payloads wait. */
  readonly #waiting: WaitingNotifier = {
    abandon: (error) => {
      const next = this.#next
      if (!next) return
      this.#next = undefined
      clearTimeout(next.timer)
      this.#owner.onWaiting(this.#waiting, false)
      this.#fail(next, error)
    },
  }
}

brand(Notifier, 'Notifier')
