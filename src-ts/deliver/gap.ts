// What a consumer missed.
import type { NativeGap } from '#native'

/**
 * Why notifications are missing: `disconnect`, the server session ended and another one took its place; `overflow`,
 * the consumer's buffer was full; `decode`, the server sent bytes that are no notification.
 */
export type GapReason = 'disconnect' | 'overflow' | 'decode'

/**
 * A break in the stream of notifications, at its place in the stream: everything committed before `lostAt` came before
 * it, everything committed after `resumedAt` comes after it. What was notified in between may be missing.
 */
export class Gap {
  /** Why notifications are missing. */
  readonly reason: GapReason
  /**
   * A moment, by this machine's clock, before which nothing is missing: when the last round trip to the server was begun
   * that was answered before the break. A notification that was read tells nothing about those behind it, so without
   * other traffic this is the last heartbeat: up to `heartbeat.intervalMs` before the break, and more when the break was
   * noticed late.
   */
  readonly lostAt: Date
  /** When the stream went on: the LISTENs were committed again, or the last dropped notification had been read. */
  readonly resumedAt: Date
  /** Between these two, in milliseconds. */
  readonly downtimeMs: number
  /** How many notifications are missing: exact for `overflow`, `null` otherwise, as nobody can know. */
  readonly dropped: number | null
  /** The server's reason for ending the session, such as `57P01`; `null` when it gave none. */
  readonly sqlState: string | null
  /** The reason in words. */
  readonly message: string
  /** How many attempts it took to connect again; 0 for `overflow`. */
  readonly attempts: number
  /** Whether the server was restarted, or is another one; `null` when not known, and for `overflow`. */
  readonly serverRestarted: boolean | null
  /** The backend that was lost; `null` for `overflow`. */
  readonly oldProcessId: number | null
  /** The backend that took its place; `null` for `overflow`. */
  readonly newProcessId: number | null

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
  }
}
