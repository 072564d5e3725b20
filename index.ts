/**
 * PostgreSQL LISTEN/NOTIFY with no silent loss: psqlpy's `ConnectionPool`, `Connection` and `Listener` for Node.js.
 *
 * @packageDocumentation
 */
export { ConnectionPool, type ConnectionPoolStatus } from './src-ts/pool.js'
export { Listener } from './src-ts/listener.js'
export type {
  ListenerPayloads,
  ListenerState,
  GapCallback,
  MessageOf,
  ItemOf,
  MessageStream,
  ShutdownOptions,
  SyncOptions,
  ListenerStats,
} from './src-ts/listener-types.js'
export { ListenerNotificationMsg } from './src-ts/message.js'
export { Gap, type GapReason } from './src-ts/gap.js'
export type { ListenerCallback } from './src-ts/subscriptions.js'
export type { BatchesOptions, GapMode, MessagesOptions } from './src-ts/iterator-options.js'
export type { ListenerEvents, ListenerWarning } from './src-ts/events.js'
export type {
  BufferOptions,
  HeartbeatOptions,
  ListenerOptions,
  OverflowPolicy,
  ParseChannel,
  ReconnectOptions,
} from './src-ts/listener-options.js'
export type {
  ChannelBinding,
  ConnRecyclingMethod,
  ConnectionPoolOptions,
  LoadBalanceHosts,
  SslMode,
  SslNegotiation,
  TargetSessionAttrs,
} from './src-ts/pool-options.js'
export { Connection } from './src-ts/connection.js'
export * from './src-ts/errors.js'
export type { QueryParameter } from './src-ts/parameters.js'
export { QueryResult, type QueryColumn } from './src-ts/query-result.js'
export { Queryable } from './src-ts/queryable.js'
export { Transaction, type TransactionWork } from './src-ts/transaction.js'
