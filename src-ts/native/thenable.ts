// Whether a value of the user's is a promise.

/** Returns the value if it is a promise, or something else with a `then()`. A look at `then` may run the user's code. */
export function asThenable(value: unknown): PromiseLike<unknown> | undefined {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return undefined
  return typeof (value as { then?: unknown }).then === 'function'
    ? (value as PromiseLike<unknown>)
    : undefined
}

// oxlint-disable-next-line typescript/unbound-method -- it is applied to promises.
const { then } = Promise.prototype

/**
 * Calls one of two functions, once, when a promise of the user's has settled. As `await` does, it goes by the promise itself, whatever
 * `then` or `constructor` the user has given it.
 */
export function whenSettled(
  promise: PromiseLike<unknown>,
  onFulfilled: (value: unknown) => void,
  onRejected: (reason: unknown) => void,
): void {
  try {
    void Reflect.apply(then, Promise.resolve(promise), [onFulfilled, onRejected])
  } catch (error) {
    // A look at its `constructor` throws.
    onRejected(error)
  }
}

/** Lets nobody wait for a promise of the user's. Its rejection, which nobody handles, would end the process. */
export function disregard(promise: PromiseLike<unknown>): void {
  whenSettled(promise, nothing, nothing)
}

function nothing(): void {}
