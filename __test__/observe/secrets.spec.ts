// Nobody who has not asked for it finds a payload, a parameter, SQL, a password or an address in what is told.

import test from 'ava'
import * as fc from 'fast-check'
import { once } from 'node:events'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { inspect } from 'node:util'
import { ConnectionPool, type DurableEvent, type Transaction } from 'pglisten'
import { startProxy } from '../../lab/network/proxy.js'
import { serverDsn } from '../../lab/server/test-server.js'
import { uniqueName } from '../../lab/unique-name.js'
import { within } from '../../lab/wait.js'
import { ask, openListener, run, uniqueChannel } from '../support/listener.js'
import { unit, wellFormed } from '../support/names.js'

const PLAIN = ['pglisten:session', 'pglisten:gap', 'pglisten:warning', 'pglisten:subscription']
const TRACED = [
  'pglisten:callback',
  'pglisten:handler',
  'pglisten:statement',
  'pglisten:notify',
].flatMap((name) =>
  ['start', 'end', 'asyncStart', 'asyncEnd', 'error'].map((moment) => `tracing:${name}:${moment}`),
)

/** Keeps what every channel tells, as whoever writes it to a log would have it, and as it is. */
function keepAll(): { texts: string[]; channels: Set<string>; stop(): void } {
  const texts: string[] = []
  const channels = new Set<string>()
  const keep = (message: unknown, name: string | symbol) => {
    channels.add(String(name))
    texts.push(JSON.stringify(message))
    texts.push(inspect(message, { depth: Infinity, showHidden: true, getters: true }))
  }
  const all = [...PLAIN, ...TRACED]
  for (const channel of all) subscribe(channel, keep)
  return { texts, channels, stop: () => all.forEach((channel) => unsubscribe(channel, keep)) }
}

/** The mark that stands in everything that may be secret: no escape of a log changes it. */
const MARK = 'zqj7secret'

/** The mark of what a server says. */
const NOTICE = 'zqj7notice'

/** A text with the mark in it, among characters that a careless log would trip over. */
const marked = fc.array(unit, { maxLength: 10 }).map((units) => {
  const text = `${units.join('')}${MARK}${units.join('')}`
  return wellFormed(text) ? text.replaceAll('\0', '') : MARK
})

/** Has an event fail in two ways until it is given up, and another one done. */
async function workDurably(
  pool: ConnectionPool,
  channel: string,
  payload: string,
  parameter: string,
) {
  await pool.publish(channel, payload, { key: parameter })
  await pool.publish(channel, payload)
  const ending = new AbortController()
  const subscription = pool.subscription(channel, {
    channels: [channel],
    from: 'beginning',
    maxAttempts: 2,
    retryDelayMs: 1,
    onFailure: 'skip',
  })
  const handle = async (tx: Transaction, event: DurableEvent) => {
    if (event.key === null) return ending.abort()
    if (event.attempt > 1) await tx.execute('SELECT $1::text::int', [parameter])
    throw Object.assign(new Error(event.payload), { code: parameter, name: payload })
  }
  await within(subscription.run(handle, { signal: ending.signal }))
  await pool.durable.drop(channel)
}

test('no message of any channel holds anything that may be secret', async (t) => {
  const user = uniqueName('user')
  const password = `${MARK}password`
  await run(`CREATE ROLE ${user} LOGIN PASSWORD '${password}'`)
  t.teardown(() => run(`DROP OWNED BY ${user}; DROP ROLE ${user}`))
  await using admin = new ConnectionPool(await serverDsn())
  await admin.durable.install({ subscribers: [user] })
  const seen = new Set<string>()
  const property = fc.asyncProperty(marked, marked, async (payload, parameter) => {
    const proxy = await startProxy(t)
    const dsn = new URL(proxy.dsn)
    dsn.username = user
    dsn.password = password
    const kept = keepAll()
    const logged: string[] = []
    const log = (...args: unknown[]) => void logged.push(inspect(args, { depth: Infinity }))
    const logger = { debug: log, info: log, warn: log, error: log }
    const { listener, pool } = await openListener(
      t,
      { reconnect: { initialDelayMs: 1, maxDelayMs: 5 }, slowCallbackMs: 1, parse: JSON.parse },
      { dsn: dsn.href, logger },
    )
    try {
      const channel = uniqueChannel()
      listener.on('error', () => {})
      const literal = `'${parameter.replaceAll("'", "''")}'`
      const handled = { count: 0 }
      await listener.addCallback(channel, async (connection, value) => {
        handled.count += 1
        await connection.execute('SELECT $1::text', [parameter])
        await connection.execute(`SELECT ${literal}`)
        // Each of these fails with a message of the server's that shows the value.
        await connection.execute('SELECT $1::text::int', [parameter]).catch(() => {})
        await connection.executeBatch(`DO ${literal}`).catch(() => {})
        await connection.execute('BEGIN')
        throw Object.assign(new Error(value), { code: parameter, name: payload })
      })
      await listener.addCallback(channel, (_connection, value) => {
        // Thrown values need not be errors.
        throw { message: value, code: payload }
      })
      listener.addGapCallback((_connection, gap) => Promise.reject(new Error(gap.message + MARK)))
      await listener.startup()
      listener.listen()
      await pool.notify(channel, JSON.stringify(payload))
      await pool.notifyMany(channel, [payload, JSON.stringify(payload)])
      await workDurably(pool, channel, payload, parameter)
      await listener.connection.execute(`DO $mark$ BEGIN RAISE NOTICE '${NOTICE}'; END $mark$`)
      await listener.sync()
      t.true(handled.count >= 2)
      const lost = once(listener, 'disconnected')
      const again = once(listener, 'reconnected')
      const warned = once(listener, 'warning')
      proxy.cut()
      await within(Promise.all([lost, warned]))
      await pool.notify(channel, JSON.stringify(payload)).catch(() => {})
      proxy.open()
      await within(again)
      await listener.sync()
      await listener.shutdown()
      const wrong = new URL(dsn)
      wrong.password = `${MARK}wrong`
      const refused = await openListener(t, {}, { dsn: wrong.href, logger })
      await t.throwsAsync(refused.listener.startup())
    } finally {
      await pool.close()
      kept.stop()
    }
    for (const name of kept.channels) seen.add(name)
    t.true(kept.texts.length > 20)
    for (const text of kept.texts) {
      if ([MARK, NOTICE, dsn.hostname, `:${dsn.port}`].some((secret) => text.includes(secret)))
        t.fail(text)
    }
    // A logger gets the texts of errors and notices too, and none of the user's data.
    t.true(logged.some((text) => text.includes(NOTICE)))
    const leaked = logged.find((text) => text.includes(MARK))
    if (leaked) t.fail(leaked)
  })
  await fc.assert(property, { numRuns: 6 })
  // What told nothing would prove nothing.
  t.deepEqual(
    [...PLAIN, ...TRACED].filter((name) => !seen.has(name)),
    [],
  )
  t.is(await ask('SELECT 1'), 1)
})
