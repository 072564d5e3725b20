// The parts of a listener that outlive its runs, and that delivering needs.
import type { Calls } from './calls.js'
import type { Connection, LeaseSource } from '../query/connection.js'
import type { ListenerEmitter } from './events.js'
import type { Gap } from './gap.js'
import type { ResolvedListenerOptions } from '../options/listener.js'
import type { Registration, Subscriptions } from './subscriptions.js'

/** The parts of a listener that its runs and its consumers share. */
export interface ListenerContext {
  readonly options: ResolvedListenerOptions
  readonly subscriptions: Subscriptions
  /** The callbacks for gaps. The array is replaced and never changed, because a delivery may be iterating over it. */
  readonly gapCallbacks: readonly Registration<[Connection, Gap]>[]
  /** Leases the connections of callbacks and messages. */
  readonly leases: LeaseSource
  readonly events: ListenerEmitter
  readonly counters: Counters
  readonly calls: Calls
}

/** The counters of a listener, over all its runs. */
export interface Counters {
  /** Notifications handed to consumers. */
  delivered: number
  /** Failures of callbacks and of `parse`. */
  callbackErrors: number
  /** `gap` events. */
  gaps: number
  /** Counted in Rust: this is the total of the runs that are over. */
  dropped: number
  /** Counted in Rust: this is the total of the runs that are over. */
  received: number
  /** Counted in Rust: this is the total of the runs that are over. */
  coalesced: number
  /** Counted in Rust: this is the total of the runs that are over. */
  filtered: number
  /** Counted in Rust: this is the total of the runs that are over. */
  reconnects: number
}
