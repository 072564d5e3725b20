// The spans of callbacks, statements and what sends: their kinds, their attributes, and who is whose parent.

import test, { type ExecutionContext } from 'ava'
import {
  INVALID_SPAN_CONTEXT,
  SpanKind,
  SpanStatusCode,
  context,
  diag,
  propagation,
  trace,
  type Span,
  type Tracer,
} from '@opentelemetry/api'
import type { ReadableSpan } from '@opentelemetry/sdk-trace-node'
import { inject } from 'pglisten-opentelemetry'
import { uniqueName } from '../../lab/unique-name.js'
import { openPool } from '../support/connect.js'
import { notify, openListener, uniqueChannel } from '../support/listener.js'
import { openTelemetry, said, type Telemetry } from './telemetry.js'

const PAYLOADS = { diagnostics: { payloads: true } }

/** The spans of a trace, by name. */
function spansOf(telemetry: Telemetry, traceId: string): Map<string, ReadableSpan> {
  const all = telemetry.spans().filter((span) => span.spanContext().traceId === traceId)
  return new Map(all.map((span) => [span.name, span]))
}

/** What goes to OpenTelemetry's log as an error until the test ends. */
function loggedErrors(t: ExecutionContext): string[] {
  const errors: string[] = []
  const ignore = () => {}
  diag.setLogger({
    ...{ warn: ignore, info: ignore, debug: ignore, verbose: ignore },
    error: (...args: unknown[]) => void errors.push(args.map(String).join(' ')),
  })
  t.teardown(() => diag.disable())
  return errors
}

const failed = (what: string, type: string) => `pglisten-opentelemetry: ${what} failed (${type})`

const named = (telemetry: Telemetry, name: string) =>
  telemetry.spans().filter((span) => span.name === name)

// Each instrumentation makes the spans of all tests that run beside its own.
test.serial('one trace leads from the producer over the callback to its statement', async (t) => {
  const telemetry = openTelemetry(t, { spans: true, extract: true })
  const channel = uniqueChannel()
  const { listener, pool } = await openListener(t, { name: 'orders' }, PAYLOADS)
  await listener.addCallback(channel, async (connection, payload) => {
    await Promise.resolve()
    await connection.execute('SELECT $1', [payload])
  })
  await listener.startup()
  listener.listen()
  const tracer = telemetry.tracerProvider.getTracer('test')
  const root = tracer.startSpan('order')
  await context.with(trace.setSpan(context.active(), root), () =>
    telemetry.instrumentation.send(channel, (inject) =>
      pool.notify(channel, JSON.stringify(inject({ id: 1 }))),
    ),
  )
  root.end()
  await listener.sync()
  await listener.shutdown()

  const spans = spansOf(telemetry, root.spanContext().traceId)
  const parents = [...spans.values()].map(({ name, parentSpanContext }) => [
    name,
    [...spans.values()].find((span) => span.spanContext().spanId === parentSpanContext?.spanId)
      ?.name,
  ])
  t.deepEqual(Object.fromEntries(parents), {
    order: undefined,
    [`send ${channel}`]: 'order',
    [`process ${channel}`]: `send ${channel}`,
    SELECT: `process ${channel}`,
  })
  const messaging = {
    'messaging.system.name': 'postgresql',
    'messaging.destination.name': channel,
  }
  t.deepEqual(said(spans.get(`send ${channel}`)!), {
    name: `send ${channel}`,
    kind: SpanKind.PRODUCER,
    attributes: {
      ...messaging,
      'messaging.operation.name': 'send',
      'messaging.operation.type': 'send',
    },
    status: SpanStatusCode.UNSET,
  })
  t.deepEqual(said(spans.get(`process ${channel}`)!), {
    name: `process ${channel}`,
    kind: SpanKind.CONSUMER,
    attributes: {
      ...messaging,
      'messaging.operation.name': 'process',
      'messaging.operation.type': 'process',
      'pglisten.listener.name': 'orders',
    },
    status: SpanStatusCode.UNSET,
  })
  t.deepEqual(said(spans.get('SELECT')!), {
    name: 'SELECT',
    kind: SpanKind.CLIENT,
    attributes: { 'db.system.name': 'postgresql', 'db.operation.name': 'SELECT' },
    status: SpanStatusCode.UNSET,
  })
})

test.serial(
  'the context is found in parsed payloads, and where a function looks for it',
  async (t) => {
    const looksIn = (payload: unknown) => (payload as { headers?: object }).headers
    for (const extract of [true, looksIn] as const) {
      const telemetry = openTelemetry(t, { spans: { callbacks: true }, extract })
      const channel = uniqueChannel()
      const { listener } = await openListener<Record<string, object>>(
        t,
        { parse: (text) => JSON.parse(text) as object },
        PAYLOADS,
      )
      await listener.addCallback(channel, () => {})
      await listener.startup()
      listener.listen()
      const root = telemetry.tracerProvider.getTracer('test').startSpan('producer')
      const carried = context.with(trace.setSpan(context.active(), root), () => inject({ id: 1 }))
      t.is(carried.id, 1)
      await notify(channel, JSON.stringify(extract === true ? carried : { headers: carried }))
      await notify(channel, JSON.stringify({ id: 2 }))
      await listener.sync()
      await listener.shutdown()
      const [first, second] = named(telemetry, `process ${channel}`)
      t.is(first?.parentSpanContext?.spanId, root.spanContext().spanId)
      t.is(second?.parentSpanContext, undefined)
      telemetry.instrumentation.disable()
    }
  },
)

test.serial(
  'a payload that is no JSON, or a function that throws, costs the parent and nothing else',
  async (t) => {
    const telemetry = openTelemetry(t, { spans: true, extract: true })
    const { listener } = await openListener(t, {}, PAYLOADS)
    const channel = uniqueChannel()
    const heard: string[] = []
    await listener.addCallback(channel, (_connection, payload) => void heard.push(payload))
    await listener.startup()
    listener.listen()
    const payloads = [
      '"traceparent" {',
      '{"traceparent":1}',
      '["traceparent"]',
      'null',
      '{"traceparent":"x"}',
    ]
    for (const payload of payloads) await notify(channel, payload)
    await listener.sync()
    telemetry.instrumentation.setConfig({
      spans: true,
      extract: () => {
        throw new Error('no')
      },
    })
    await notify(channel, 'last')
    await listener.sync()
    t.deepEqual(heard, [...payloads, 'last'])
    const spans = named(telemetry, `process ${channel}`)
    t.is(spans.length, 6)
    for (const span of spans) t.is(span.parentSpanContext, undefined)
  },
)

test.serial('a callback is no child of the span in which it was registered', async (t) => {
  const telemetry = openTelemetry(t, { spans: { callbacks: true } })
  const channel = uniqueChannel()
  const { listener } = await openListener(t)
  let active: string | undefined
  const root = telemetry.tracerProvider.getTracer('test').startSpan('request')
  await context.with(trace.setSpan(context.active(), root), () =>
    listener.addCallback(channel, () => {
      active = trace.getActiveSpan()?.spanContext().spanId
    }),
  )
  await listener.startup()
  listener.listen()
  await notify(channel)
  await listener.sync()
  const [span] = named(telemetry, `process ${channel}`)
  t.is(span?.parentSpanContext, undefined)
  t.is(active, span?.spanContext().spanId)
})

test.serial('a span lasts as long as its callback, and says how that failed', async (t) => {
  const telemetry = openTelemetry(t, { spans: true })
  const channel = uniqueChannel()
  const { listener, pool } = await openListener(t)
  listener.on('error', () => {})
  await listener.addCallback(channel, async () => {
    await new Promise((resolve) => setTimeout(resolve, 30))
    throw new RangeError('hunter2')
  })
  await listener.addCallback(channel, () => {
    throw new TypeError('hunter2')
  })
  await listener.startup()
  listener.listen()
  await notify(channel)
  await listener.sync()
  await t.throwsAsync(pool.execute('SELECT 1 / 0'))
  const spans = named(telemetry, `process ${channel}`)
  t.deepEqual(
    spans.map(({ attributes }) => attributes['error.type']),
    ['RangeError', 'TypeError'],
  )
  const [seconds, nanos] = spans[0]!.duration
  t.true(seconds * 1000 + nanos / 1e6 >= 29)
  const failed = named(telemetry, 'SELECT').filter(
    ({ status }) => status.code === SpanStatusCode.ERROR,
  )
  t.deepEqual(
    failed.map(({ attributes }) => attributes),
    [
      {
        'db.system.name': 'postgresql',
        'db.operation.name': 'SELECT',
        'db.response.status_code': '22012',
        'error.type': '22012',
      },
    ],
  )
  t.false(JSON.stringify(spans.map(said)).includes('hunter2'))
  for (const { events, status } of [...spans, ...failed])
    t.deepEqual([events, status.message], [[], undefined])
})

test.serial('a batch has one span with a link to each of its senders', async (t) => {
  const telemetry = openTelemetry(t, { spans: { callbacks: true, notify: true, statements: true } })
  const channel = uniqueChannel()
  const { listener, pool } = await openListener(t)
  await listener.addChannel(channel)
  await listener.startup()
  const batches = listener.batches({ maxSize: 3, maxWaitMs: 10_000 })
  for (const id of [1, 2])
    await telemetry.instrumentation.send(channel, (inject) =>
      pool.notify(channel, JSON.stringify(inject({ id }))),
    )
  await pool.notify(channel, 'from elsewhere')
  const { value: batch } = await batches.next()
  t.is(batch?.length, 3)
  const result = await telemetry.instrumentation.process(batch!, async () => {
    await pool.execute('SELECT 1')
    return 'done'
  })
  t.is(result, 'done')
  await batches.return()
  const [span] = named(telemetry, `process ${channel}`)
  const senders = named(telemetry, `send ${channel}`)
  t.is(senders.length, 3)
  t.deepEqual(
    span?.links.map(({ context }) => context.spanId),
    senders.slice(0, 2).map((sender) => sender.spanContext().spanId),
  )
  t.is(span?.kind, SpanKind.CONSUMER)
  t.is(span?.attributes['messaging.batch.message_count'], 3)
  const statement = named(telemetry, 'SELECT').at(-1)
  t.is(statement?.parentSpanContext?.spanId, span?.spanContext().spanId)
  const duration = await telemetry.value('messaging.process.duration', {
    'messaging.destination.name': channel,
  })
  t.is(duration, 1)
})

test.serial(
  'work that returns what is only like a promise is in its span until that has settled',
  async (t) => {
    const telemetry = openTelemetry(t, { spans: true })
    const channel = uniqueChannel()
    let calls = 0
    // As the queries of some libraries are, which begin when they are awaited.
    const query = {
      // oxlint-disable-next-line no-thenable
      then(resolve: (value: string) => void) {
        calls += 1
        setTimeout(() => resolve('done'), 50)
      },
    }
    const working = telemetry.instrumentation.process([{ channel, payload: '{}' }], () => query)
    t.deepEqual(named(telemetry, `process ${channel}`), [])
    t.is(await working, 'done')
    t.is(calls, 1)
    t.is(named(telemetry, `process ${channel}`).length, 1)
  },
)

test.serial('a message of an iterator is processed in a child of its sender’s span', async (t) => {
  const telemetry = openTelemetry(t, { spans: true })
  const channel = uniqueChannel()
  const { listener, pool } = await openListener(t)
  await listener.addChannel(channel)
  await listener.startup()
  await telemetry.instrumentation.send(channel, (inject) =>
    pool.notify(channel, JSON.stringify(inject({ id: 1 }))),
  )
  for await (const message of listener) {
    t.throws(
      () =>
        telemetry.instrumentation.process(message, () => {
          throw new RangeError('no')
        }),
      { instanceOf: RangeError },
    )
    break
  }
  const [sender] = named(telemetry, `send ${channel}`)
  const [span] = named(telemetry, `process ${channel}`)
  t.is(span?.parentSpanContext?.spanId, sender?.spanContext().spanId)
  t.is(span?.attributes['error.type'], 'RangeError')
})

test.serial('nothing has spans unless it is asked for', async (t) => {
  const telemetry = openTelemetry(t)
  const channel = uniqueChannel()
  const { listener, pool } = await openListener(t)
  await listener.addCallback(channel, () => {})
  await listener.startup()
  listener.listen()
  const before = telemetry.spans().length
  await pool.notify(channel)
  await pool.execute('SELECT 1')
  t.is(
    telemetry.instrumentation.send(channel, () => 1),
    1,
  )
  t.is(
    telemetry.instrumentation.process([], () => 2),
    2,
  )
  await listener.sync()
  t.is(telemetry.spans().length, before)
})

test.serial('channels of which there are many are told by one name', async (t) => {
  const prefix = uniqueName('user')
  const channelName = (channel: string) => channel.replace(/\.\d+$/, '')
  const telemetry = openTelemetry(t, { spans: true, channelName })
  const pool = await openPool(t)
  for (const user of [1, 2]) await pool.notify(`${prefix}.${user}`)
  t.is(named(telemetry, `send ${prefix}`).length, 2)
  const about = { 'messaging.destination.name': prefix }
  t.is(await telemetry.value('messaging.client.sent.messages', about), 2)
})

test.serial('a `channelName` that fails costs the name alone', async (t) => {
  const errors = loggedErrors(t)
  const channel = uniqueChannel()
  const channelName = (channel: string): string => {
    if (channel.endsWith('none')) return undefined as never
    throw new RangeError(channel)
  }
  const telemetry = openTelemetry(t, { spans: true, durations: 'all', channelName })
  const { listener, pool } = await openListener(t)
  const called: string[] = []
  await listener.addCallback(channel, async (_connection, payload) => void called.push(payload))
  await listener.startup()
  listener.listen()
  await pool.notify(channel, 'one')
  await pool.notify(`${channel}none`)
  await listener.sync()
  const work = async () => 'done'
  t.is(await telemetry.instrumentation.process({ channel, payload: '' }, work), 'done')
  t.is(await telemetry.instrumentation.send(channel, work), 'done')
  t.deepEqual(called, ['one'])
  t.deepEqual(
    new Set(errors),
    new Set([failed('`channelName`', 'RangeError'), failed('`channelName`', 'TypeError')]),
  )
  const about = { 'messaging.destination.name': '_OTHER' }
  t.is(await telemetry.value('messaging.process.duration', about), 2)
  t.is(await telemetry.value('messaging.client.sent.messages', about), 2)
  const others = ['process _OTHER', 'send _OTHER'].map((name) => named(telemetry, name).length)
  t.deepEqual(others, [2, 3])
})

test.serial(
  'a promise of `extract` or `channelName` is none of what they are to give, and ends no process',
  async (t) => {
    const errors = loggedErrors(t)
    const rejected = () => Promise.reject(new RangeError('payload'))
    const channel = uniqueChannel()
    const telemetry = openTelemetry(t, {
      spans: true,
      extract: rejected,
      channelName: rejected as never,
    })
    const before = named(telemetry, 'process _OTHER').length
    const { listener } = await openListener(t, {}, PAYLOADS)
    const called: string[] = []
    await listener.addCallback(channel, (_connection, payload) => void called.push(payload))
    await listener.startup()
    listener.listen()
    for (const payload of ['1', '2']) await notify(channel, payload)
    await listener.sync()
    const work = () => 'done'
    t.is(telemetry.instrumentation.process({ channel, payload: '' }, work), 'done')
    t.is(telemetry.instrumentation.send(channel, work), 'done')
    t.deepEqual(called, ['1', '2'])
    // An unhandled rejection would fail the test by itself.
    await new Promise((resolve) => setImmediate(resolve))
    t.is(named(telemetry, 'process _OTHER').length - before, 3)
    const promised = errors.filter((error) => error.includes('promise'))
    t.deepEqual(promised, [
      'pglisten-opentelemetry: `extract` returned a promise, which is nothing: it has to be synchronous',
      'pglisten-opentelemetry: `channelName` returned a promise, which is nothing: it has to be synchronous',
    ])
    t.false(errors.some((error) => error.includes('payload')))
  },
)

test.serial(
  'a tracer that throws hinders no callback, and a span that throws no work',
  async (t) => {
    const errors = loggedErrors(t)
    const fail = () => {
      throw new RangeError('payload')
    }
    const tracerOf = (startSpan: Tracer['startSpan']) => ({
      tracerProvider: { getTracer: () => ({ startSpan, startActiveSpan: fail }) },
    })
    const span = trace.wrapSpanContext(INVALID_SPAN_CONTEXT)
    const endless = tracerOf(() => Object.assign(Object.create(span) as Span, { end: fail }))
    const telemetry = openTelemetry(t, { spans: true, ...endless })
    const channel = uniqueChannel()
    const work = async () => 'done'
    t.is(await telemetry.instrumentation.process([{ channel, payload: '' }], work), 'done')
    t.is(
      telemetry.instrumentation.process([], () => 'done'),
      'done',
    )
    t.deepEqual(errors, [
      failed('the end of a call', 'RangeError'),
      failed('the end of a call', 'RangeError'),
    ])
    telemetry.instrumentation.setConfig({ spans: true, ...tracerOf(fail) })
    const { listener, pool } = await openListener(t)
    const called: string[] = []
    await listener.addCallback(channel, (_connection, payload) => void called.push(payload))
    await listener.startup()
    listener.listen()
    await pool.notify(channel, 'one')
    await pool.execute('SELECT 1')
    await listener.sync()
    t.deepEqual(called, ['one'])
    t.true(errors.includes(failed('the context of a call', 'RangeError')))
    t.true(
      errors.includes(failed('what hears of `tracing:pglisten:statement:start`', 'RangeError')),
    )
  },
)

test.serial('a payload that makes its own JSON is sent as that, with the context', (t) => {
  const telemetry = openTelemetry(t, { spans: true })
  class Order {
    #id = 7
    toJSON(key: string) {
      return { id: this.#id, key }
    }
  }
  const sent = telemetry.instrumentation.send(uniqueChannel(), (own) =>
    JSON.stringify(own(new Order())),
  )
  const { traceparent, ...rest } = JSON.parse(sent) as Record<string, unknown>
  t.deepEqual(rest, { id: 7, key: '' })
  t.is(typeof traceparent, 'string')
  t.is(JSON.stringify(inject(new Order())), '{"id":7,"key":""}')
})

test.serial('who extracts without payloads is told why nothing is found', async (t) => {
  const warnings: string[] = []
  const ignore = () => {}
  diag.setLogger({
    ...{ error: ignore, info: ignore, debug: ignore, verbose: ignore },
    warn: (message) => void warnings.push(message),
  })
  t.teardown(() => diag.disable())
  openTelemetry(t, { spans: true, extract: true })
  const channel = uniqueChannel()
  const { listener } = await openListener(t)
  await listener.addCallback(channel, () => {})
  await listener.startup()
  listener.listen()
  for (const payload of ['1', '2']) await notify(channel, payload)
  await listener.sync()
  t.deepEqual(warnings, [
    'pglisten-opentelemetry: `extract` finds no payloads; the pool needs the option `diagnostics: { payloads: true }`',
  ])
})

test.serial('a context manager that comes later is found', async (t) => {
  const telemetry = openTelemetry(t, { enabled: false, spans: { callbacks: true } })
  context.disable()
  telemetry.instrumentation.enable()
  const channel = uniqueChannel()
  const { listener } = await openListener(t)
  const active: unknown[] = []
  await listener.addCallback(channel, () => {
    active.push(trace.getActiveSpan()?.spanContext().spanId)
  })
  propagation.disable()
  trace.disable()
  telemetry.tracerProvider.register()
  await listener.startup()
  listener.listen()
  await notify(channel)
  await listener.sync()
  const [span] = named(telemetry, `process ${channel}`)
  t.is(typeof span?.spanContext().spanId, 'string')
  t.deepEqual(active, [span?.spanContext().spanId])
})
