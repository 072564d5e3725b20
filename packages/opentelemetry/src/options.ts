// The options of the instrumentation, and how they are checked.
import { inspect, types } from 'node:util'
import type { MeterProvider, TracerProvider } from '@opentelemetry/api'
import { contained, synchronous } from './failure.js'

/**
 * Returns what a propagator reads: an object with `traceparent` and the like; `undefined` if the payload has none. It has to be
 * synchronous: an `async` function is refused, and a promise counts as none.
 *
 * @param payload - The payload as the callback gets it: text, or what `parse` has returned.
 * @param channel - The channel.
 */
export type Extract = (payload: unknown, channel: string) => object | undefined

/** Which calls have spans. */
export interface SpanOptions {
  /** Callbacks, and handlers of durable subscriptions: `process {channel}`. @default false */
  callbacks?: boolean | undefined
  /** Statements, such as `SELECT`. @default false */
  statements?: boolean | undefined
  /** Calls that send notifications: `send {channel}`. @default false */
  notify?: boolean | undefined
}

/** The options of {@link PglistenInstrumentation}. */
export interface PglistenInstrumentationConfig {
  /** Whether the instrumentation begins with its constructor. @default true */
  enabled?: boolean | undefined
  /** Where metrics go. @default the global one */
  meterProvider?: MeterProvider | undefined
  /** Where spans go. @default the global one */
  tracerProvider?: TracerProvider | undefined
  /** Whether there are metrics. @default true */
  metrics?: boolean | undefined
  /** Which calls have spans; `true` stands for all of them. @default false */
  spans?: boolean | SpanOptions | undefined
  /**
   * Whether the span of a callback, or of the handler of a durable subscription, continues the trace of whoever has sent the
   * payload. With `true` a payload that is a JSON object, or that `parse` has made one, is searched for `traceparent`; a function
   * looks elsewhere. The pool needs the option `diagnostics: { payloads: true }`. {@link PglistenInstrumentation.process}, which is
   * given the payloads, needs neither: it always continues the trace, by this function if there is one.
   * @default false
   */
  extract?: boolean | Extract | undefined
  /**
   * Which callbacks the histogram `messaging.process.duration` counts.
   *
   * - `sampled`: those that return a promise, and of them at most 100 in each 100 ms. That is every one of them as long as fewer
   *   settle, and bounds the cost in a flood.
   * - `all`: each one. To record it takes longer than a short callback itself.
   *
   * `messaging.client.consumed.messages` counts every notification.
   * @default `sampled`
   */
  durations?: 'sampled' | 'all' | undefined
  /**
   * The name under which a channel is told, for channels of which there are many: `user.1`, `user.2` and so on can be
   * `user`. Where it throws, or returns no string, the channel is told as `_OTHER`. An `async` function is refused.
   * @default the channel
   */
  channelName?: ((channel: string) => string) | undefined
  /**
   * Whether the span of a statement has its SQL, without parameters but with the literals that stand in it. The pool needs the
   * option `diagnostics: { statements: true }`.
   * @default false
   */
  queryText?: boolean | undefined
}

/** @internal The options, checked and complete, without the providers. */
export interface ResolvedConfig {
  readonly metrics: boolean
  readonly spans: Readonly<Required<{ [Name in keyof SpanOptions]: boolean }>>
  readonly extract: boolean | Extract
  readonly durations: 'sampled' | 'all'
  readonly channelName: (channel: string) => string
  readonly queryText: boolean
}

const NAMES = new Set([
  ...['enabled', 'meterProvider', 'tracerProvider', 'metrics', 'spans', 'extract', 'durations'],
  ...['channelName', 'queryText'],
])
const SPANS = ['callbacks', 'statements', 'notify'] as const

/** @internal Checks the options. */
export function resolveConfig(config: PglistenInstrumentationConfig): ResolvedConfig {
  checkNames('config', config, NAMES)
  const { metrics = true, extract = false, durations = 'sampled', queryText = false } = config
  const { channelName, enabled = true } = config
  checkBoolean('enabled', enabled)
  checkBoolean('metrics', metrics)
  checkBoolean('queryText', queryText)
  if (typeof extract !== 'boolean' && typeof extract !== 'function')
    throw new TypeError(expected('extract', 'a boolean or a function', extract))
  checkSynchronous('extract', extract)
  checkSynchronous('channelName', channelName)
  if (durations !== 'sampled' && durations !== 'all')
    throw new TypeError(expected('durations', "'sampled' or 'all'", durations))
  if (channelName !== undefined) checkFunction('channelName', channelName)
  checkProvider('meterProvider', 'getMeter', config.meterProvider)
  checkProvider('tracerProvider', 'getTracer', config.tracerProvider)
  return {
    metrics,
    spans: resolveSpans(config.spans),
    extract: typeof extract === 'function' ? synchronous('`extract`', extract) : extract,
    durations,
    channelName: channelName ? containedName(channelName) : (channel) => channel,
    queryText,
  }
}

/** OpenTelemetry's conventions call a value so that has no name. It is one for all, because channels may be many. */
const OTHER = '_OTHER'

function containedName(channelName: (channel: string) => unknown): (channel: string) => string {
  const called = synchronous('`channelName`', channelName)
  const nameOf = (channel: string) => {
    const name = called(channel)
    if (typeof name !== 'string') throw new TypeError('no string')
    return name
  }
  return (channel) => contained('`channelName`', () => nameOf(channel)) ?? OTHER
}

function resolveSpans(spans: boolean | SpanOptions = false): ResolvedConfig['spans'] {
  if (typeof spans === 'boolean') return { callbacks: spans, statements: spans, notify: spans }
  checkNames('spans', spans, new Set(SPANS))
  for (const name of SPANS) checkBoolean(`spans.${name}`, spans[name] ?? false)
  const { callbacks = false, statements = false, notify = false } = spans
  return { callbacks, statements, notify }
}

/** @internal Checks that a provider, if there is one, has its method. */
export function checkProvider(
  name: string,
  method: 'getMeter' | 'getTracer',
  value: unknown,
): void {
  if (value !== undefined && !has(value, method))
    throw new TypeError(expected(name, `an object with \`${method}()\``, value))
}

/** @internal Checks the options of `observe()`. */
export function checkObserved(options: unknown): void {
  checkNames('options', options, new Set(['name']))
  const { name } = options as { name?: unknown }
  if (name !== undefined && typeof name !== 'string')
    throw new TypeError(expected('options.name', 'a string', name))
}

/** @internal Checks the channel of `send()`. */
export function checkChannel(value: unknown): void {
  if (typeof value !== 'string') throw new TypeError(expected('channel', 'a string', value))
}

/** @internal Checks what `process()` is about. What it was given is not shown: it may hold a payload. */
export function checkMessages(value: unknown): void {
  if (!Array.isArray(value)) {
    if (isMessage(value)) return
    throw new TypeError(
      `Expected \`messages\` to be a message with a \`channel\`, or an array of those, got ${kindOf(value)}`,
    )
  }
  const wrong = value.findIndex((message) => !isMessage(message))
  if (wrong === -1) return
  throw new TypeError(
    `Expected \`messages[${wrong}]\` to be a message with a \`channel\`, got ${kindOf(value[wrong])}`,
  )
}

function isMessage(value: unknown): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof (value as { channel?: unknown }).channel === 'string'
  )
}

/**
 * @internal Returns the object that `JSON.stringify()` would write for the payload of `inject()`, and checks that it is one. A payload is
 * not shown.
 */
export function jsonObject(payload: unknown): object {
  checkPayload('payload', payload)
  if (!has(payload, 'toJSON')) return payload
  // `JSON.stringify()` gives the key as which a value stands, here none.
  const made: unknown = (payload as { toJSON: (key: string) => unknown }).toJSON('')
  checkPayload('payload.toJSON()', made)
  return made
}

function checkPayload(name: string, value: unknown): asserts value is object {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value)
  // Of these nothing would be left.
  if (isObject && (has(value, 'toJSON') || !(types.isMap(value) || types.isSet(value)))) return
  throw new TypeError(`Expected \`${name}\` to be an object that is no array, got ${kindOf(value)}`)
}

/** What a value is, without the value. */
function kindOf(value: unknown): string {
  if (value === null || value === undefined) return `${value}`
  if (typeof value !== 'object') return `a value of the type ${typeof value}`
  if (types.isMap(value)) return 'a Map'
  if (types.isSet(value)) return 'a Set'
  return Array.isArray(value) ? 'an array' : 'another object'
}

/** @internal Checks a function. */
export function checkFunction(name: string, value: unknown): void {
  if (typeof value !== 'function') throw new TypeError(expected(name, 'a function', value))
}

function checkSynchronous(name: string, value: unknown): void {
  if (types.isAsyncFunction(value))
    throw new TypeError(`Expected \`${name}\` to be synchronous, got an async function`)
}

/** @internal Whether a value has a method. */
export function has(value: unknown, method: string): boolean {
  return (
    ((typeof value === 'object' && value !== null) || typeof value === 'function') &&
    typeof (value as unknown as Record<string, unknown>)[method] === 'function'
  )
}

function checkNames(name: string, value: unknown, known: ReadonlySet<string>): void {
  if (typeof value !== 'object' || value === null)
    throw new TypeError(expected(name, 'an object', value))
  for (const key of Object.keys(value)) {
    if (!known.has(key))
      throw new TypeError(`Expected \`${name}\` to have ${[...known].join(', ')}, got \`${key}\``)
  }
}

function checkBoolean(name: string, value: unknown): void {
  if (typeof value !== 'boolean') throw new TypeError(expected(name, 'a boolean', value))
}

/** @internal The text of an error. */
export function expected(name: string, what: string, value: unknown): string {
  return `Expected \`${name}\` to be ${what}, got ${inspect(value, { depth: 0 })} (${typeof value})`
}
