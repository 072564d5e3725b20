// An instrumentation for a test, with the SDK of OpenTelemetry behind it and everything it makes kept in memory.

import type { ExecutionContext } from 'ava'
import type { Attributes } from '@opentelemetry/api'
import {
  MeterProvider,
  MetricReader,
  type DataPoint,
  type Histogram,
} from '@opentelemetry/sdk-metrics'
import {
  InMemorySpanExporter,
  NodeTracerProvider,
  SimpleSpanProcessor,
  type ReadableSpan,
} from '@opentelemetry/sdk-trace-node'
import { PglistenInstrumentation, type PglistenInstrumentationConfig } from 'pglisten-opentelemetry'

/** A reader that reads when it is asked to. */
class Reader extends MetricReader {
  protected override onForceFlush = async () => {}
  protected override onShutdown = async () => {}
}

/** A point of a metric: its attributes, and its value; of a histogram, how many values it has. */
export interface Point {
  attributes: Attributes
  value: number
}

/** An instrumentation, and what it has made so far. */
export interface Telemetry {
  instrumentation: PglistenInstrumentation
  tracerProvider: NodeTracerProvider
  /** The points of a metric now. */
  points(name: string): Promise<Point[]>
  /** Everything that is told of metrics now. */
  metrics(): Promise<{ name: string; unit: string; points: Point[] }[]>
  /** The value of the point with the attributes, and maybe others; `undefined` if there is none. */
  value(name: string, attributes?: Attributes): Promise<number | undefined>
  /** The spans that have ended. */
  spans(): ReadableSpan[]
}

let registered: NodeTracerProvider | undefined
const exporter = new InMemorySpanExporter()

/** The provider of a file's tests, with the context manager and the propagator that `register()` sets. */
function tracerProvider(): NodeTracerProvider {
  if (registered) return registered
  registered = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] })
  registered.register()
  return registered
}

/** Enables an instrumentation until the test ends. */
export function openTelemetry(
  t: ExecutionContext,
  config: PglistenInstrumentationConfig = {},
): Telemetry {
  const reader = new Reader()
  const meterProvider = new MeterProvider({ readers: [reader] })
  const provider = tracerProvider()
  const instrumentation = new PglistenInstrumentation({
    meterProvider,
    tracerProvider: provider,
    ...config,
  })
  t.teardown(async () => {
    instrumentation.disable()
    await meterProvider.shutdown()
  })
  const metrics = async () => {
    const { resourceMetrics, errors } = await reader.collect()
    t.deepEqual(errors, [])
    return resourceMetrics.scopeMetrics
      .flatMap((scope) => scope.metrics)
      .map(({ descriptor: { name, unit }, dataPoints }) => ({
        name,
        unit,
        points: (dataPoints as DataPoint<number | Histogram>[]).map(({ attributes, value }) => ({
          attributes,
          value: typeof value === 'number' ? value : value.count,
        })),
      }))
  }
  const points = async (wanted: string) =>
    (await metrics()).filter(({ name }) => name === wanted).flatMap((metric) => metric.points)
  return {
    instrumentation,
    tracerProvider: provider,
    metrics,
    points,
    value: async (name, attributes = {}) =>
      (await points(name)).find((point) =>
        Object.entries(attributes).every(([key, value]) => point.attributes[key] === value),
      )?.value,
    spans: () => exporter.getFinishedSpans(),
  }
}

/** What a span says, without times and numbers. */
export function said({ name, kind, attributes, status }: ReadableSpan) {
  return { name, kind, attributes, status: status.code }
}
