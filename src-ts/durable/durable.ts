// What a pool has beside its subscriptions: the schema, and what is told of all of them.
import { brand } from '../brand.js'
import {
  checkEventIds,
  checkKept,
  checkSubscriptionName,
  resolveInstallOptions,
  type InstallOptions,
} from '../options/durable.js'
import type { CallOptions } from '../query/bounds.js'
import type { Connection } from '../query/connection.js'
import { uidOf, type DurableEvent } from './event.js'
import { intervalOf } from './interval.js'
import { PLAIN, readCommitted, withinBounds, type DurableOwner } from './owner.js'
import { VERSION, adopt, install, installedVersion, uninstall } from './schema.js'
import { explained } from './states.js'
import { MOST_COUNTED, describeUnread, unreadOf, type UnreadRow } from './unread.js'

/** How many events one statement of {@link Durable.trim} removes. */
const TRIM_BATCH = 10_000

/** Whoever waits for another installation sees what that has made. */
const READ_COMMITTED = { isolationLevel: 'readCommitted' } as const

/** The result of {@link Durable.status}. */
export interface DurableStatus {
  /** The version of the schema in the database; 0 where there is none. */
  version: number
  /** The version that this package installs. */
  latestVersion: number
  /** Whether positions mean something here; `false` after a dump was restored, until {@link Durable.adopt}. */
  isHome: boolean
  /** How long events are kept that every subscription has done, in milliseconds; `false` until {@link Durable.trim} is called. */
  retentionMs: number | false
  /** The names of the subscriptions that nobody has read for longer than their {@link SubscriptionOptions.maxUnreadAgeMs}. */
  unread: string[]
}

/** A subscription, as {@link Durable.subscriptions} tells of it. */
export interface SubscriptionInfo {
  /** Its name. */
  name: string
  /** Its channels. */
  channels: string[]
  /** Its partitions. */
  partitions: number
  /** When it was made. */
  created: Date
  /** When its position last moved. That of an idle one does too, as long as it runs. */
  moved: Date
  /** How many events were given up. */
  failed: number
  /** The first event that was tried in vain and is not done: where the subscription tries again, or has stopped. `null` where there is none. */
  failing: FailingEvent | null
  /** For how long nobody has read it, in milliseconds. Of one that runs it is at most some seconds more than its `safetyNetMs`, also while its loop is busy. */
  unreadMs: number
  /** Its {@link SubscriptionOptions.maxUnreadAgeMs}. */
  maxUnreadAgeMs: number | false
  /** Its {@link SubscriptionOptions.onUnread}. */
  onUnread: 'warn' | 'drop'
}

/** An event that was tried in vain, and may be tried again. */
export interface FailingEvent {
  /** Its id. */
  id: bigint
  /** How often it was tried. */
  attempts: number
  /** The error of the last attempt, in words. */
  error: string
}

/** A row of {@link Durable.subscriptions}. */
interface SubscriptionRow {
  name: string
  channels: string[]
  partitions: number
  created: number
  moved: number
  failed: number
  failing: bigint | null
  attempts: number | null
  error: string | null
  unread: number
  max_unread: number | null
  on_unread: 'warn' | 'drop'
}

/** An expression of SQL: an interval, or the time since 1970, in milliseconds. */
const ms = (sql: string) =>
  `(extract(epoch FROM ${sql}) OPERATOR(pg_catalog.*) 1000)::pg_catalog.float8`

/** An event that was given up. */
export interface FailedEvent extends DurableEvent {
  /** When it was given up. */
  readonly failedAt: Date
  /** The error of the last attempt, in words. */
  readonly error: string
  /** Whether it is going to be tried again. */
  readonly isDue: boolean
}

/** A row of the events that were given up. */
type FailedRow = Omit<FailedEvent, 'uid' | 'publishedAt' | 'failedAt'> & {
  xact: bigint
  micros: number
  failedMs: number
}

function failedEvent({ xact, micros, failedMs, ...event }: FailedRow): FailedEvent {
  return {
    ...event,
    uid: uidOf(event.id, xact, micros),
    publishedAt: new Date(micros / 1000),
    failedAt: new Date(failedMs),
  }
}

/** The durable subscriptions of a database. {@link ConnectionPool.durable} is one. */
export class Durable {
  readonly #owner: DurableOwner

  /** @internal */
  constructor(owner: DurableOwner) {
    this.#owner = owner
  }

  /**
   * Installs what durable subscriptions need, the schema `pglisten`, or brings it to the present version; does nothing where it is.
   * All in one transaction. The role needs the right to make a schema (`CREATE` on the database), no other. Nobody else may publish
   * or subscribe but whom the options name.
   *
   * Rejects with {@link DurableError} when there is another schema of that name, one of another owner (also where the role is a superuser
   * or a member of that one), or one of a newer version; with {@link DatabaseError} when the role has no right to make a schema (`42501`),
   * and when a role of the options does not exist (`42704`).
   */
  async install(options?: InstallOptions): Promise<void> {
    const { settings, bounds } = resolveInstallOptions(options)
    await withinBounds(this.#owner, bounds, (connection, left) =>
      connection.transaction((tx) => install(tx, settings), { ...left(), ...READ_COMMITTED }),
    )
  }

  /**
   * Removes all of it: events, subscriptions and positions. In one transaction.
   *
   * @param options - Bounds of the call. @default none
   */
  async uninstall(options?: CallOptions): Promise<void> {
    await withinBounds(this.#owner, options, (connection, left) =>
      connection.transaction((tx) => uninstall(tx), { ...left(), ...READ_COMMITTED }),
    )
  }

  /**
   * Tells which version is installed.
   *
   * @param options - Bounds of the call. @default none
   */
  async status(options?: CallOptions): Promise<DurableStatus> {
    return withinBounds(this.#owner, options, async (connection, left) => {
      const version = await installedVersion(connection, left)
      if (version === 0) {
        return { version, latestVersion: VERSION, isHome: false, retentionMs: false, unread: [] }
      }
      const { is_home, retention } = await explained(
        connection.fetchRow<{ is_home: boolean; retention: number | null }>(
          `SELECT pglisten.is_adopted() AS is_home, ${ms('u.retention')} AS retention FROM pglisten.upkeep AS u`,
          [],
          { ...PLAIN, ...left() },
        ),
      )
      const unread = (await listed(connection, left))
        .filter(
          ({ unreadMs, maxUnreadAgeMs }) => maxUnreadAgeMs !== false && unreadMs > maxUnreadAgeMs,
        )
        .map(({ name }) => name)
      const retentionMs = retention ?? false
      return { version, latestVersion: VERSION, isHome: is_home, retentionMs, unread }
    })
  }

  /**
   * Removes events that every subscription has done and that are older than `keepMs`, in batches. Returns how many. Running subscriptions
   * do so themselves, for what is older than {@link InstallOptions.retentionMs}. Without any subscription every event counts as done.
   *
   * Warns of subscriptions that nobody reads, which keep every event: a warning of the process, with the code `PGLISTEN_DURABLE`, and
   * one of the pool's logger. Those that are to be dropped, by {@link SubscriptionOptions.onUnread}, are dropped by a later call, when nobody
   * has read them for two minutes after the warning. Only the owner of the schema may trim.
   *
   * Rejects with {@link DatabaseError} (`PGL01`) after a dump was restored, until {@link Durable.adopt}.
   *
   * @param keepMs - How long events are kept, in milliseconds: an integer from 0 on. @default 0
   * @param options - Bounds of the call. What was removed before one is reached stays removed. @default none
   */
  async trim(keepMs = 0, options?: CallOptions): Promise<number> {
    checkKept('keepMs', keepMs)
    return withinBounds(this.#owner, options, async (connection, left) => {
      let removed = 0
      for (;;) {
        const [some] = await explained(
          readCommitted<{ removed: number }>(
            connection,
            [
              'SELECT pglisten.trim($1::pg_catalog.text::interval, $2) AS removed',
              [intervalOf(keepMs), TRIM_BATCH],
            ],
            left(),
          ),
        )
        removed += some!.removed
        if (some!.removed === 0) break
      }
      const unread = readCommitted<UnreadRow>(
        connection,
        [
          `SELECT name, ${ms('age')} AS age, events::pg_catalog.float8, ${ms('oldest')} AS oldest, is_dropped, waits FROM pglisten.tell_unread($1)`,
          [MOST_COUNTED],
        ],
        left(),
      )
      for (const row of await unread) {
        const told = unreadOf(row)
        this.#owner.warn(told, describeUnread(told, row.waits))
      }
      return removed
    })
  }

  /**
   * Makes the positions of a restored dump mean here what they meant there: nothing is missing and nothing comes twice. Does nothing
   * where they do. A subscription that runs does it itself.
   *
   * @param options - Bounds of the call. @default none
   */
  async adopt(options?: CallOptions): Promise<void> {
    await explained(
      withinBounds(this.#owner, options, (connection, left) => adopt(connection, left)),
    )
  }

  /**
   * Returns the subscriptions, by name.
   *
   * @param options - Bounds of the call. @default none
   */
  async subscriptions(options?: CallOptions): Promise<SubscriptionInfo[]> {
    return explained(withinBounds(this.#owner, options, listed))
  }

  /**
   * Removes a subscription, and what is kept of it. Returns whether there was one. A run of it ends with an error: where another one of that
   * name is made at once, that may be at its next event, which it does not handle.
   *
   * @param name - The subscription.
   * @param options - Bounds of the call. @default none
   */
  async drop(name: string, options?: CallOptions): Promise<boolean> {
    checkSubscriptionName(name)
    const [row] = await explained(
      withinBounds(this.#owner, options, (connection, left) =>
        readCommitted<{ was: boolean }>(
          connection,
          ['SELECT pglisten.drop_subscription($1) AS was', [name]],
          left(),
        ),
      ),
    )
    return row!.was
  }

  /**
   * Returns the events that a subscription has given up, in order.
   *
   * @param name - The subscription.
   * @param options - Bounds of the call. @default none
   */
  async failed(name: string, options?: CallOptions): Promise<FailedEvent[]> {
    checkSubscriptionName(name)
    const result = explained(
      withinBounds(this.#owner, options, (connection, left) =>
        connection.fetch<FailedRow>(
          `SELECT event AS id, xact, channel, payload, key, attempts AS attempt, error, is_due AS "isDue",
             pg_catalog.round(pg_catalog.date_part('epoch', published) OPERATOR(pg_catalog.*) 1000000) AS micros, ${ms('failed')} AS "failedMs"
           FROM pglisten.failed WHERE subscription OPERATOR(pg_catalog.=) $1 ORDER BY failed.event`,
          [name],
          { ...PLAIN, ...left() },
        ),
      ),
    )
    return [...(await result)].map(failedEvent)
  }

  /**
   * Has events that were given up tried again, before others. Returns how many. One that fails again is given up again, without more
   * attempts than `maxAttempts` allows in all: it stays among those of {@link Durable.failed}, also where the event itself was removed
   * meanwhile, and stops no subscription.
   *
   * @param name - The subscription.
   * @param ids - Their ids. @default all
   * @param options - Bounds of the call. @default none
   */
  async retry(name: string, ids?: readonly bigint[], options?: CallOptions): Promise<number> {
    checkSubscriptionName(name)
    const events = ids === undefined ? null : checkEventIds(ids)
    const [row] = await explained(
      withinBounds(this.#owner, options, (connection, left) =>
        readCommitted<{ due: number }>(
          connection,
          ['SELECT pglisten.retry($1, $2::bigint[]) AS due', [name, events]],
          left(),
        ),
      ),
    )
    return row!.due
  }
}

/** The subscriptions, by name. */
async function listed(
  connection: Connection,
  left: () => CallOptions,
): Promise<SubscriptionInfo[]> {
  const rows = await connection.fetch<SubscriptionRow>(
    `SELECT s.name, s.channels, s.partitions, ${ms('s.created')} AS created,
       (SELECT ${ms('pg_catalog.min(p.moved)')} FROM pglisten.position AS p WHERE p.subscription OPERATOR(pg_catalog.=) s.name) AS moved,
       (SELECT pg_catalog.count(*)::pg_catalog.float8 FROM pglisten.failed AS f WHERE f.subscription OPERATOR(pg_catalog.=) s.name) AS failed,
       ${ms('pglisten.unread_for(s.name)')} AS unread, ${ms('s.max_unread')} AS max_unread, s.on_unread,
       a.event AS failing, a.attempts, a.error
     FROM pglisten.subscription AS s
     LEFT JOIN LATERAL (
       SELECT t.event, t.attempts, t.error FROM pglisten.attempt AS t WHERE t.subscription OPERATOR(pg_catalog.=) s.name
       UNION ALL SELECT f.event, f.attempts, f.error FROM pglisten.failed AS f WHERE f.subscription OPERATOR(pg_catalog.=) s.name AND f.is_due
       ORDER BY event LIMIT 1) AS a ON true
     ORDER BY s.name`,
    [],
    { ...PLAIN, ...left() },
  )
  return [...rows].map((row) => ({
    name: row.name,
    channels: row.channels,
    partitions: row.partitions,
    created: new Date(row.created),
    moved: new Date(row.moved),
    failed: row.failed,
    failing:
      row.failing === null ? null : { id: row.failing, attempts: row.attempts!, error: row.error! },
    unreadMs: row.unread,
    maxUnreadAgeMs: row.max_unread ?? false,
    onUnread: row.on_unread,
  }))
}

brand(Durable, 'Durable')
