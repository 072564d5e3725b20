// What is undone when an object is collected as garbage that nobody has ended.
import { setTimeout } from './timers.js'

/** So long is an object held at most before it is left to the collector, in milliseconds. */
const HELD_MS = 1000

/** An object that is held. */
interface Held {
  readonly object: object
  readonly undo: () => void
}

/**
 * Undoes what objects began that were collected as garbage.
 *
 * The engine keeps an object that is in a registry until it collects all garbage, also when the object was taken out of it soon, and
 * objects that live for a moment would fill the memory of those that live long. So an object is held here at first, and put into
 * the registry when it is still there after some time.
 */
export class Abandoned {
  readonly #registry = new FinalizationRegistry<() => void>((undo) => undo())
  readonly #held = new Map<object, Held>()
  #isSweeping = false

  /** Has `undo` called when the object is collected, unless the token is unregistered before. Neither may reach the object. */
  register(object: object, undo: () => void, token: object): void {
    this.#held.set(token, { object, undo })
    if (this.#isSweeping) return
    this.#isSweeping = true
    setTimeout(() => this.#sweep(), HELD_MS).unref()
  }

  /** Lets the object be collected without anything being undone. */
  unregister(token: object): void {
    if (!this.#held.delete(token)) this.#registry.unregister(token)
  }

  #sweep(): void {
    this.#isSweeping = false
    for (const [token, { object, undo }] of this.#held) this.#registry.register(object, undo, token)
    this.#held.clear()
  }
}
