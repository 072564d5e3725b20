// Keeps the process alive for a running listener.
import { bridge } from './bridge.js'

/** Keeps the process alive for one run of a listener, until the run ends or is collected as garbage. */
export class KeepAlive {
  /** Whether the user wants the process to stay alive: `ref()` and `unref()`. */
  #wanted = true
  /** Whether the run has a session, or expects one. */
  #running = false
  /** Whether the process is kept alive now. */
  #held = false

  set wanted(wanted: boolean) {
    this.#wanted = wanted
    this.#update()
  }

  set running(running: boolean) {
    this.#running = running
    this.#update()
  }

  #update(): void {
    const held = this.#wanted && this.#running
    if (held === this.#held) return
    this.#held = held
    if (held) bridge.ref()
    else bridge.unref()
  }
}

/** Lets the process go when a run is collected as garbage before it has ended. */
export const abandoned = new FinalizationRegistry<KeepAlive>((keepAlive) => {
  keepAlive.running = false
})
