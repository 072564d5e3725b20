// OpenTelemetry for pglisten: metrics, spans, and contexts in payloads.
export { PglistenInstrumentation } from './instrumentation.js'
export { inject } from './propagation.js'
export type { Extract, PglistenInstrumentationConfig, SpanOptions } from './options.js'
export type { Processed } from './spans.js'
