// What a client does in a case, and how it says that it cannot.

/**
 * @typedef {object} Work
 * @property {() => Promise<unknown>} [before] Not measured: makes or empties a table.
 * @property {(turn: number) => Promise<unknown>} run Does a case once; of a case `each`, its statement with the number `turn`.
 *
 * @typedef {Record<string, Work>} Cases By the id of the case.
 * @typedef {Record<string, Cases>} Contestants By the name of the contestant.
 * @typedef {(dsn: string, count: number) => Promise<Contestants>} Connect
 */

/** A method or an option that a build of the package has not. */
export class Missing extends Error {}

/** Checks that the work was done at all. @param {unknown} got @param {unknown} wanted */
export function check(got, wanted) {
  if (got !== wanted) throw new Error(`Expected ${String(wanted)}, got ${String(got)}`)
}
