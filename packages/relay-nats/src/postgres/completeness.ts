// Up to when the stream is complete: what a gap that another relay will tell of can begin with.
import type { Listener } from 'pglisten'

/** How much earlier than the server's last answer the request for it has certainly been sent, in milliseconds. */
const MARGIN_MS = 1000

/** See the file. */
export class Completeness {
  readonly #listener: Listener
  #until: number

  /** @param since - From when on the listener hears everything, in milliseconds since 1970. */
  constructor(listener: Listener, since: number) {
    this.#listener = listener
    this.#until = since
  }

  /** The moment in milliseconds since 1970 before which everything that was committed has been handed out, or told as a gap. */
  get until(): number {
    return this.#until
  }

  /**
   * Moves the moment on, as far as that can be said now. Everything that was read before the oldest notification in the buffer
   * has been handed out; and an answer of the server that was read before it confirms all commits before its request.
   */
  look(): void {
    const { lastAnswerAgeMs, oldestBufferedAgeMs } = this.#listener.health()
    if (lastAnswerAgeMs === undefined || this.#listener.state !== 'connected') return
    if (oldestBufferedAgeMs !== undefined && lastAnswerAgeMs < oldestBufferedAgeMs) return
    const roundTripMs = this.#listener.stats().lastRoundTripMs ?? 0
    this.#until = Math.max(
      this.#until,
      Math.floor(Date.now() - lastAnswerAgeMs - roundTripMs - MARGIN_MS),
    )
  }
}
