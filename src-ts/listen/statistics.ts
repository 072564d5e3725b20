// The counts behind `Listener.stats()`: those of one run, and those of the runs before it.
import type { NativeListenerStats } from '#native'
import type { Calls } from '../deliver/calls.js'
import type { Counters } from '../deliver/context.js'
import type { InboxStats } from '../deliver/inbox.js'
import type { ListenerHealth, ListenerState, ListenerStats, SessionStats } from './types.js'

/** The counts of one run. */
export interface RunStats extends InboxStats {
  received: number
  reconnects: number
  dropped: number
  coalesced: number
  filtered: number
  lastRoundTripMs: number | undefined
  sinceAnswerMs: number | undefined
  sinceHeardMs: number | undefined
  session: SessionStats | undefined
}

/** The counts of a listener that is not running. */
export const NOTHING_COUNTED: RunStats = {
  received: 0,
  reconnects: 0,
  dropped: 0,
  coalesced: 0,
  filtered: 0,
  buffered: 0,
  bufferedBytes: 0,
  oldestAgeMs: undefined,
  lastRoundTripMs: undefined,
  sinceAnswerMs: undefined,
  sinceHeardMs: undefined,
  session: undefined,
}

/** Adds up the counts of all consumers' buffers; the age is that of the oldest notification. */
export function sumOfInboxes(all: readonly InboxStats[]): InboxStats {
  const sum = (pick: (stats: InboxStats) => number) =>
    all.reduce((total, one) => total + pick(one), 0)
  const ages = all.map((one) => one.oldestAgeMs).filter((age) => age !== undefined)
  return {
    buffered: sum((one) => one.buffered),
    bufferedBytes: sum((one) => one.bufferedBytes),
    oldestAgeMs: ages.length > 0 ? Math.max(...ages) : undefined,
  }
}

/** Puts together the counts of a run that is not over: those of Rust, and those of its consumers. */
export function runStats(native: NativeListenerStats, inboxes: InboxStats): RunStats {
  return {
    ...inboxes,
    received: native.received,
    reconnects: native.reconnects,
    dropped: native.dropped,
    coalesced: native.coalesced,
    filtered: native.filtered,
    lastRoundTripMs: native.lastRoundTripMs ?? undefined,
    sinceAnswerMs: native.sinceAnswerMs ?? undefined,
    sinceHeardMs: native.sinceHeardMs ?? undefined,
    session: native.session ?? undefined,
  }
}

/** Adds the final counts of a run to the listener's counters, which outlive it. */
export function addFinalCounts(counters: Counters, native: NativeListenerStats): void {
  counters.received += native.received
  counters.dropped += native.dropped
  counters.coalesced += native.coalesced
  counters.filtered += native.filtered
  counters.reconnects += native.reconnects
}

/** Makes the result of `Listener.stats()` of the listener's counters, its pending callbacks and its present run. */
export function listenerStats(counters: Counters, run: RunStats, calls: Calls): ListenerStats {
  return {
    received: counters.received + run.received,
    delivered: counters.delivered,
    dropped: counters.dropped + run.dropped,
    coalesced: counters.coalesced + run.coalesced,
    filtered: counters.filtered + run.filtered,
    buffered: run.buffered,
    bufferedBytes: run.bufferedBytes,
    callbackErrors: counters.callbackErrors,
    callbacksInFlight: calls.count,
    oldestCallbackAgeMs: calls.oldestAgeMs,
    gaps: counters.gaps,
    reconnects: counters.reconnects + run.reconnects,
    oldestBufferedAgeMs: run.oldestAgeMs,
    lastRoundTripMs: run.lastRoundTripMs,
    session: run.session,
  }
}

/** Makes the result of `Listener.health()`. */
export function listenerHealth(
  { name, state }: { name: string | undefined; state: ListenerState },
  run: RunStats,
  calls: Calls,
): ListenerHealth {
  return {
    name,
    state,
    lastAnswerAgeMs: run.sinceAnswerMs,
    lastHeardAgeMs: run.sinceHeardMs,
    callbacksInFlight: calls.count,
    oldestCallbackAgeMs: calls.oldestAgeMs,
    buffered: run.buffered,
    oldestBufferedAgeMs: run.oldestAgeMs,
    session: run.session,
  }
}
