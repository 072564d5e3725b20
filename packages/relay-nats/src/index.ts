// A relay from PostgreSQL's LISTEN/NOTIFY to NATS JetStream.
export { Relay } from './relay.js'
export type { RelayEvents, RelayRunOptions, RelayStats, RelayWarning } from './relay.js'
export type { DurableSource, NatsOptions, RelayBuffer, RelayOptions } from './options/options.js'
export type {
  RelayFailureMessage,
  RelayGapMessage,
  RelayRole,
  RelayRoleMessage,
  RelayStoredMessage,
} from './diagnostics.js'
export type { RelayGapBody, RelayGapReason } from './wire/gaps.js'
export { checkRelay, type Finding } from './doctor.js'
export { serveHealth, type HealthOptions, type HealthServer } from './health.js'
export { RelayError, RelayOptionError } from './errors.js'
export { subscribe, type SubscribeOptions } from './consume/subscribe.js'
export type { RelayGap, RelayMessage } from './consume/items.js'
export { channelOf, decodeToken, encodeToken, gapSubjectOf, subjectOf } from './wire/subjects.js'
