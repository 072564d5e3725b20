// A gap: the public description of a break in a consumer's notifications.
import { brand } from '../brand.js'
import type { NativeGap } from '#native'

/**
 * The reason why notifications are missing.
 *
 * - `disconnect`: the server session ended, and another one took its place.
 * - `overflow`: the consumer's buffer was full, or it was the largest while the buffers of the pool were full together
 *   (`maxBufferedBytes`).
 * - `decode`: the server sent a notification that could not be read.
 */
export type GapReason = 'disconnect' | 'overflow' | 'decode'

/**
 * A break in a consumer's stream of notifications, at its place in the stream. Notifications that were committed before
 * `lostAt` came before the gap, those that were committed after `resumedAt` come after it, and those in between may be
 * missing.
 */
export class Gap {
  /** The reason why notifications are missing. */
  readonly reason: GapReason
  /**
   * A moment, by this machine's clock, before which no notification is missing: the start of the last round trip in which
   * the server answered that it listens to every channel. Only that confirms all earlier notifications. Without a call of
   * `sync()` it is the last heartbeat, up to `heartbeat.intervalMs` before the break, or longer when the break was
   * noticed late.
   */
  readonly lostAt: Date
  /**
   * The moment at which the stream went on: the LISTENs were committed again, or the last dropped notification was
   * read. A consumer that had no room then, under `overflow: 'pause'`, may have a later one than the others.
   */
  readonly resumedAt: Date
  /** The time from `lostAt` to `resumedAt`, in milliseconds. */
  readonly downtimeMs: number
  /**
   * The number of missing notifications: exact for `overflow`; `null` for the other reasons, for which it is unknown.
   */
  readonly dropped: number | null
  /** The SQLSTATE with which the server ended the session, such as `57P01`; `null` when it sent none. */
  readonly sqlState: string | null
  /** A description of the reason in words. */
  readonly message: string
  /** The number of attempts that it took to connect again; 0 for `overflow`. */
  readonly attempts: number
  /** Whether the server was restarted, or is another one; `null` when that is not known, and for `overflow`. */
  readonly serverRestarted: boolean | null
  /** The process id of the lost session's backend; `null` for `overflow`. */
  readonly oldProcessId: number | null
  /** The process id of the new session's backend; `null` for `overflow`. */
  readonly newProcessId: number | null

  /**
   * The number of gaps that this one stands for: 1, or more when the consumer has not read for so long that it would have
   * more than 1024 gaps. Then the two oldest become one: with the first `lostAt`, the last `resumedAt`, the sums of
   * `dropped` (`null` if one of them is) and `attempts`, and `sqlState` and `message` of the last. Its `reason` is
   * `disconnect` if theirs differ. The notifications between the two follow it.
   */
  readonly merged: number

  /** @internal */
  constructor(native: NativeGap) {
    this.reason = native.reason
    this.lostAt = new Date(native.lostAtMs)
    this.resumedAt = new Date(native.resumedAtMs)
    this.downtimeMs = this.resumedAt.getTime() - this.lostAt.getTime()
    this.dropped = native.dropped ?? null
    this.sqlState = native.sqlState ?? null
    this.message = native.message
    this.attempts = native.attempts
    this.serverRestarted = native.serverRestarted ?? null
    this.oldProcessId = native.oldProcessId ?? null
    this.newProcessId = native.newProcessId ?? null
    this.merged = native.merged
  }
}

brand(Gap, 'Gap')
