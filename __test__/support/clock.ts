// A clock that a test moves by hand. The package divides its work into turns by looking at `Date.now`, which it keeps
// when it is loaded: import this module before 'pglisten'.
//
// Under the real clock a turn holds as much as the machine manages meanwhile, and less when others have the processors.
// Under this one a delivery takes exactly as long as the test says, so that the size of a turn is a count.

const real = Date.now.bind(Date)
let steered: number | undefined
let lookMs = 0

Date.now = () => {
  if (steered === undefined) return real()
  steered += lookMs
  return Math.floor(steered)
}

/**
 * Stops the clock; from now on only {@link advance} moves it, and every look at it by `eachLookMs`. The latter stands for
 * work of the package that no code of the test is part of, such as pulling a batch.
 */
export function stopClock(eachLookMs = 0): void {
  steered = real()
  lookMs = eachLookMs
}

/** Moves the clock on, by what some work is to have taken. */
export function advance(ms: number): void {
  if (steered !== undefined) steered += ms
}

/** The time is real again. */
export function releaseClock(): void {
  steered = undefined
}
