// OpenTelemetry metrics of relays: what they count themselves, read when somebody collects.
import { metrics, type MeterProvider, type Observable } from '@opentelemetry/api'
import { RelayOptionError, expected } from './errors.js'
import { Relay, type RelayStats } from './relay.js'

/** The options of {@link observeRelay}. */
export interface ObserveOptions {
  /** The value of the attribute `messaging.destination.name`: the stream. */
  stream: string
  /** Where metrics go. @default the global one */
  meterProvider?: MeterProvider | undefined
}

const ROLES = ['connecting', 'standby', 'leading', 'stopped'] as const

/** Each counter with its unit, its description, and the number it has. */
const COUNTERS: readonly [
  name: string,
  unit: string,
  description: string,
  read: (stats: RelayStats) => number,
][] = [
  [
    'messaging.client.sent.messages',
    '{message}',
    'Messages that are in the stream.',
    ({ stored }) => stored,
  ],
  ['pglisten.relay.gaps', '{gap}', 'Gaps that are in the stream.', ({ gaps }) => gaps],
  [
    'pglisten.relay.unpublishable',
    '{message}',
    'Notifications that the stream does not take.',
    ({ unpublishable }) => unpublishable,
  ],
  [
    'pglisten.relay.failures',
    '{attempt}',
    'Attempts to store or to read that have failed.',
    ({ failures }) => failures,
  ],
  ['pglisten.relay.terms', '{term}', 'How often the relay began to lead.', ({ terms }) => terms],
  [
    'pglisten.relay.evicted',
    '{session}',
    'Sessions of silent leaders that were ended.',
    ({ evicted }) => evicted,
  ],
]

/**
 * Has the counters and the state of a relay be metrics. The relay's listener and pool are pglisten's own: `pglisten-opentelemetry` has their
 * metrics.
 *
 * @returns A function that ends it.
 * @throws {@link RelayOptionError} when an argument is wrong.
 */
export function observeRelay(relay: Relay, { stream, meterProvider }: ObserveOptions): () => void {
  if (!(relay instanceof Relay)) throw new RelayOptionError(expected('relay', 'a relay', relay))
  if (typeof stream !== 'string') throw new RelayOptionError(expected('stream', 'a text', stream))
  const meter = (meterProvider ?? metrics).getMeter('pglisten-relay-nats')
  const about = { 'messaging.system.name': 'nats', 'messaging.destination.name': stream }
  const counters = COUNTERS.map(([name, unit, description, read]) => ({
    instrument: meter.createObservableCounter(name, { unit, description }),
    read,
  }))
  const backlog = meter.createObservableUpDownCounter('pglisten.relay.backlog', {
    unit: '{message}',
    description: 'Notifications that wait to be stored.',
  })
  const age = meter.createObservableGauge('pglisten.relay.oldest_age', {
    unit: 's',
    description: 'How long the oldest of them has been waiting.',
  })
  const role = meter.createObservableUpDownCounter('pglisten.relay.role', {
    unit: '{relay}',
    description: '1 for the role that the relay has, 0 for the others.',
  })
  const instruments: Observable[] = [
    ...counters.map(({ instrument }) => instrument),
    backlog,
    age,
    role,
  ]
  const observe: Parameters<typeof meter.addBatchObservableCallback>[0] = (result) => {
    const stats = relay.stats()
    for (const { instrument, read } of counters) {
      const operation =
        instrument === counters[0]!.instrument ? { 'messaging.operation.name': 'send' } : {}
      result.observe(instrument, read(stats), { ...about, ...operation })
    }
    // The events of a durable source wait in PostgreSQL.
    if (stats.backlog !== undefined) {
      result.observe(backlog, stats.backlog, about)
      result.observe(age, (stats.oldestAgeMs ?? 0) / 1000, about)
    }
    for (const one of ROLES)
      result.observe(role, one === stats.role ? 1 : 0, { ...about, 'pglisten.relay.role': one })
  }
  meter.addBatchObservableCallback(observe, instruments)
  return () => meter.removeBatchObservableCallback(observe, instruments)
}
