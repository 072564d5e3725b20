// How much is delivered in one turn of the event loop, as a count: import './clock.js' and this module before 'pglisten'.

import { advance, releaseClock, stopClock } from './clock.js'

export { SLICE_MS } from '../../src-ts/native/turn.js'

/** Counts turns of the event loop, and deliveries in each, while the clock moves by deliveries only. */
export class Turns {
  /** How many turns the event loop has had. */
  count = 0
  /** The most deliveries in one turn. */
  most = 0
  #inTurn = 0
  readonly #costMs: number
  #counting = false
  #ended = false

  /** `costMs`: what one delivery takes; `eachLookMs`: see {@link stopClock}. */
  constructor(costMs: number, eachLookMs = 0) {
    this.#costMs = costMs
    stopClock(eachLookMs)
  }

  /** To be called for every delivery. */
  delivered(count = 1): void {
    if (!this.#counting) this.#start()
    advance(this.#costMs * count)
    this.#inTurn += count
    this.most = Math.max(this.most, this.#inTurn)
  }

  /** Counts from the first delivery on: a loop of immediates keeps a processor busy. */
  #start(): void {
    this.#counting = true
    const turn = () => {
      this.count += 1
      this.#inTurn = 0
      if (!this.#ended) setImmediate(turn)
    }
    setImmediate(turn)
  }

  /** The clock is real again. */
  end(): void {
    this.#ended = true
    releaseClock()
  }
}
