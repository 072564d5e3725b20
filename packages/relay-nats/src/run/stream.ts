// The stream of a run: where it ends when the relay begins to lead, and the way into it.
import { takesBatches } from '../nats/batch.js'
import { Outlet } from '../nats/outlet.js'
import { Backoff } from '../nats/sleep.js'
import { StreamReader, holesOf, type Hole, type Stored } from '../nats/stream.js'
import { Counters } from '../wire/counters.js'
import { gapSubjectOf } from '../wire/subjects.js'
import type { Scene } from './scene.js'

/** How many messages of others are passed over to find the last one of a relay. */
const MAX_FOREIGN = 1000

/** Where the stream ends. */
export interface StreamEnd {
  /** When the stream was created, and its last sequence. */
  start: { created: string; last: number }
  /** Whether it takes atomic batches. */
  batches: boolean
  /** What makes holes in it. */
  holes: Hole[]
  /** The last message that a relay has written, or `undefined` without any among the last ones. */
  lastStored: Stored | undefined
}

export const readerOf = ({ options, link }: Scene) =>
  new StreamReader(link, options.stream, options.publishTimeoutMs)

/** Reads where the stream ends, however long that takes. */
export async function readEnd(
  { status, link }: Scene,
  stream: StreamReader,
  signal: AbortSignal,
): Promise<StreamEnd> {
  const backoff = new Backoff(50, 1000)
  for (;;) {
    await link.connected(signal)
    try {
      const [info, newest] = await Promise.all([stream.info(), stream.newest()])
      const start = { created: info.created, last: info.state.last_seq }
      return {
        start,
        batches: takesBatches(info),
        holes: holesOf(info),
        lastStored: await lastOfRelay(stream, start.last, info.state.first_seq, newest),
      }
    } catch (error) {
      status.counts.failures += 1
      status.warn('the stream cannot be read', error)
      await backoff.wait(signal)
    }
  }
}

async function lastOfRelay(
  stream: StreamReader,
  last: number,
  first: number,
  newest: Stored | undefined,
): Promise<Stored | undefined> {
  for (let sequence = last; sequence >= Math.max(1, first, last - MAX_FOREIGN); sequence -= 1) {
    const message = sequence === newest?.sequence ? newest : await stream.message(sequence)
    if (message?.numbered !== undefined) return message
  }
  return undefined
}

/** Opens the way into the stream for a time of leading. */
export function openOutlet(
  { options, status, link, database }: Scene,
  stream: StreamReader,
  { start, batches }: StreamEnd,
): Outlet {
  const { window, prefix, publishTimeoutMs: timeoutMs } = options
  const batchFrom = batches ? options.batchFrom : Infinity
  const gapSubject = gapSubjectOf(prefix, database)
  const bounds = { window, batchFrom, timeoutMs }
  return new Outlet(link, stream, new Counters(), start, gapSubject, bounds, status.ofOutlet)
}
