// What the relay tells `node:diagnostics_channel`, under names that begin with `pglisten-relay-nats:`.
import { channel } from 'node:diagnostics_channel'
import type { RelayGapReason } from './wire/gaps.js'

/**
 * Whether a relay leads.
 *
 * - `connecting`: it waits for PostgreSQL or NATS.
 * - `standby`: another relay leads.
 * - `leading`: it stores what is notified; with a durable source, what is published.
 * - `stopped`: it has ended.
 */
export type RelayRole = 'connecting' | 'standby' | 'leading' | 'stopped'

/** A message of `pglisten-relay-nats:role`: a relay leads, begins an epoch, or leads no more. */
export interface RelayRoleMessage {
  /** The stream. */
  stream: string
  role: RelayRole
  /** The epoch that begins; `undefined` if it does not lead, and with a durable source before its first event. */
  epoch: string | undefined
  /** Why it leads no more; `undefined` otherwise. */
  reason: string | undefined
}

/** A message of `pglisten-relay-nats:gap`: a gap was stored. */
export interface RelayGapMessage {
  /** The stream. */
  stream: string
  reason: RelayGapReason
  /** How many notifications are missing; `null` when that is unknown. */
  dropped: number | null
}

/** A message of `pglisten-relay-nats:failure`: something failed that the relay tries again. */
export interface RelayFailureMessage {
  /** The stream. */
  stream: string
  /** JetStream's number of the error, or 0. */
  code: number
  message: string
}

/** A message of `pglisten-relay-nats:stored`: messages are in the stream. */
export interface RelayStoredMessage {
  /** The stream. */
  stream: string
  count: number
  /** `window`: each with an answer of its own; `batch`: an atomic batch. */
  how: 'window' | 'batch'
}

interface Messages {
  role: RelayRoleMessage
  gap: RelayGapMessage
  failure: RelayFailureMessage
  stored: RelayStoredMessage
}

const channels = {
  role: channel('pglisten-relay-nats:role'),
  gap: channel('pglisten-relay-nats:gap'),
  failure: channel('pglisten-relay-nats:failure'),
  stored: channel('pglisten-relay-nats:stored'),
}

/** Tells a channel, if anybody listens. */
export function tell<Name extends keyof Messages>(name: Name, message: Messages[Name]): void {
  if (channels[name].hasSubscribers) channels[name].publish(message)
}
