// The names of metrics and attributes. Those that OpenTelemetry defines are of version 1.45.0 of its semantic conventions; most of
// the messaging conventions are not stable yet. The others begin with `pglisten.`.

/** Of the conventions that the names below follow: told with every metric and span. */
export const SCHEMA_URL = 'https://opentelemetry.io/schemas/1.45.0'

/** Names that OpenTelemetry defines. */
export const Convention = {
  // Messaging.
  consumedMessages: 'messaging.client.consumed.messages',
  sentMessages: 'messaging.client.sent.messages',
  clientOperationDuration: 'messaging.client.operation.duration',
  processDuration: 'messaging.process.duration',
  messagingSystem: 'messaging.system.name',
  operationName: 'messaging.operation.name',
  operationType: 'messaging.operation.type',
  destination: 'messaging.destination.name',
  messageCount: 'messaging.batch.message_count',
  // Database.
  operationDuration: 'db.client.operation.duration',
  connectionCount: 'db.client.connection.count',
  connectionLimit: 'db.client.connection.limit',
  connectionWaiting: 'db.client.connection.pending_requests',
  poolName: 'db.client.connection.pool.name',
  connectionState: 'db.client.connection.state',
  databaseSystem: 'db.system.name',
  databaseOperation: 'db.operation.name',
  queryText: 'db.query.text',
  responseStatus: 'db.response.status_code',
  // Both.
  errorType: 'error.type',
} as const

/** Names that only this package uses. */
export const Own = {
  received: 'pglisten.listener.received',
  dropped: 'pglisten.listener.dropped',
  coalesced: 'pglisten.listener.coalesced',
  filtered: 'pglisten.listener.filtered',
  callbackErrors: 'pglisten.listener.callback_errors',
  reconnects: 'pglisten.listener.reconnects',
  gaps: 'pglisten.listener.gaps',
  buffered: 'pglisten.listener.buffered',
  bufferedBytes: 'pglisten.listener.buffered_size',
  inFlight: 'pglisten.listener.callbacks_in_flight',
  oldestBuffered: 'pglisten.listener.oldest_buffered_age',
  oldestCallback: 'pglisten.listener.oldest_callback_age',
  roundTrip: 'pglisten.listener.round_trip',
  listeners: 'pglisten.listener.count',
  queueUsage: 'pglisten.queue.usage',
  subscriptionDone: 'pglisten.subscription.done',
  subscriptionFailures: 'pglisten.subscription.failures',
  subscriptionGivenUp: 'pglisten.subscription.given_up',
  subscriptionTakeovers: 'pglisten.subscription.takeovers',
  subscriptionLag: 'pglisten.subscription.lag',
  subscriptionLagAge: 'pglisten.subscription.lag_age',
  subscriptionName: 'pglisten.subscription.name',
  listenerName: 'pglisten.listener.name',
  listenerState: 'pglisten.listener.state',
  gapReason: 'pglisten.gap.reason',
} as const

/** The value of both attributes that name the system. */
export const SYSTEM = 'postgresql'
