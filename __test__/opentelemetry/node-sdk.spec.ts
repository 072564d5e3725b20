// The instrumentation in OpenTelemetry's `NodeSDK`: spans that arrive over OTLP, and metrics that Prometheus scrapes.

import { createServer, type IncomingMessage, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import test, { type ExecutionContext } from 'ava'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { PrometheusExporter } from '@opentelemetry/exporter-prometheus'
import { NodeSDK } from '@opentelemetry/sdk-node'
import { context, trace } from '@opentelemetry/api'
import { PglistenInstrumentation } from 'pglisten-opentelemetry'
import { uniqueName } from '../../lab/unique-name.js'
import { openListener, uniqueChannel } from '../support/listener.js'

/** A server on this machine, until the test ends. Gives its address. */
async function serve(t: ExecutionContext, onRequest: RequestListener): Promise<string> {
  const server = createServer(onRequest)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** A span as OTLP has it in JSON, as far as it is looked at. */
interface OtlpSpan {
  traceId: string
  spanId: string
  parentSpanId?: string
  name: string
  kind: number
}

interface OtlpTraces {
  resourceSpans: {
    scopeSpans: { scope: { name: string }; schemaUrl?: string; spans: OtlpSpan[] }[]
  }[]
}

/** A sample of Prometheus's text format. */
interface Sample {
  name: string
  labels: Record<string, string>
  value: number
}

/** Parses Prometheus's text format, and refuses what it does not know. */
function parseMetrics(text: string): { samples: Sample[]; types: Map<string, string> } {
  const samples: Sample[] = []
  const types = new Map<string, string>()
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('# HELP ') || line.startsWith('# UNIT ')) continue
    const type = /^# TYPE (\S+) (counter|gauge|histogram)$/.exec(line)
    if (type) {
      types.set(type[1]!, type[2]!)
      continue
    }
    const sample = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)(?: \d+)?$/.exec(line)
    if (!sample) throw new Error(`Not a sample: ${line}`)
    const labels = [...(sample[2] ?? '').matchAll(/([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)",?/g)]
    samples.push({
      name: sample[1]!,
      labels: Object.fromEntries(labels.map(([, key, value]) => [key!, value!])),
      value: Number(sample[3]),
    })
  }
  return { samples, types }
}

test('NodeSDK exports a trace whose parents are right, and metrics that can be scraped', async (t) => {
  const received: OtlpTraces[] = []
  const otlp = await serve(t, (request: IncomingMessage, response) => {
    void json(request).then((body) => {
      received.push(body as OtlpTraces)
      response.setHeader('content-type', 'application/json').end('{}')
    })
  })
  const exporter = new PrometheusExporter({ preventServerStart: true })
  const metrics = await serve(t, (request, response) =>
    exporter.getMetricsRequestHandler(request, response),
  )
  const instrumentation = new PglistenInstrumentation({ spans: true, extract: true })
  const sdk = new NodeSDK({
    autoDetectResources: false,
    traceExporter: new OTLPTraceExporter({ url: `${otlp}/v1/traces` }),
    metricReaders: [exporter],
    instrumentations: [instrumentation],
  })
  sdk.start()

  const channel = uniqueChannel()
  const name = uniqueName('sdk')
  const { listener, pool } = await openListener(t, { name }, { diagnostics: { payloads: true } })
  await listener.addCallback(channel, async (connection) => {
    await connection.execute('SELECT 1')
  })
  await listener.startup()
  listener.listen()
  const root = trace.getTracer('test').startSpan('order')
  await context.with(trace.setSpan(context.active(), root), () =>
    instrumentation.send(channel, (inject) => pool.notify(channel, JSON.stringify(inject({})))),
  )
  root.end()
  await listener.sync()

  const response = await fetch(`${metrics}/metrics`)
  t.is(response.status, 200)
  const text = await response.text()
  const { samples, types } = parseMetrics(text)
  const sample = (metric: string, labels: Record<string, string>) =>
    samples.find(
      (one) =>
        one.name === metric &&
        Object.entries(labels).every(([key, value]) => one.labels[key] === value),
    )?.value
  const about = { pglisten_listener_name: name }
  t.is(sample('pglisten_listener_received_total', about), 1, text)
  t.is(types.get('pglisten_listener_received_total'), 'counter')
  t.is(sample('messaging_client_consumed_messages_total', about), 1)
  t.is(sample('pglisten_listener_gaps_total', { ...about, pglisten_gap_reason: 'overflow' }), 0)
  const duration = { ...about, messaging_destination_name: channel }
  t.is(types.get('messaging_process_duration'), 'histogram')
  t.is(sample('messaging_process_duration_count', duration), 1)
  t.is(sample('messaging_process_duration_bucket', { ...duration, le: '+Inf' }), 1)
  t.is(
    sample('messaging_process_duration_bucket', { ...duration, le: '0.005' }) !== undefined,
    true,
  )
  const used = { db_client_connection_pool_name: 'pglisten', db_client_connection_state: 'used' }
  t.is(sample('db_client_connection_count', used), 0)
  t.is(types.get('db_client_connection_count'), 'gauge')

  await listener.shutdown()
  await pool.close()
  await sdk.shutdown()
  const scopes = received.flatMap(({ resourceSpans }) =>
    resourceSpans.flatMap((one) => one.scopeSpans),
  )
  t.is(
    scopes.find(({ scope }) => scope.name === 'pglisten-opentelemetry')?.schemaUrl,
    'https://opentelemetry.io/schemas/1.45.0',
  )
  const { traceId } = root.spanContext()
  const spans = scopes.flatMap((scope) => scope.spans).filter((span) => span.traceId === traceId)
  const nameOf = new Map(spans.map(({ spanId, name }) => [spanId, name]))
  t.deepEqual(
    Object.fromEntries(
      spans.map(({ name, kind, parentSpanId }) => [name, [kind, nameOf.get(parentSpanId ?? '')]]),
    ),
    {
      // The kinds of OTLP: internal 1, client 3, producer 4, consumer 5.
      order: [1, undefined],
      [`send ${channel}`]: [4, 'order'],
      [`process ${channel}`]: [5, `send ${channel}`],
      SELECT: [3, `process ${channel}`],
    },
  )
})
