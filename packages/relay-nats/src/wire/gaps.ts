// Gaps as messages of the stream: JSON on the subject of gaps, at the place where something may be missing.
import type { Gap } from 'pglisten'

/**
 * Why notifications may be missing.
 *
 * - `disconnect`, `overflow`, `decode`: the relay's listener has lost them, as pglisten tells.
 * - `relay-start`: the relay began, and nobody has relayed what was committed between `lostAt` and `resumedAt`.
 * - `takeover`: another relay, or a new time of leading of the same one, has begun.
 * - `stream-reset`: the stream was deleted and made again, or restored from a backup.
 * - `unpublishable`: one notification that the stream refuses, such as one that is too large.
 */
export type RelayGapReason =
  | 'disconnect'
  | 'overflow'
  | 'decode'
  | 'relay-start'
  | 'takeover'
  | 'stream-reset'
  | 'unpublishable'

/** The body of a gap's message. */
export interface RelayGapBody {
  /** Why notifications may be missing. */
  reason: RelayGapReason
  /** ISO 8601: what was committed before is not missing. `null` when nothing is known to be complete. */
  lostAt: string | null
  /** ISO 8601: what was committed later is not missing. */
  resumedAt: string
  /** How many notifications are missing; `null` when that is unknown. 0 tells of a new epoch without any loss. */
  dropped: number | null
  /** The SQLSTATE with which PostgreSQL ended the session; `null` when it sent none. */
  sqlState: string | null
  /** Whether PostgreSQL was restarted, or is another server; `null` when that is unknown. */
  serverRestarted: boolean | null
  /** How many gaps this one stands for. */
  merged: number
  /** The number of the last message of the epoch before, `<epoch>:<n>`; `null` without any. Only where an epoch begins. */
  previous?: string | null
  /**
   * The last numbers of the channels of the epoch before, as far as the stream still has their messages. Only where an epoch begins without a
   * loss, and only if a message of the stream has room for them.
   */
  previousOf?: Record<string, string>
  /** The channel of a notification that could not be published. */
  channel?: string
  /** The bytes of its payload. */
  size?: number
}

/** A gap of a listener, as a message. Its text is left out: it may name addresses, and subscribers need not be told them. */
export function bodyOfGap(gap: Gap): RelayGapBody {
  return {
    reason: gap.reason,
    lostAt: gap.lostAt.toISOString(),
    resumedAt: gap.resumedAt.toISOString(),
    dropped: gap.dropped,
    sqlState: gap.sqlState,
    serverRestarted: gap.serverRestarted,
    merged: gap.merged,
  }
}

/** A gap of the relay's own. */
export function ownGap(
  body: Pick<RelayGapBody, 'reason' | 'lostAt' | 'resumedAt'> & Partial<RelayGapBody>,
): RelayGapBody {
  return { dropped: null, sqlState: null, serverRestarted: null, merged: 1, ...body }
}
