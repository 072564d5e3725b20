// The state of a listener: the one place that holds it, and the one table of how it may change.
import { ListenerStartError } from '../errors.js'
import type { ListenerState } from './types.js'

/**
 * - `idle`: no startup has succeeded so far, and none is under way.
 * - `connecting`: `startup()` waits for the first session of a run.
 * - `connected`: a session is up.
 * - `reconnecting`: the session is lost, and the next one is not up yet.
 * - `gaveUp`: no further session will come, but consumers may still take what is buffered.
 * - `ended`: the run has released everything that it held.
 */
type Phase = 'idle' | 'connecting' | 'connected' | 'reconnecting' | 'gaveUp' | 'ended'

interface PhaseRow {
  /** The public state that it shows as. */
  readonly state: ListenerState
  /** Whether there is a session, or one may still come. */
  readonly isLive: boolean
  /** The phases that may follow within the same run. */
  readonly next: readonly Phase[]
}

/** All phases. Only {@link Lifecycle.begin} leads to `connecting`. */
const PHASES: { readonly [Name in Phase]: PhaseRow } = {
  idle: { state: 'idle', isLive: false, next: [] },
  connecting: { state: 'connecting', isLive: true, next: ['connected', 'gaveUp', 'ended'] },
  connected: { state: 'connected', isLive: true, next: ['reconnecting', 'gaveUp', 'ended'] },
  reconnecting: { state: 'reconnecting', isLive: true, next: ['connected', 'gaveUp', 'ended'] },
  gaveUp: { state: 'closed', isLive: false, next: ['ended'] },
  ended: { state: 'closed', isLive: false, next: [] },
}

/** The phases of a listener that has no run. */
type RestingPhase = 'idle' | 'ended'

/**
 * The state of a listener during one run, or between two runs.
 *
 * Each run has a lifecycle of its own, so that a run that is not the listener's any more cannot change the listener's
 * state.
 */
export class Lifecycle {
  #phase: Phase
  /** The phase of the listener after this run: the one before it, until the startup has succeeded. */
  #afterwards: RestingPhase
  #ending: Promise<void> | undefined
  #hasGivenUp = false

  private constructor(phase: Phase, afterwards: RestingPhase) {
    this.#phase = phase
    this.#afterwards = afterwards
  }

  /** The lifecycle of a listener that was never started. */
  static idle(): Lifecycle {
    return new Lifecycle('idle', 'idle')
  }

  /** The lifecycle of the next run. Throws {@link ListenerStartError} when the present run is not over. */
  begin(): Lifecycle {
    if (this.#ending) throw new ListenerStartError('The listener is being shut down')
    if (this.isLive) throw new ListenerStartError('The listener is already started')
    return new Lifecycle('connecting', this.#phase === 'idle' ? 'idle' : 'ended')
  }

  /** Notes that `startup()` has succeeded: after this run the listener is closed, and not idle. */
  succeed(): void {
    this.#afterwards = 'ended'
  }

  /** The lifecycle of the listener once this run is not its own any more. */
  afterwards(): Lifecycle {
    return new Lifecycle(this.#afterwards, this.#afterwards)
  }

  /** Goes to another phase if the table allows it; otherwise nothing changes. */
  to(phase: Phase): void {
    if (!PHASES[this.#phase].next.includes(phase)) return
    this.#phase = phase
    if (phase === 'gaveUp') this.#hasGivenUp = true
  }

  /** Whether the run has given up, which the event `closed` has told of. */
  get hasGivenUp(): boolean {
    return this.#hasGivenUp
  }

  /** The promise of the shutdown that is under way, or was; `undefined` before one begins. */
  get ending(): Promise<void> | undefined {
    return this.#ending
  }

  /** Notes that a shutdown has begun. The phase still follows the session until the run has ended. */
  end(ending: Promise<void>): void {
    this.#ending = ending
  }

  /** The public state. */
  get state(): ListenerState {
    return PHASES[this.#phase].state
  }

  /** Whether there is a session, or one may still come. */
  get isLive(): boolean {
    return PHASES[this.#phase].isLive
  }

  /** Whether the session may be asked for something: it is live, and no shutdown has begun. */
  get isOpen(): boolean {
    return this.isLive && !this.#ending
  }

  /** Whether the listener is up: open, and past its first connection. */
  get isStarted(): boolean {
    return this.isOpen && this.state !== 'connecting'
  }

  /** Whether the run has released everything. */
  get hasEnded(): boolean {
    return this.#phase === 'ended'
  }
}
