// Who has a connection or a transaction to itself for a while: a transaction within it, or a COPY.
import { ConnectionExecuteError } from '../errors.js'

/** @internal The key of the {@link Occupant} of a connection or a transaction. */
export const occupant: unique symbol = Symbol('occupant')

/** @internal Has a connection or a transaction to itself: whatever else is called meanwhile is refused. */
export interface Occupant {
  /** The message of the error that refuses it. */
  readonly refusal: string
  /** Whether it is a transaction. */
  readonly isTransaction: boolean
  /**
   * Ends it at once, because the connection or the transaction ends that it has. Whoever waits for it gets `reason`. What it
   * did on the server is the caller's to undo.
   */
  giveUp(reason: unknown): void
  /** The `COPY` that it is, or that is open in it. */
  copy(): Occupant | undefined
}

/** @internal A connection or a transaction. */
export interface Occupiable {
  [occupant]: Occupant | undefined
}

/** @internal Throws while somebody has the connection or the transaction to itself. */
export function checkFree(place: Occupiable): void {
  const present = place[occupant]
  if (present) throw new ConnectionExecuteError(present.refusal)
}

/** @internal The `COPY` that is open in the connection or the transaction: what is sent there waits for the end of its data. */
export function copyIn(place: Occupiable): Occupant | undefined {
  return place[occupant]?.copy()
}

/** @internal Ends the stay of an occupant, unless that is over. */
export function vacate(place: Occupiable, who: Occupant): void {
  if (place[occupant] === who) place[occupant] = undefined
}
