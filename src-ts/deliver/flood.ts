// When a consumer rests for a moment in a flood, so that notifications collect in Rust and cross together.
import type { Complete } from '../options/validate.js'
import type { BufferOptions } from '../options/listener.js'
import type { Consumer } from '../native/bridge.js'
import { clearTimeout, now, setTimeout } from '../native/timers.js'

/**
 * Notifications per millisecond from which on the consumer rests: at that rate a wake for the few that have arrived
 * costs more than their delivery.
 */
const FLOOD_PER_MS = 200
/** How long the rate of notifications is counted, in milliseconds. */
const FLOOD_WINDOW_MS = 8
/** How long one rest lasts, in milliseconds. */
const REST_MS = 1
/** The smallest buffer that is left alone for a rest: a smaller one could overflow meanwhile. */
const RESTFUL = { maxMessages: 65_536, maxBytes: 16 * 2 ** 20 }

/** Counts how fast one consumer's notifications arrive, and decides when the consumer rests. */
export class Flood {
  readonly #consumer: Consumer
  #mayRest: boolean
  #rest: NodeJS.Timeout | undefined
  #countedSince = 0
  #counted = 0

  /** The consumer is told at the end of each rest. */
  constructor(bounds: Complete<BufferOptions>, consumer: Consumer) {
    this.#consumer = consumer
    this.#mayRest = bounds.maxMessages >= RESTFUL.maxMessages && bounds.maxBytes >= RESTFUL.maxBytes
  }

  /** Whether the consumer rests: nothing is to be pulled until the rest is over. */
  get isResting(): boolean {
    return this.#rest !== undefined
  }

  /** Counts notifications that were pulled. */
  count(notifications: number): void {
    this.#counted += notifications
  }

  /** Begins a rest if the notifications arrive in a flood. Returns whether a rest has begun. */
  beginRest(): boolean {
    // Below the rate of a flood within one millisecond the clock need not be read.
    if (!this.#mayRest || this.#counted <= FLOOD_PER_MS) return false
    const time = now()
    const elapsed = time - this.#countedSince
    const isFlood = this.#counted > FLOOD_PER_MS * Math.max(elapsed, 1)
    if (elapsed < 0 || elapsed > FLOOD_WINDOW_MS) {
      this.#countedSince = time
      this.#counted = 0
    }
    if (!isFlood) return false
    this.#rest = setTimeout(() => {
      this.#rest = undefined
      this.#consumer.onReady()
    }, REST_MS)
    this.#rest.unref()
    return true
  }

  /** Allows no rest any more, and ends the present one. */
  hurry(): void {
    this.#mayRest = false
    if (this.#stop()) this.#consumer.onReady()
  }

  /** Ends the present rest without telling the consumer. */
  close(): void {
    this.#mayRest = false
    this.#stop()
  }

  #stop(): boolean {
    if (!this.#rest) return false
    clearTimeout(this.#rest)
    this.#rest = undefined
    return true
  }
}
