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

/** After so many rounds in a row that were answered it is dropped what nobody reads: after an outage others have to come back first. */
const ROUNDS_BEFORE_DROPS = 4

/**
 * Looks after the events of a database until `stop` is aborted, once in `everyMs`, and says that the subscription is read which runs here:
 * a loop that is busy with a batch it has acknowledged has no lock that would tell. Does not reject.
 */
export async function lookAfter(
  owner: DurableOwner,
  name: string,
  everyMs: number,
  onUnread: (unread: UnreadSubscription) => void,
  stop: AbortSignal,
): Promise<void> {
  const bounds = { signal: stop, timeoutMs: Math.max(everyMs, MIN_TIMEOUT_MS) }
  let rounds = 0
  while (!stop.aborted) {
    await waited(everyMs, stop)
    try {
      const drops = rounds >= ROUNDS_BEFORE_DROPS
      while (!stop.aborted && (await tend(owner, name, drops, onUnread, bounds)) > 0) {
        await waited(PAUSE_MS, stop)
      }
      rounds += 1
    } catch {
      // Whoever works tells of a server that is away, and of a schema that is gone. The next round comes.
      rounds = 0
    }
  }
}

/** Removes some events; how many. Only one process of a database does so at a time. */
async function tend(
  owner: DurableOwner,
  name: string,
  drops: boolean,
  onUnread: (unread: UnreadSubscription) => void,
  bounds: CallOptions,
): Promise<number> {
  const { removed, unread } = await withConnection(
    owner,
    (connection) =>
      connection.fetchRow<{ removed: number; unread: string | null }>(
        'SELECT removed, unread::text AS unread FROM pglisten.tend($1, $2, $3, $4)',
        [BATCH, MOST_COUNTED, drops, name],
        { ...PLAIN, ...bounds },
      ),
    bounds,
  )
  for (const row of JSON.parse(unread ?? '[]') as UnreadRow[]) onUnread(unreadOf(row))
  return removed
}
