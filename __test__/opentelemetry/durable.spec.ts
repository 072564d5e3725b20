// What OpenTelemetry gets of durable subscriptions.

import test from 'ava'
import { SpanKind } from '@opentelemetry/api'
import { ConnectionPool } from 'pglisten'
import { createDatabase } from '../support/database.js'
import { serverDsn } from '../../lab/server/test-server.js'
import { uniqueName } from '../../lab/unique-name.js'
import { waitFor } from '../../lab/wait.js'
import { openTelemetry, said } from './telemetry.js'

test.serial(
  'a handler runs in a span that is a child of whoever has published, and is counted',
  async (t) => {
    const telemetry = openTelemetry(t, { spans: true, extract: true })
    const { instrumentation } = telemetry
    const url = new URL(await serverDsn())
    url.pathname = `/${await createDatabase(t)}`
    const pool = new ConnectionPool({ dsn: url.href, diagnostics: { payloads: true } })
    t.teardown(() => pool.close())
    await pool.durable.install()
    const [name, channel] = [uniqueName('subscription'), uniqueName('channel')] as const
    await instrumentation.send(channel, (inject) =>
      pool.publish(channel, JSON.stringify(inject({ id: 1 }))),
    )
    await pool.publish(channel, 'bad')
    const subscription = pool.subscription(name, {
      channels: [channel],
      from: 'beginning',
      retryDelayMs: 1,
      maxAttempts: 2,
      onFailure: 'skip',
    })
    instrumentation.observe(subscription)
    const about = { 'pglisten.subscription.name': name }
    const ending = new AbortController()
    const running = subscription.run(
      async (tx, { payload }) => {
        if (payload === 'bad') throw new RangeError('no')
        await tx.execute('SELECT 1')
      },
      { signal: ending.signal },
    )
    await waitFor(async () => (await subscription.stats()).givenUp === 1)
    await pool.publish('other', 'no event of it')
    ending.abort()
    await running
    await pool.publish(channel, 'waits')

    const spans = telemetry.spans().filter((span) => span.name === `process ${channel}`)
    t.deepEqual(
      spans.map(({ attributes }) => attributes['error.type']),
      [undefined, 'RangeError', undefined, 'RangeError'],
      // The first one comes again, because it was rolled back with the second one.
    )
    t.like(said(spans[0]!), {
      kind: SpanKind.CONSUMER,
      attributes: {
        'messaging.system.name': 'postgresql',
        'messaging.operation.name': 'process',
        'messaging.operation.type': 'process',
        'messaging.destination.name': channel,
        ...about,
      },
    })
    const sender = telemetry.spans().find((span) => span.name === `send ${channel}`)!
    t.is(spans[0]!.parentSpanContext?.spanId, sender.spanContext().spanId)
    t.is(spans[0]!.spanContext().traceId, sender.spanContext().traceId)
    const statement = telemetry
      .spans()
      .find(({ parentSpanContext: of }) => of?.spanId === spans[0]!.spanContext().spanId)
    t.is(statement?.name, 'SELECT')

    t.is(await telemetry.value('pglisten.subscription.done', about), 1)
    t.is(await telemetry.value('pglisten.subscription.failures', about), 2)
    t.is(await telemetry.value('pglisten.subscription.given_up', about), 1)
    t.is(await telemetry.value('pglisten.subscription.takeovers', about), 0)
    t.is(await telemetry.value('pglisten.subscription.lag', about), 1)
    t.true((await telemetry.value('pglisten.subscription.lag_age', about))! >= 0)
    t.true(
      (await telemetry.value('messaging.process.duration', {
        ...about,
        'error.type': 'RangeError',
      }))! >= 2,
    )
    t.throws(() => instrumentation.observe({} as never), {
      message: /a pool, a listener or a subscription/,
    })
  },
)
