// What OpenTelemetry gets of durable subscriptions.

import test from 'ava'
import { SpanKind } from '@opentelemetry/api'
import { ConnectionPool } from 'pglisten'
import { ServerWitness } from '../../lab/witness.js'
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

test.serial(
  'a server that does not answer is asked for a lag once, and for a bounded time',
  async (t) => {
    const telemetry = openTelemetry(t)
    const url = new URL(await serverDsn())
    url.pathname = `/${await createDatabase(t)}`
    const applicationName = uniqueName('app')
    const pool = new ConnectionPool({ dsn: url.href, applicationName })
    const outside = new ServerWitness(url.href)
    t.teardown(async () => {
      await pool.close()
      await outside.close()
    })
    await pool.durable.install()
    const [name, channel] = [uniqueName('subscription'), uniqueName('channel')] as const
    const subscription = pool.subscription(name, { channels: [channel], from: 'beginning' })
    const ending = new AbortController()
    const running = subscription.run(() => {}, { signal: ending.signal })
    await waitFor(async () => (await pool.durable.subscriptions()).length === 1)
    ending.abort()
    await running
    telemetry.instrumentation.observe(subscription)
    const lag = () =>
      telemetry.value('pglisten.subscription.lag', { 'pglisten.subscription.name': name })

    const asking = () =>
      outside.ask<number>(
        `SELECT count(*)::int4 FROM pg_stat_activity
       WHERE application_name = $1 AND state = 'active' AND query LIKE '%pglisten.lag%'`,
        [applicationName],
      )
    await using holder = await outside.session()
    await holder.run('BEGIN; LOCK TABLE pglisten.event')
    const began = performance.now()
    let isOver = false
    const collected = Promise.all([lag(), lag(), lag()]).finally(() => (isOver = true))
    let most = 0
    await waitFor(async () => {
      most = Math.max(most, await asking())
      return isOver
    })
    t.deepEqual(await collected, [undefined, undefined, undefined])
    t.is(most, 1)
    t.true(performance.now() - began < 10_000)
    // It does not wait on the server either.
    await waitFor(async () => (await asking()) === 0)
    await holder.run('COMMIT')
    t.is(await lag(), 0)
  },
)
