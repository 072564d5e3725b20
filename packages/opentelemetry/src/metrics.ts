// The metrics: what listeners and pools count themselves is read when somebody collects; the rest is told by diagnostics channels.
import {
  ROOT_CONTEXT,
  type Attributes,
  type BatchObservableResult,
  type Counter,
  type Gauge,
  type Histogram,
  type Meter,
  type MetricOptions,
  type Observable,
} from '@opentelemetry/api'
import type { ListenerState, NotifyContext, StatementContext } from 'pglisten'
import { followed, hear, hearCalls, type TracedCalls } from './calls.js'
import { failureOf } from './failure.js'
import { Convention, Own, SYSTEM } from './names.js'
import type { ResolvedConfig } from './options.js'
import type { ListenerGroup, Registry } from './registry.js'
import { measureSubscriptions, type LagRegistry } from './subscriptions.js'

const REASONS = ['disconnect', 'overflow', 'decode'] as const
const STATES: readonly ListenerState[] = [
  ...(['idle', 'connecting', 'connected', 'reconnecting', 'closed'] as const),
]

/** The bounds that the messaging conventions advise, in seconds. */
const MESSAGING_BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
/** The bounds that the database conventions advise, in seconds. */
const DATABASE_BOUNDS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10]

const PROCESS = {
  [Convention.messagingSystem]: SYSTEM,
  [Convention.operationName]: 'process',
} as const
const SEND = { [Convention.messagingSystem]: SYSTEM, [Convention.operationName]: 'send' } as const

/** An observed instrument, and how it gets its value. */
type Reading<Group> = (observe: BatchObservableResult, group: Group, about: Attributes) => void

/** Feeds the instruments of a meter until it is stopped. */
export class Metrics {
  readonly #registry: Registry
  readonly #config: ResolvedConfig
  readonly #gaps: Counter
  readonly #processDuration: Histogram
  readonly #sendDuration: Histogram
  readonly #sent: Counter
  readonly #statementDuration: Histogram
  readonly #queueUsage: Gauge
  readonly #ends: (() => void)[] = []

  constructor(meter: Meter, registry: Registry, lags: LagRegistry, config: ResolvedConfig) {
    this.#registry = registry
    this.#config = config
    this.#gaps = meter.createCounter(Own.gaps, {
      unit: '{gap}',
      description: 'Places in the stream at which notifications may be missing.',
    })
    this.#processDuration = meter.createHistogram(Convention.processDuration, {
      ...seconds(MESSAGING_BOUNDS),
      description: 'How long callbacks take.',
    })
    this.#sendDuration = meter.createHistogram(Convention.clientOperationDuration, {
      ...seconds(MESSAGING_BOUNDS),
      description: 'How long it takes to send notifications.',
    })
    this.#sent = meter.createCounter(Convention.sentMessages, {
      unit: '{message}',
      description: 'Notifications that were to be sent.',
    })
    this.#statementDuration = meter.createHistogram(Convention.operationDuration, {
      ...seconds(DATABASE_BOUNDS),
      description: 'How long calls that run statements take.',
    })
    this.#queueUsage = meter.createGauge(Own.queueUsage, {
      unit: '1',
      description: "How much of the server's queue of notifications is in use.",
    })
    for (const name of registry.listenerNames) this.onListener(name)
    this.#observe(meter)
    this.#ends.push(measureSubscriptions(meter, lags))
    this.#hear()
  }

  /** Shows the counters of a listener before they count anything: a rate begins with the first gap then. */
  onListener(name: string | undefined): void {
    for (const reason of REASONS) this.#countGaps(0, reason, name)
  }

  /** Runs `work`, which processes messages, and notes how long that takes. */
  process<Result>(channel: string | undefined, work: () => Result): Result {
    const start = performance.now()
    return followed(work, (failure) =>
      this.#recordProcess(channel, {}, performance.now() - start, failure?.type),
    )
  }

  /** Feeds the instruments no more. */
  stop(): void {
    for (const end of this.#ends) end()
  }

  #observe(meter: Meter): void {
    const readings = listenerReadings(meter)
    const pools = poolReadings(meter)
    const instruments = [...readings.instruments, ...pools.instruments]
    const read = (observe: BatchObservableResult) => {
      for (const group of this.#registry.listeners()) {
        const about = listenerAttributes(group.name)
        for (const reading of readings.readings) reading(observe, group, about)
      }
      for (const group of this.#registry.pools()) {
        const about = { [Convention.poolName]: group.name }
        for (const reading of pools.readings) reading(observe, group, about)
      }
    }
    meter.addBatchObservableCallback(read, instruments)
    this.#ends.push(() => meter.removeBatchObservableCallback(read, instruments))
  }

  #hear(): void {
    const timed = <Name extends keyof TracedCalls>(
      name: Name,
      onEnd: (call: TracedCalls[Name], durationMs: number) => void,
    ) => {
      const starts = new WeakMap<object, number>()
      const end = hearCalls(name, {
        begin: (call) => void starts.set(call, performance.now()),
        end: (call) => {
          const start = starts.get(call)
          if (start !== undefined) onEnd(call, performance.now() - start)
        },
      })
      this.#ends.push(end)
    }
    this.#ends.push(
      this.#registry.hear(),
      hear('pglisten:queue', ({ pool, usage }) =>
        this.#queueUsage.record(usage, { [Convention.poolName]: this.#registry.poolName(pool) }),
      ),
      hear('pglisten:gap', ({ reason, listener, merged }) =>
        this.#countGaps(merged, reason, listener),
      ),
    )
    timed('pglisten:notify', (call, ms) => this.#onNotify(call, ms))
    timed('pglisten:statement', (call, ms) => this.#onStatement(call, ms))
    timed('pglisten:handler', (call, ms) => {
      const about = { [Own.subscriptionName]: call.subscription }
      this.#recordProcess(call.channel, about, ms, failureOf(call)?.type)
    })
    if (this.#config.durations === 'all') {
      timed('pglisten:callback', (call, ms) => {
        const { channel, listener } = call
        if (channel !== undefined)
          this.#recordProcess(channel, listenerAttributes(listener), ms, failureOf(call)?.type)
      })
      return
    }
    this.#ends.push(
      hear('pglisten:settled', ({ channel, listener, durationMs, error }) => {
        if (channel !== undefined)
          this.#recordProcess(
            channel,
            listenerAttributes(listener),
            durationMs,
            failureOf({ error })?.type,
          )
      }),
    )
  }

  #countGaps(count: number, reason: string, name: string | undefined): void {
    this.#gaps.add(count, { ...listenerAttributes(name), [Own.gapReason]: reason }, ROOT_CONTEXT)
  }

  #recordProcess(
    channel: string | undefined,
    about: Attributes,
    durationMs: number,
    failure: string | undefined,
  ): void {
    const attributes: Attributes = { ...PROCESS, ...about }
    if (channel !== undefined)
      attributes[Convention.destination] = this.#config.channelName(channel)
    if (failure !== undefined) attributes[Convention.errorType] = failure
    this.#processDuration.record(durationMs / 1000, attributes, ROOT_CONTEXT)
  }

  #onNotify(call: NotifyContext, durationMs: number): void {
    const attributes: Attributes = {
      ...SEND,
      [Convention.destination]: this.#config.channelName(call.channel),
    }
    const failure = failureOf(call)
    if (failure) attributes[Convention.errorType] = failure.type
    this.#sendDuration.record(durationMs / 1000, attributes)
    this.#sent.add(call.count, attributes)
  }

  #onStatement(call: StatementContext, durationMs: number): void {
    const attributes = statementAttributes(call)
    const failure = failureOf(call)
    if (failure) attributes[Convention.errorType] = failure.type
    if (failure?.sqlState !== undefined) attributes[Convention.responseStatus] = failure.sqlState
    this.#statementDuration.record(durationMs / 1000, attributes)
  }
}

/** What says which operation a statement is. */
export function statementAttributes({ command, method }: StatementContext): Attributes {
  return {
    [Convention.databaseSystem]: SYSTEM,
    [Convention.databaseOperation]: command ?? method,
  }
}

function listenerAttributes(name: string | undefined): Attributes {
  return name === undefined ? {} : { [Own.listenerName]: name }
}

function seconds(explicitBucketBoundaries: number[]): MetricOptions {
  return { unit: 's', advice: { explicitBucketBoundaries } }
}

/** The instruments of listeners, and how each gets its value. */
function listenerReadings(meter: Meter) {
  const instruments: Observable[] = []
  const readings: Reading<ListenerGroup>[] = []
  const add = (
    instrument: Observable,
    value: (group: ListenerGroup) => number | undefined,
    more?: Attributes,
  ) => {
    instruments.push(instrument)
    readings.push((observe, group, about) => {
      const read = value(group)
      if (read !== undefined) observe.observe(instrument, read, { ...about, ...more })
    })
  }
  const counter = (name: string, unit: string, description: string) =>
    meter.createObservableCounter(name, { unit, description })
  const present = (name: string, unit: string, description: string) =>
    meter.createObservableUpDownCounter(name, { unit, description })
  const gauge = (name: string, description: string) =>
    meter.createObservableGauge(name, { unit: 's', description })

  const delivered = 'Notifications handed to consumers, once for each consumer.'
  add(
    counter(Convention.consumedMessages, '{message}', delivered),
    (group) => group.delivered,
    PROCESS,
  )
  const received = 'Notifications read from the server.'
  add(counter(Own.received, '{message}', received), (group) => group.received)
  const dropped = 'Notifications dropped because a buffer was full.'
  add(counter(Own.dropped, '{message}', dropped), (group) => group.dropped)
  const coalesced = 'Notifications merged into an equal one that waited.'
  add(counter(Own.coalesced, '{message}', coalesced), (group) => group.coalesced)
  const filtered = 'Notifications that a filter kept from a consumer.'
  add(counter(Own.filtered, '{message}', filtered), (group) => group.filtered)
  const failures = 'Failures of callbacks and of `parse`.'
  add(counter(Own.callbackErrors, '{error}', failures), (group) => group.callbackErrors)
  const reconnects = 'Lost sessions that were replaced.'
  add(counter(Own.reconnects, '{reconnect}', reconnects), (group) => group.reconnects)
  const buffered = 'Notifications that wait for consumers.'
  add(present(Own.buffered, '{message}', buffered), (group) => group.buffered)
  const bytes = 'The size of the notifications that wait.'
  add(present(Own.bufferedBytes, 'By', bytes), (group) => group.bufferedBytes)
  const inFlight = 'Callbacks whose promises are pending.'
  add(present(Own.inFlight, '{callback}', inFlight), (group) => group.callbacksInFlight)
  const waiting = 'How long the oldest notification has been waiting; 0 when none waits.'
  add(gauge(Own.oldestBuffered, waiting), (group) => (group.oldestBufferedAgeMs ?? 0) / 1000)
  const pending = 'How long the oldest callback has been pending; 0 when none is.'
  add(gauge(Own.oldestCallback, pending), (group) => (group.oldestCallbackAgeMs ?? 0) / 1000)
  const roundTrip = 'The round-trip time of the last heartbeat.'
  add(gauge(Own.roundTrip, roundTrip), ({ lastRoundTripMs }) =>
    lastRoundTripMs === undefined ? undefined : lastRoundTripMs / 1000,
  )
  const listeners = present(Own.listeners, '{listener}', 'Listeners in each state.')
  instruments.push(listeners)
  readings.push((observe, { states }, about) => {
    for (const state of STATES)
      observe.observe(listeners, states.get(state) ?? 0, { ...about, [Own.listenerState]: state })
  })
  return { instruments, readings }
}

/** The instruments of pools, and how each gets its value. */
function poolReadings(meter: Meter) {
  const connections = meter.createObservableUpDownCounter(Convention.connectionCount, {
    unit: '{connection}',
    description: 'Connections in each state.',
  })
  const limit = meter.createObservableUpDownCounter(Convention.connectionLimit, {
    unit: '{connection}',
    description: 'The most connections that there may be.',
  })
  const waiting = meter.createObservableUpDownCounter(Convention.connectionWaiting, {
    unit: '{request}',
    description: 'Calls that wait for a connection.',
  })
  const reading: Reading<ReturnType<Registry['pools']>[number]> = (observe, group, about) => {
    const inState = (state: string) => ({ ...about, [Convention.connectionState]: state })
    observe.observe(connections, group.available, inState('idle'))
    observe.observe(connections, group.size - group.available, inState('used'))
    observe.observe(limit, group.maxSize, about)
    observe.observe(waiting, group.waiting, about)
  }
  return { instruments: [connections, limit, waiting], readings: [reading] }
}
