// Timers as they are when this module is loaded: a test that fakes them must not stop what is delivered.

export const { clearTimeout, queueMicrotask, setImmediate, setInterval, setTimeout } = globalThis

export const nextTick = process.nextTick.bind(process)

/** Throws outside of what is going on, where it is an uncaught exception, so that the rest is still done. */
export function throwLater(error: unknown): void {
  nextTick(() => {
    throw error
  })
}

/** The cheapest clock that there is: milliseconds since 1970. It can be set back. */
export const { now } = Date

// Bun and Deno have none, or one that does not say it.
const { nodeTiming } = globalThis.performance as { nodeTiming?: { idleTime?: number } }

/**
 * How long the event loop has waited for something to happen, in milliseconds: when it is more than before, the loop has gone
 * on meanwhile. `undefined` where nobody knows.
 */
export const idleTime = (): number | undefined => nodeTiming?.idleTime
