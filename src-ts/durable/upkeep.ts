// What whoever runs a subscription does for all of them now and then: events are removed, and subscriptions found that nobody reads.
import type { CallOptions } from '../query/bounds.js'
import { PLAIN, withConnection, type DurableOwner } from './owner.js'
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
  let reachedSince = performance.now()
  while (!stop.aborted) {
    await waited(everyMs, stop)
    try {
      // Between two rounds the bell tells of an outage.
      const reached = () => performance.now() - Math.max(reachedSince, heardSince())
      while (!stop.aborted && (await tend(owner, name, reached(), onUnread, bounds)) > 0) {
        await waited(PAUSE_MS, stop)
      }
    } catch {
      // Whoever works tells of a server that is away, and of a schema that is gone. The next round comes.
      reachedSince = performance.now()
    }
  }
}

/** Removes some events; how many. Only one process of a database does so at a time. */
async function tend(
  owner: DurableOwner,
  name: string,
  reachedMs: number,
  onUnread: (unread: UnreadSubscription) => void,
  bounds: CallOptions,
): Promise<number> {
  const { removed, unread } = await withConnection(
    owner,
    (connection) =>
      connection.fetchRow<{ removed: number; unread: string | null }>(
        'SELECT removed, unread::text AS unread FROM pglisten.tend($1, $2, $3::text::interval, $4)',
        [BATCH, MOST_COUNTED, `${Math.max(0, Math.floor(reachedMs))} ms`, name],
        { ...PLAIN, ...bounds },
      ),
    bounds,
  )
  for (const row of JSON.parse(unread ?? '[]') as UnreadRow[]) onUnread(unreadOf(row))
  return removed
}
