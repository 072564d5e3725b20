// What of a listener outlives its runs, and what everything that delivers needs of it.
import type { Connection, LeaseSource } from '../query/connection.js'
import type { ListenerEmitter } from './events.js'
import type { Gap } from './gap.js'
import type { ResolvedListenerOptions } from '../options/listener.js'
import type { Registration, Subscriptions } from './subscriptions.js'

export interface ListenerContext {
  readonly options: ResolvedListenerOptions
  readonly subscriptions: Subscriptions
  /** Replaced, never changed. */
  readonly gapCallbacks: readonly Registration<[Connection, Gap]>[]
  /** Where the connections of callbacks and messages come from. */
  readonly leases: LeaseSource
  readonly events: ListenerEmitter
  readonly counters: Counters
}

/** What is counted in JavaScript; the rest is counted in Rust. */
export interface Counters {
  delivered: number
  callbackErrors: number
  gaps: number
  /** Of runs that are over, as are the next two. */
  dropped: number
  received: number
  reconnects: number
}
