// What keeps the process alive for somebody.
import { bridge } from './bridge.js'

/** What a run holds of the process: released by whoever comes first, the end of the run or the garbage collector. */
export class KeepAlive {
  #wanted = true
  #running = false
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

/** Those whose owner may be collected. */
export const abandoned = new FinalizationRegistry<KeepAlive>((keepAlive) => {
  keepAlive.running = false
})
