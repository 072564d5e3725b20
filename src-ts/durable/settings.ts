// What a worker needs, and what it tells.
import type { ResolvedSubscriptionOptions } from '../options/durable.js'
import type { Transaction } from '../query/transaction.js'
import type { Bell } from './bell.js'
import type { DurableEvent } from './event.js'
import type { Outlet } from './outlet.js'
import type { DurableOwner } from './owner.js'

/** Handles an event in the transaction of its batch. */
export type DurableHandler = (tx: Transaction, event: never) => unknown

/** What a worker tells. */
export interface WorkerEvents {
  /** Something goes wrong that the worker gets over. */
  onWarning(message: string, error: unknown): void
  /** Events are done. */
  onDone(events: number): void
  /** An attempt at an event has failed. */
  onFailure(event: DurableEvent<unknown>, error: unknown): void
  /** An event was given up. */
  onGivenUp(event: DurableEvent<unknown>, error: unknown): void
  /** The worker has the partition. */
  onWorking(): void
  /** Another worker has it. */
  onStandingBy(): void
  /** The worker has ended, or lets another one have the partition. */
  onLeft(): void
  /** Whether the worker waits for a bell. */
  onAsleep(isAsleep: boolean): void
  /** The positions of a restored dump were adopted. */
  onAdopted(message: string, error: unknown): void
  /** Calls the handler for an event. */
  onCall(event: DurableEvent<unknown>, call: () => unknown): unknown
}

/** What a worker needs. */
export interface WorkerSettings {
  owner: DurableOwner
  /** The name of the subscription. */
  name: string
  /** When it was made, as batches tell it. */
  made: string
  options: ResolvedSubscriptionOptions
  partition: number
  /** Who does the work: a function for each event, or a loop that is handed batches. */
  work: DurableHandler | Outlet
  bell: Bell
  events: WorkerEvents
  /** Ends the work. */
  stop: AbortSignal
}
