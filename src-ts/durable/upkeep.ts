// What whoever runs a subscription does for all of them now and then: events are removed, and subscriptions found that nobody reads.
import { clearTimeout, setTimeout } from '../native/timers.js'
import { watchAbort } from '../native/abort.js'
import { PLAIN, withConnection, type DurableOwner } from './owner.js'
import { MOST_COUNTED, unreadOf, type UnreadRow, type UnreadSubscription } from './unread.js'

/** How many events one statement removes: some milliseconds' work. */
const BATCH = 1000
/** The pause after each of them, in milliseconds. */
const PAUSE_MS = 5

/** Looks after the events of a database until `stop` is aborted, once in `everyMs`. Does not reject. */
export async function lookAfter(
  owner: DurableOwner,
  everyMs: number,
  onUnread: (unread: UnreadSubscription) => void,
  stop: AbortSignal,
): Promise<void> {
  while (!stop.aborted) {
    await pause(everyMs, stop)
    try {
      while (!stop.aborted && (await tend(owner, onUnread, stop)) > 0) await pause(PAUSE_MS, stop)
    } catch {
      // Whoever works tells of a server that is away, and of a schema that is gone. The next round comes.
    }
  }
}

/** Removes some events; how many. Only one process of a database does so at a time. */
async function tend(
  owner: DurableOwner,
  onUnread: (unread: UnreadSubscription) => void,
  signal: AbortSignal,
): Promise<number> {
  const { removed, unread } = await withConnection(
    owner,
    (connection) =>
      connection.fetchRow<{ removed: number; unread: string | null }>(
        'SELECT removed, unread::text AS unread FROM pglisten.tend($1, $2)',
        [BATCH, MOST_COUNTED],
        PLAIN,
      ),
    { signal },
  )
  for (const row of JSON.parse(unread ?? '[]') as UnreadRow[]) onUnread(unreadOf(row))
  return removed
}

/** Waits for so long, or until `stop` is aborted. */
async function pause(ms: number, stop: AbortSignal): Promise<void> {
  if (stop.aborted) return
  await new Promise<void>((resolve) => {
    const timer = setTimeout(() => {
      unwatch()
      resolve()
    }, ms)
    const unwatch = watchAbort(stop, () => {
      clearTimeout(timer)
      resolve()
    })
  })
}
