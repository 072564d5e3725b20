/**
 * PostgreSQL LISTEN/NOTIFY without silent loss: the `ConnectionPool`, `Connection` and `Listener` of psqlpy, for Node.js.
 *
 * @packageDocumentation
 * @module pglisten
 */
export { ConnectionPool, type ConnectionPoolStatus } from './src-ts/pool.js'
export type { PoolCloseOptions } from './src-ts/pool/closing.js'
export { connect, type ConnectOptions } from './src-ts/connect.js'
export type {
  ChannelInput,
  ChannelOutput,
  ChannelSchema,
  ChannelSchemaIssue,
  ChannelSchemaKey,
  ChannelSchemaResult,
  ChannelSchemas,
  NoSchemas,
  PayloadsOf,
  TextChannel,
} from './src-ts/options/schemas.js'
export type { WaitOptions } from './src-ts/options/wait.js'
export type { CallOptions } from './src-ts/query/bounds.js'
export {
  Durable,
  type DurableStatus,
  type FailedEvent,
  type FailingEvent,
  type SubscriptionInfo,
} from './src-ts/durable/durable.js'
export type { DurableEvent, DurableEventOf } from './src-ts/durable/event.js'
export type { SubscriptionBatch } from './src-ts/durable/outlet.js'
export { SubscriptionStream } from './src-ts/durable/stream.js'
export {
  Subscription,
  type SubscriptionEvents,
  type SubscriptionFailure,
  type SubscriptionStats,
  type SubscriptionWarning,
} from './src-ts/durable/subscription.js'
export type { UnreadSubscription } from './src-ts/durable/unread.js'
export type {
  InstallOptions,
  PublishOptions,
  RunOptions,
  SubscriptionOptions,
} from './src-ts/options/durable.js'
export { Listener } from './src-ts/listen/listener.js'
export type {
  BatchOf,
  Callbacks,
  ListenArguments,
  ListenOptions,
  ListenerArguments,
  ListenerPayloads,
  ListenerState,
  GapCallback,
  MessageOf,
  ItemOf,
  MessageStream,
  NoParse,
  OnceOptions,
  ParseArguments,
  ParseOption,
  RemoveCallback,
  ShutdownOptions,
  StartupOptions,
  SubscribeOptions,
  SyncOptions,
  WithParse,
  ListenerHealth,
  ListenerStats,
  SessionStats,
} from './src-ts/listen/types.js'
export { ListenerNotificationMsg } from './src-ts/deliver/message.js'
export { Gap, type GapReason } from './src-ts/deliver/gap.js'
export type { ListenerCallback } from './src-ts/deliver/subscriptions.js'
export type { NotificationColumns } from './src-ts/deliver/columns.js'
export type {
  BatchShape,
  BatchesOptions,
  GapMode,
  MessagesOptions,
} from './src-ts/options/iterator.js'
export type { CoalesceMode, JsonCondition, NotificationFilter } from './src-ts/options/selection.js'
export type { ListenerEvents, ListenerWarning } from './src-ts/deliver/events.js'
export type {
  BufferOptions,
  HeartbeatOptions,
  ListenerOptions,
  OverflowPolicy,
  SessionChoice,
  ParseChannel,
  ReconnectOptions,
} from './src-ts/options/listener.js'
export type { NotifierOptions } from './src-ts/options/notifier.js'
export type { DiagnosticsOptions, Logger } from './src-ts/options/observation.js'
export type { QueueReport, QueueSuspect } from './src-ts/observe/queue.js'
export type { QueueWatchOptions } from './src-ts/options/queue-watch.js'
export type {
  CallbackContext,
  ErrorFacts,
  GapMessage,
  HandlerContext,
  ListenerIdentity,
  ListenerMessage,
  NotifyContext,
  PoolMessage,
  QueueMessage,
  SessionMessage,
  SessionMoment,
  SettledMessage,
  StatementContext,
  StatementMethod,
  SubscriptionMessage,
  SubscriptionMoment,
  TracingContext,
  WarningKind,
  WarningMessage,
} from './src-ts/observe/channels.js'
export type {
  ChannelBinding,
  ConnRecyclingMethod,
  ConnectionPoolOptions,
  LoadBalanceHosts,
  PasswordFunction,
  SslMode,
  SslNegotiation,
  TargetSessionAttrs,
} from './src-ts/options/pool.js'
export { Connection } from './src-ts/query/connection.js'
export type { ConnectionInfo, TransactionStatus } from './src-ts/query/info.js'
export type { BinaryCopyOptions } from './src-ts/query/copy/from.js'
export type { BinaryCopySource, CopyReadable, CopySource } from './src-ts/query/copy/source.js'
export { CopyStream } from './src-ts/query/copy/stream.js'
export * from './src-ts/errors.js'
export type { Decoder, Encoder, QueryParameter, TypeOptions } from './src-ts/options/types.js'
export type { TemporalClass, TemporalNamespace } from './src-ts/options/temporal.js'
export type { ArrayMode, MapMode, QueryOptions, StatementOptions } from './src-ts/query/options.js'
export type { CopyRecord, CopyRecords, CopyRecordsOptions } from './src-ts/query/copy/records.js'
export { Cursor, type CursorOptions } from './src-ts/query/cursor.js'
export { Notifier } from './src-ts/query/notifier.js'
export type { PipelineStatement } from './src-ts/query/pipeline.js'
export {
  PreparedStatement,
  type ParameterType,
  type PreparedColumn,
} from './src-ts/query/prepared-statement.js'
export { BoundedArray } from './src-ts/query/values/bounded-array.js'
export type { Circle, Line, Path, Point } from './src-ts/query/values/geometry.js'
export { Interval } from './src-ts/query/values/interval.js'
export { Range, type RangeParts } from './src-ts/query/values/range.js'
export type { NamedQueryParameters, QueryParameters } from './src-ts/query/parameters/named.js'
export { QueryResult, type QueryColumn } from './src-ts/query/result.js'
export { Queryable } from './src-ts/query/queryable.js'
export type { IsolationLevel, TransactionOptions } from './src-ts/query/transaction/options.js'
export { Transaction, type TransactionWork } from './src-ts/query/transaction.js'
