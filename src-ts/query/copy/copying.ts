// What both directions of COPY have in common.
import type { NativeCallBounds, NativeLease } from '#native'
import type { Occupant } from '../occupant.js'

/**
 * Starts an operation on the lease of a queryable, at once unless that is still to come; the promise has the outcome. Throws
 * while the queryable runs nothing.
 */
export type StartCopy = (
  begin: (lease: NativeLease, id: number, bounds: NativeCallBounds | undefined) => void,
) => Promise<number>

const REFUSAL =
  'A COPY is open on this connection or transaction: await its end, or use another connection meanwhile'

/** The occupant of a queryable that has a `COPY` open. What was called behind it would wait for its data, perhaps for ever. */
export function copying(giveUp: (reason: unknown) => void): Occupant {
  const copy: Occupant = { refusal: REFUSAL, isTransaction: false, giveUp, copy: () => copy }
  return copy
}
