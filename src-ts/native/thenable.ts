// Whether a value of the user's is a promise.

/** Returns the value if it is a promise, or something else with a `then()`. A look at `then` may run the user's code. */
export function asThenable(value: unknown): PromiseLike<unknown> | undefined {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return undefined
  return typeof (value as { then?: unknown }).then === 'function'
    ? (value as PromiseLike<unknown>)
    : undefined
}
