// A run of the source `channels`: it stands by for the lock, and relays while it has it.
import type { Listener } from 'pglisten'
import { textOf } from '../errors.js'
import { TermEnded, type Outlet } from '../nats/outlet.js'
import { Backoff, untilEither } from '../nats/sleep.js'
import type { StreamReader } from '../nats/stream.js'
import { relayChannels, subscribe, unsubscribe, type Subscribed } from '../postgres/channels.js'
import type { Leader } from '../postgres/leader.js'
import type { RelayGapReason } from '../wire/gaps.js'
import { gapSubjectOf, subjectOf } from '../wire/subjects.js'
import { makeLeader } from './postgres.js'
import type { Scene } from './scene.js'
import { openOutlet, readEnd, readerOf } from './stream.js'

/** Runs until `soft` is aborted. Rejects when the listener gives up. */
export async function runChannels(scene: Scene, listener: Listener): Promise<void> {
  const { options, status, soft } = scene
  const leader = makeLeader(scene, listener)
  await listener.startup({ retry: true, signal: soft })
  // What is buffered by then is still stored.
  const end = () =>
    void listener.shutdown({ drain: status.role === 'leading', timeoutMs: options.graceMs })
  if (soft.aborted) end()
  else soft.addEventListener('abort', end, { once: true })
  const term: Term = {
    listener,
    leader,
    stream: readerOf(scene),
    backoff: new Backoff(50, 1000),
  }
  let reason: RelayGapReason | undefined
  while (!soft.aborted) {
    const hasStoodBy = await leader.acquire(soft)
    const first: RelayGapReason = hasStoodBy ? 'takeover' : 'relay-start'
    try {
      await lead(scene, term, reason ?? first)
      if (!soft.aborted) throw new Error('The listener has ended')
    } catch (error) {
      if (soft.aborted) return
      if (listener.state === 'closed' || listener.state === 'idle') throw error
      reason = error instanceof TermEnded && error.reason === 'reset' ? 'stream-reset' : 'takeover'
      status.endTerm()
      status.become('connecting', textOf(error))
      status.warn('the relay leads no more', error)
      await term.backoff.wait(soft)
    }
  }
}

/** What each time of leading works with. */
interface Term {
  listener: Listener
  leader: Leader
  stream: StreamReader
  backoff: Backoff
}

async function lead(scene: Scene, term: Term, reason: RelayGapReason): Promise<void> {
  const { options, status, database, soft, hard } = scene
  const { prefix, channels } = options
  const { listener, leader, stream, backoff } = term
  let subscribed: Subscribed | undefined
  let outlet: Outlet | undefined
  const over = new AbortController()
  try {
    // PostgreSQL and NATS are asked at the same time: nobody relays until both have answered.
    const reading = untilEither(soft, over.signal, (signal) => readEnd(scene, stream, signal))
    reading.catch(() => {})
    subscribed = await subscribe(listener, channels, soft)
    const end = await reading
    // What is buffered was heard before the end of the stream was read: without the lock all that time, others may have stored it.
    if (!(await leader.keeps(soft)))
      throw new TermEnded('lock', 'the session that had the lock was lost')
    const opened = openOutlet(scene, stream, end)
    outlet = opened
    await relayChannels(
      {
        listener,
        leader,
        channels,
        lastStored: end.lastStored,
        reason,
        subjectOf: (channel) => subjectOf(prefix, database, channel),
        gapSubject: gapSubjectOf(prefix, database),
        onTerm: () => {
          status.lead(opened.counters.epoch)
          backoff.reset()
        },
      },
      subscribed,
      outlet,
      hard,
    )
  } finally {
    over.abort()
    unsubscribe(listener, subscribed?.stream)
    outlet?.close()
  }
}
