// What whoever runs a subscription does for all of them now and then: events are removed, and subscriptions found that nobody reads.
import type { CallOptions } from '../query/bounds.js'
import { readCommitted, withConnection, type DurableOwner } from './owner.js'
import { MOST_COUNTED, unreadOf, type UnreadRow, type UnreadSubscription } from './unread.js'
import { waited } from './wait.js'

/** How many events one statement removes: some milliseconds' work. */
const BATCH = 1000
/** The pause after each of them, in milliseconds. */
const PAUSE_MS = 5
/** A connection that is cut off in silence never answers: so long, or for `everyMs` where that is more, an answer is waited for, in milliseconds. */
const MIN_TIMEOUT_MS = 5000

/**
 * Looks after the events of a database until `stop` is aborted, once in `everyMs`, and says that the subscription is read which runs here:
 * a loop that is busy with a batch it has acknowledged has no lock that would tell. Does not reject.
 *
 * @param heardSince - Since when the bell is heard without a break, by `performance.now()`.
 */
export async function lookAfter(
  owner: DurableOwner,
  name: string,
  everyMs: number,
  heardSince: () => number,
  onUnread: (unread: UnreadSubscription) => void,
  stop: AbortSignal,
): Promise<void> {
  const bounds = { signal: stop, timeoutMs: Math.max(everyMs, MIN_TIMEOUT_MS) }
  let suspects = new Map<string, number>()
  while (!stop.aborted) {
    await waited(everyMs, stop)
    try {
      for (;;) {
        const { removed, unread } = await tend(owner, name, watched(suspects, heardSince()), bounds)
        if (unread !== undefined) {
          suspects = stillUnread(suspects, unread)
          for (const row of unread) if (!row.waits) onUnread(unreadOf(row))
        }
        if (removed === 0 || stop.aborted) break
        await waited(PAUSE_MS, stop)
      }
    } catch {
      // Whoever works tells of a server that is away, and of a schema that is gone. The next round comes.
      suspects.clear()
    }
  }
}

/**
 * For how long those that are to be dropped were unread, in milliseconds. Between two rounds the bell tells of an outage, in which nobody
 * could have said that they are read.
 *
 * @param suspects - Since when they were found unread, by `performance.now()`, which a step of the clock does not move.
 */
function watched(suspects: ReadonlyMap<string, number>, heardSince: number): string {
  const now = performance.now()
  const since = ([name, found]: [string, number]) =>
    [name, Math.max(0, Math.floor(now - Math.max(found, heardSince)))] as const
  return JSON.stringify(Object.fromEntries([...suspects].map(since)))
}

/** Those that are to be dropped, and since when they are found unread. */
function stillUnread(before: ReadonlyMap<string, number>, unread: readonly UnreadRow[]) {
  const now = performance.now()
  const waiting = unread.filter(({ waits }) => waits)
  return new Map(waiting.map(({ name }) => [name, before.get(name) ?? now]))
}

/** Removes some events. Only one process of a database does so at a time: `unread` is `undefined` while it is another one. */
async function tend(
  owner: DurableOwner,
  name: string,
  suspected: string,
  bounds: CallOptions,
): Promise<{ removed: number; unread: readonly UnreadRow[] | undefined }> {
  const [row] = await withConnection(
    owner,
    (connection) =>
      readCommitted<{ removed: number; unread: string | null }>(
        connection,
        [
          'SELECT removed, unread::pg_catalog.text AS unread FROM pglisten.tend($1, $2, $3::pg_catalog.text::pg_catalog.jsonb, $4)',
          [BATCH, MOST_COUNTED, suspected, name],
        ],
        bounds,
      ),
    bounds,
  )
  const { removed, unread } = row!
  return { removed, unread: unread === null ? undefined : (JSON.parse(unread) as UnreadRow[]) }
}
