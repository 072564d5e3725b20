// The bell: the notifications by which publishers wake workers that sleep.
import type { Listener } from '../listen/listener.js'
import type { DurableOwner } from './owner.js'

/** The channel on which `pglisten.publish()` rings; the payload is the channel of the event. */
const CHANNEL = 'pglisten_bell'

/** The longest wait for a session at the beginning, in milliseconds. */
const STARTUP_TIMEOUT_MS = 30_000

/** For how long the end of the session is waited for, in milliseconds: nothing that it hears is of use any more. */
const SHUTDOWN_TIMEOUT_MS = 1000

/** A worker that sleeps. */
interface Sleeper {
  readonly channels: ReadonlySet<string>
  ring(): void
}

/** Hears the bell for the workers of a subscription. */
export class Bell {
  readonly #owner: DurableOwner
  readonly #report: (error: unknown) => void
  readonly #sleepers = new Set<Sleeper>()
  #listener: Listener | undefined
  #heardSince = 0

  constructor(owner: DurableOwner, report: (error: unknown) => void) {
    this.#owner = owner
    this.#report = report
  }

  /** Begins to listen. Rejects when there is no server, and with the reason of `signal`. */
  async start(signal: AbortSignal): Promise<void> {
    const listener = this.#owner.listener({
      name: 'durable subscriptions',
      channels: [CHANNEL],
      coalesce: 'payload',
    })
    this.#listener = listener
    // A warning says what a gap says too, and an error that the listener gave up.
    listener.on('error', this.#report)
    listener.on('closed', (error) => {
      // Also when the pool is closed: whoever sleeps is to notice.
      if (error) this.#report(error)
      this.#ringAll()
    })
    await listener.addCallback(CHANNEL, (_, channel) => this.#ring(channel))
    // What was rung meanwhile was not heard.
    listener.addGapCallback(() => this.#ringAll())
    const begin = () => {
      this.#heardSince = performance.now()
    }
    listener.on('reconnected', begin)
    await listener.startup({ signal, timeoutMs: STARTUP_TIMEOUT_MS })
    begin()
    listener.listen()
  }

  /** Since when the bell is heard without a break, by `performance.now()`: now, where it is not. */
  get heardSince(): number {
    return this.#listener?.state === 'connected' ? this.#heardSince : performance.now()
  }

  async stop(): Promise<void> {
    await this.#listener?.shutdown({ timeoutMs: SHUTDOWN_TIMEOUT_MS })
  }

  /** Resolves when the bell rings for one of the channels. To be asked before it is looked whether there is something. */
  next(channels: ReadonlySet<string>): { rung: Promise<void>; cancel: () => void } {
    let sleeper!: Sleeper
    const rung = new Promise<void>((resolve) => {
      sleeper = { channels, ring: resolve }
    })
    this.#sleepers.add(sleeper)
    return { rung, cancel: () => void this.#sleepers.delete(sleeper) }
  }

  #ring(channel: string): void {
    for (const sleeper of this.#sleepers) if (sleeper.channels.has(channel)) this.#wake(sleeper)
  }

  #ringAll(): void {
    for (const sleeper of this.#sleepers) this.#wake(sleeper)
  }

  #wake(sleeper: Sleeper): void {
    this.#sleepers.delete(sleeper)
    sleeper.ring()
  }
}
