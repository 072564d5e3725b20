// Runs something on the lease of a connection or a transaction, at its place in the order of the calls and within bounds.
// Functions and not private methods of what is run on: those cost time for each object that is made, and each callback gets a connection.
import type { NativeCallBounds, NativeLease } from '#native'
import { bridge } from '../native/bridge.js'
import {
  bounded,
  resolveCallOptions,
  startedOn,
  type CallBounds,
  type CallOptions,
} from './bounds.js'

/** @internal The key of the method that narrows the bounds of a call. */
export const boundsOf: unique symbol = Symbol('boundsOf')

/** @internal The key of the method that returns the lease for a statement. It throws when no statement may run now. */
export const leaseOf: unique symbol = Symbol('leaseOf')

/** @internal A connection or a transaction. */
export interface Runnable {
  [boundsOf](options: CallOptions): CallBounds
  [leaseOf](): NativeLease | Promise<NativeLease>
}

/** @internal Runs something on a lease, within bounds. It has its place in the order when this returns. */
export type Run<Result> = (
  lease: NativeLease,
  within: NativeCallBounds | undefined,
) => Promise<Result>

/**
 * @internal Runs something on a lease, within the bounds of the call and of the place. Throws at once for a call that was
 * aborted before: it leases nothing.
 */
export function runOn<Result>(
  place: Runnable,
  bounds: CallOptions,
  run: Run<Result>,
): Promise<Result> {
  const given = place[boundsOf](bounds)
  given.signal?.throwIfAborted()
  given.ofTransaction?.throwIfAborted()
  const lease = place[leaseOf]()
  return bounded(given, (within) =>
    lease instanceof Promise
      ? startedOn(given, lease, (leased) => run(leased, within))
      : run(lease, within),
  )
}

/**
 * @internal Starts an operation on a lease, within the bounds of the call and of the place. It has its place in the order when
 * this returns, unless the lease is still to come.
 */
export function call<Result>(
  place: Runnable,
  bounds: CallOptions,
  start: (lease: NativeLease, id: number, bounds: NativeCallBounds | undefined) => void,
): Promise<Result> {
  return runOn(place, bounds, (lease, within) =>
    bridge.call<Result>((id) => start(lease, id, within)),
  )
}

/** @internal Starts what needs to know the types of its parameters: `start` makes them, while Rust holds its place in the order, and starts it. */
export async function whenHeld<Held extends { giveUp(): void }, Result>(
  holding: Promise<Held>,
  start: (held: Held) => (id: number) => void,
): Promise<Result> {
  const held = await holding
  try {
    return await bridge.call<Result>(start(held))
  } catch (error) {
    // Nothing happens if it was started.
    held.giveUp()
    throw error
  }
}

/** @internal Sends notifications in one round trip: all of them, in their order, or none. */
export function notify(
  place: Runnable,
  channel: string,
  payloads: string[],
  options: CallOptions,
): Promise<void> {
  return call(place, resolveCallOptions(options), (lease, id, bounds) =>
    lease.notify(id, channel, payloads, bounds),
  )
}
