// The instrumentation: what OpenTelemetry's `NodeSDK` and `registerInstrumentations()` take.
import { metrics, trace, type MeterProvider, type TracerProvider } from '@opentelemetry/api'
import type { ConnectionPool, DurableEvent, Listener, Subscription } from 'pglisten'
import { Metrics } from './metrics.js'
import { SCHEMA_URL } from './names.js'
import {
  checkChannel,
  checkFunction,
  checkMessages,
  checkObserved,
  checkProvider,
  expected,
  has,
  resolveConfig,
  type PglistenInstrumentationConfig,
  type ResolvedConfig,
} from './options.js'
import { inject } from './propagation.js'
import { Registry, type AnyListener } from './registry.js'
import { LagRegistry, type AnySubscription } from './subscriptions.js'
import { Spans, commonChannel, type Processed } from './spans.js'

const NAME = 'pglisten-opentelemetry'
const VERSION = '0.1.0'

/**
 * Makes metrics, and spans if they are asked for, of every pool and listener of the process that is made after it.
 *
 * It is an `Instrumentation` in the sense of `@opentelemetry/instrumentation`, which takes it as it is, but does not depend on
 * that package: pglisten publishes diagnostics channels, so no module has to be patched.
 */
export class PglistenInstrumentation implements Disposable {
  /** The name of the instrumentation, and of its meter and tracer. */
  readonly instrumentationName = NAME
  /** Its version. */
  readonly instrumentationVersion = VERSION
  #config: PglistenInstrumentationConfig
  #resolved: ResolvedConfig
  #meterProvider: MeterProvider | undefined
  #tracerProvider: TracerProvider | undefined
  readonly #registry = new Registry((name) => this.#metrics?.onListener(name))
  readonly #lags = new LagRegistry()
  #metrics: Metrics | undefined
  #spans: Spans | undefined
  #isEnabled = false

  /**
   * @param config - The options. @default metrics alone
   * @throws TypeError when an option is wrong.
   */
  constructor(config: PglistenInstrumentationConfig = {}) {
    this.#resolved = resolveConfig(config)
    this.#config = config
    this.#meterProvider = config.meterProvider
    this.#tracerProvider = config.tracerProvider
    if (config.enabled ?? true) this.enable()
  }

  /** Begins, unless it has begun. */
  enable(): void {
    if (this.#isEnabled) return
    this.#isEnabled = true
    this.#startMetrics()
    this.#startSpans()
  }

  /** Ends: there are no more metrics and spans, and pglisten does no more work for them. */
  disable(): void {
    this.#isEnabled = false
    this.#metrics?.stop()
    this.#metrics = undefined
    this.#spans?.stop()
    this.#spans = undefined
  }

  /** Disables it. */
  [Symbol.dispose](): void {
    this.disable()
  }

  /**
   * Sends metrics elsewhere.
   *
   * @throws TypeError when it has no `getMeter()`.
   */
  setMeterProvider(provider: MeterProvider): void {
    checkProvider('provider', 'getMeter', provider)
    this.#meterProvider = provider
    this.#startMetrics()
    this.#spans?.update()
  }

  /**
   * Sends spans elsewhere.
   *
   * @throws TypeError when it has no `getTracer()`.
   */
  setTracerProvider(provider: TracerProvider): void {
    checkProvider('provider', 'getTracer', provider)
    this.#tracerProvider = provider
    this.#startSpans()
  }

  /** Returns the options. */
  getConfig(): PglistenInstrumentationConfig & { enabled: boolean } {
    return { ...this.#config, enabled: this.#config.enabled ?? true }
  }

  /**
   * Sets the options; the providers stay, unless they are among them.
   *
   * @throws TypeError when an option is wrong.
   */
  setConfig(config: PglistenInstrumentationConfig): void {
    this.#resolved = resolveConfig(config)
    this.#config = config
    this.#meterProvider = config.meterProvider ?? this.#meterProvider
    this.#tracerProvider = config.tracerProvider ?? this.#tracerProvider
    this.#startMetrics()
    this.#startSpans()
  }

  /**
   * Observes a pool or a listener that was made before the instrumentation. Of a pool it also says under which name it is told:
   * pools of equal names are added up, as listeners of equal names are.
   *
   * Of a durable subscription, whose counts are told anyway, it has the lag told: at each collection the server is asked for it, for at
   * most 5 s, and looks at every event that is not done.
   *
   * @param target - The pool, the listener or the subscription. It is held weakly.
   * @param options - `name`: that of the pool. @default `pglisten`
   * @throws TypeError when it is none of these, or an option is wrong.
   */
  observe(target: ConnectionPool, options?: { name?: string | undefined }): void
  /** Observes a listener. */
  observe<Payloads extends object>(target: Listener<Payloads>): void
  /** Has the lag of a durable subscription told. */
  observe<Event extends DurableEvent<unknown>>(target: Subscription<Event>): void
  observe(
    target: ConnectionPool | Listener<Record<string, unknown>> | AnySubscription,
    options: { name?: string | undefined } = {},
  ): void {
    checkObserved(options)
    const isLike = (...methods: string[]) => methods.every((method) => has(target, method))
    if (isLike('status', 'listener', 'notify'))
      this.#registry.addPool(target as ConnectionPool, options.name)
    else if (isLike('health', 'stats', 'addCallback')) {
      const listener = target as AnyListener
      this.#registry.addListener(listener, listener.health().name)
    } else if (isLike('batches', 'stats', 'run')) this.#lags.add(target as AnySubscription)
    else throw new TypeError(expected('target', 'a pool, a listener or a subscription', target))
  }

  /**
   * Runs `work` in the span `send {channel}`, and gives it a function that puts the context of that span into a payload, so that
   * the callback's span is a child of it:
   *
   * `instrumentation.send('orders', (inject) => pool.notify('orders', JSON.stringify(inject(order))))`
   *
   * The call of `notify` within has no span of its own. Without spans for `notify`, `work` runs without a span, and `inject` is
   * the function {@link inject}.
   *
   * @returns What `work` returns. The span ends with its promise, if it is one.
   * @throws TypeError when the channel is no string, or `work` no function.
   */
  send<Result>(
    channel: string,
    work: (inject: <Payload extends object>(payload: Payload) => Payload) => Result,
  ): Result {
    checkChannel(channel)
    checkFunction('work', work)
    return this.#spans && this.#resolved.spans.notify
      ? this.#spans.send(channel, work)
      : work(inject)
  }

  /**
   * Runs `work` in the span `process {channel}`: for messages of an iterator, which have no callback. The parent of the span for
   * one message is in its payload; a span for several has a link to each. The duration is part of
   * `messaging.process.duration`.
   *
   * @param messages - A message, or those of a batch without gaps.
   * @returns What `work` returns. The span ends with its promise, if it is one.
   * @throws TypeError when the messages are none, or `work` is no function.
   */
  process<Result>(messages: Processed | readonly Processed[], work: () => Result): Result {
    checkMessages(messages)
    checkFunction('work', work)
    const spans = this.#resolved.spans.callbacks ? this.#spans : undefined
    const run = spans ? () => spans.process(messages, work) : work
    return this.#metrics ? this.#metrics.process(commonChannel(messages), run) : run()
  }

  #startMetrics(): void {
    this.#metrics?.stop()
    this.#metrics = undefined
    if (!this.#isEnabled || !this.#resolved.metrics) return
    const provider = this.#meterProvider ?? metrics.getMeterProvider()
    const meter = provider.getMeter(NAME, VERSION, { schemaUrl: SCHEMA_URL })
    this.#metrics = new Metrics(meter, this.#registry, this.#lags, this.#resolved)
  }

  #startSpans(): void {
    this.#spans?.stop()
    this.#spans = undefined
    const { callbacks, statements, notify } = this.#resolved.spans
    if (!this.#isEnabled || !(callbacks || statements || notify)) return
    const provider = this.#tracerProvider ?? trace.getTracerProvider()
    const tracer = provider.getTracer(NAME, VERSION, { schemaUrl: SCHEMA_URL })
    this.#spans = new Spans(tracer, this.#resolved)
  }
}
