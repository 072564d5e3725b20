// A relay from PostgreSQL's LISTEN/NOTIFY to NATS JetStream.
export { Relay } from './relay.js'
export type { RelayEvents, RelayRunOptions, RelayStats, RelayWarning } from './relay.js'
export type { DurableSource, NatsOptions, RelayBuffer, RelayOptions } from './options/options.js'
export { RelayError, RelayOptionError, RelayStreamError } from './errors.js'
