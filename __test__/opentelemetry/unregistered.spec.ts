// What there is without a context manager and a propagator that are registered: nothing in this file registers any.

import test from 'ava'
import {
  InMemorySpanExporter,
  NodeTracerProvider,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-node'
import { PglistenInstrumentation, inject } from 'pglisten-opentelemetry'

const PARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'

test('every span is the root of a trace, and inject puts nothing in', async (t) => {
  const exporter = new InMemorySpanExporter()
  const tracerProvider = new NodeTracerProvider({
    spanProcessors: [new SimpleSpanProcessor(exporter)],
  })
  const config = { spans: true, extract: true, metrics: false, tracerProvider }
  const instrumentation = new PglistenInstrumentation(config)
  t.teardown(() => instrumentation.disable())
  const message = { channel: 'c', payload: JSON.stringify({ traceparent: PARENT }) }
  await instrumentation.process(message, () =>
    instrumentation.send('d', async (own) => {
      t.deepEqual(own({ id: 1 }), { id: 1 })
      t.deepEqual(inject({ id: 2 }), { id: 2 })
    }),
  )
  const spans = exporter.getFinishedSpans()
  t.deepEqual(
    spans.map(({ name, parentSpanContext }) => [name, parentSpanContext]),
    [
      ['send d', undefined],
      ['process c', undefined],
    ],
  )
  t.is(new Set(spans.map((span) => span.spanContext().traceId)).size, 2)
})
