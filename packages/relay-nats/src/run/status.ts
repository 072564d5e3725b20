// What a relay tells of itself: its role, its counters, and what it gets over.
import { tell, type RelayRole } from '../diagnostics.js'
import type { OutletEvents } from '../nats/outlet.js'

/** Who is told. */
export interface StatusEvents {
  onRole: (role: RelayRole, reason: string | undefined) => void
  onWarning: (message: string, error: unknown) => void
}

/** The role and the counters of a relay. */
export class Status {
  readonly #stream: string
  readonly #events: StatusEvents
  #role: RelayRole = 'connecting'
  #epoch: string | undefined
  #lastStoredAt: number | undefined
  readonly counts = {
    stored: 0,
    storedInBatches: 0,
    gaps: 0,
    unpublishable: 0,
    failures: 0,
    terms: 0,
    evicted: 0,
  }

  constructor(stream: string, events: StatusEvents) {
    this.#stream = stream
    this.#events = events
  }

  get role(): RelayRole {
    return this.#role
  }

  /** The epoch in which the relay leads; `undefined` when there is none. */
  get epoch(): string | undefined {
    return this.#epoch
  }

  /** How long ago the stream last confirmed a message, in milliseconds. */
  get lastStoredAgeMs(): number | undefined {
    return this.#lastStoredAt === undefined ? undefined : performance.now() - this.#lastStoredAt
  }

  /** An epoch of the relay begins. That is told also when it was known to lead. */
  lead(epoch: string): void {
    this.#epoch = epoch
    this.counts.terms += 1
    this.#tell('leading')
  }

  /** The epoch is over. */
  endTerm(): void {
    this.#epoch = undefined
  }

  become(role: RelayRole, reason?: string): void {
    if (this.#role !== role) this.#tell(role, reason)
  }

  #tell(role: RelayRole, reason?: string): void {
    this.#role = role
    tell('role', { stream: this.#stream, role, epoch: this.#epoch, reason })
    this.#events.onRole(role, reason)
  }

  /** Something failed that the relay gets over by itself. */
  warn(message: string, error?: unknown): void {
    this.#events.onWarning(message, error)
  }

  /** What the outlet of a time of leading reports. */
  get ofOutlet(): OutletEvents {
    const { counts } = this
    const stream = this.#stream
    return {
      onFailure: ({ code, message }) => {
        counts.failures += 1
        tell('failure', { stream, code, message })
        this.warn(`storing failed: ${message}${code > 0 ? ` (${code})` : ''}`)
      },
      onUnpublishable: () => {
        counts.unpublishable += 1
      },
      onGap: ({ reason, dropped }) => {
        counts.gaps += 1
        tell('gap', { stream, reason, dropped })
      },
      onStored: (count, how) => {
        counts.stored += count
        if (how === 'batch') counts.storedInBatches += count
        this.#lastStoredAt = performance.now()
        tell('stored', { stream, count, how })
      },
    }
  }
}
