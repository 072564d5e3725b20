// The timers and clocks of the platform, taken when the module is loaded: a test that fakes them must not stop
// deliveries.

export const { clearInterval, clearTimeout, queueMicrotask, setImmediate, setInterval, setTimeout } = globalThis

export const nextTick = process.nextTick.bind(process)

/** Throws an error in the next tick, where it is an uncaught exception, so that the caller can go on. */
export function throwLater(error: unknown): void {
  nextTick(() => {
    throw error
  })
}

/**
 * The cheapest clock: milliseconds since 1970. The system's clock can be set back, so callers must not rely on
 * progress.
 */
export const { now } = Date

// Bun and Deno have no `nodeTiming`, or one without idle time.
const { nodeTiming } = globalThis.performance as { nodeTiming?: { idleTime?: number } }

/**
 * How long the event loop has been idle since the start of the process, in milliseconds. When it has grown, a new turn
 * has begun. `undefined` where the platform does not tell.
 */
export const idleTime = (): number | undefined => nodeTiming?.idleTime
