// Whatever a program sends, runs, throws or is called by: none of it is told, unless that is asked for.

import test from 'ava'
import { assert, asyncProperty, stringMatching } from 'fast-check'
import { diag } from '@opentelemetry/api'
import { inject } from 'pglisten-opentelemetry'
import { waitFor } from '../../lab/wait.js'
import { openPool } from '../support/connect.js'
import { notify, openListener, uniqueChannel } from '../support/listener.js'
import { openTelemetry, type Telemetry } from './telemetry.js'

/** Everything that was exported or logged, as text. */
async function everything(telemetry: Telemetry, logged: unknown[]): Promise<string> {
  const spans = telemetry
    .spans()
    .map(({ name, attributes, events, links, status, resource }) => [
      name,
      attributes,
      events,
      links,
      status,
      resource.attributes,
    ])
  return JSON.stringify([spans, await telemetry.metrics(), logged])
}

/** An error with the mark wherever a program may put it. */
function marked(mark: string): Error {
  const error = new Error(mark, { cause: mark })
  return Object.assign(error, { name: mark, code: mark, sqlState: mark, payload: mark })
}

const DIAGNOSTICS = [
  { payloads: false, statements: false },
  { payloads: true, statements: true },
]

for (const diagnostics of DIAGNOSTICS) {
  test.serial(
    `no payload, parameter, literal or error is told (${JSON.stringify(diagnostics)})`,
    async (t) => {
      const logged: unknown[] = []
      const log = (...args: unknown[]) => void logged.push(args.map(String))
      diag.setLogger({ error: log, warn: log, info: log, debug: log, verbose: log })
      t.teardown(() => diag.disable())
      const telemetry = openTelemetry(t, { spans: true, extract: true, durations: 'all' })
      const channel = uniqueChannel()
      const { listener, pool } = await openListener(
        t,
        {},
        { diagnostics, applicationName: 'markapplication' },
      )
      listener.on('error', () => {})
      let called = 0
      await listener.addCallback(channel, async (connection, payload) => {
        called += 1
        await connection.execute('SELECT $1::text', [payload])
        throw marked(payload)
      })
      await listener.addCallback(channel, (_connection, payload) => {
        called += 1
        throw marked(payload)
      })
      await listener.startup()
      listener.listen()
      const mark = stringMatching(/^[a-z0-9_]{8,20}$/).map((text) => `mark${text}`)
      await assert(
        asyncProperty(mark, async (mark) => {
          const before = called
          await pool.notify(channel, mark)
          await notify(
            channel,
            JSON.stringify(inject({ [mark]: mark, traceparent: mark, baggage: mark })),
          )
          await pool.execute(`SELECT '${mark}' AS "${mark}"`)
          await t.throwsAsync(pool.execute(`SELECT '${mark}'::int`))
          await t.throwsAsync(pool.execute(`${mark} ${mark}`))
          await t.throwsAsync(
            telemetry.instrumentation.send(channel, () => Promise.reject(marked(mark))),
          )
          t.throws(() =>
            telemetry.instrumentation.process([{ channel, payload: mark }], () => {
              throw marked(mark)
            }),
          )
          await waitFor(() => called === before + 4)
          await listener.sync()
          t.false((await everything(telemetry, logged)).includes(mark))
        }),
        { numRuns: 15 },
      )
      const all = await everything(telemetry, logged)
      t.false(all.includes('markapplication'))
      t.true(all.includes(`process ${channel}`))
    },
  )
}

test.serial(
  'an `extract` that throws costs the parent alone, and its text is told to nobody',
  async (t) => {
    const logged: string[] = []
    const log = (...args: unknown[]) => void logged.push(args.map(String).join(' '))
    diag.setLogger({ error: log, warn: log, info: log, debug: log, verbose: log })
    t.teardown(() => diag.disable())
    const extract = (payload: unknown) => JSON.parse(payload as string) as object
    const telemetry = openTelemetry(t, { spans: true, extract })
    const channel = uniqueChannel()
    const { listener } = await openListener(t, {}, { diagnostics: { payloads: true } })
    const called: string[] = []
    await listener.addCallback(channel, (_connection, payload) => void called.push(payload))
    await listener.startup()
    listener.listen()
    await notify(channel, 'marksecret')
    await listener.sync()
    t.deepEqual(called, ['marksecret'])
    t.false((await everything(telemetry, logged)).includes('marksecret'))
    t.true(logged.includes('pglisten-opentelemetry: `extract` failed (SyntaxError)'))
  },
)

test.serial('the SQL is told to whoever asks for it, at both places', async (t) => {
  const telemetry = openTelemetry(t, { spans: true, queryText: true })
  const open = await openPool(t, { diagnostics: { statements: true } })
  const closed = await openPool(t)
  await open.execute("SELECT 'open', $1::text", ['parameter'])
  await closed.execute("SELECT 'closed'")
  const texts = telemetry
    .spans()
    .filter(({ name }) => name === 'SELECT')
    .map(({ attributes }) => attributes['db.query.text'])
    .slice(-2)
  t.deepEqual(texts, ["SELECT 'open', $1::text", undefined])
})
