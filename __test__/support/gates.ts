// Callbacks that a test lets go one by one, to see which of them run at the same time.

import type { Listener } from 'pglisten'
import { notify, uniqueChannel } from './listener.js'
import { collect, deferred, type Deferred, waitFor } from '../../lab/wait.js'

/** Everything sent to the listener so far has been seen by it, and callbacks had every chance to be started. */
export async function settle(listener: Listener): Promise<void> {
  const marker = uniqueChannel()
  await listener.addChannel(marker)
  const markers = listener.messages({ channels: [marker] })
  for (let round = 0; round < 3; round += 1) {
    await notify(marker)
    await collect(markers, 1)
  }
  await markers.return()
}

/** Callbacks that wait until they are let go: what was started, and what is running. */
export class Gates {
  readonly started: string[] = []
  readonly #gates = new Map<string, Deferred>()
  #isOpen = false

  readonly callback = (_: unknown, payload: string): Promise<void> => {
    const gate = deferred()
    this.started.push(payload)
    if (this.#isOpen) gate.resolve()
    else this.#gates.set(payload, gate)
    return gate.promise
  }

  get running(): string[] {
    return [...this.#gates.keys()]
  }

  async isStarted(payload: string): Promise<void> {
    await waitFor(() => this.started.includes(payload), { what: `the callback for ${payload}` })
  }

  finish(payload: string): void {
    this.#gates.get(payload)!.resolve()
    this.#gates.delete(payload)
  }

  /** Lets everything go, from now on. */
  open(): void {
    this.#isOpen = true
    for (const payload of this.running) this.finish(payload)
  }
}
