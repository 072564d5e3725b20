// The names of listeners, as `pg_stat_activity` tells them.

import test from 'ava'
import * as fc from 'fast-check'
import type { Listener } from 'pglisten'
import { uniqueName } from '../../lab/unique-name.js'
import { waitFor } from '../../lab/wait.js'
import { openPool } from '../support/connect.js'
import { ask, notify, openListener, uniqueChannel } from '../support/listener.js'
import { unit, wellFormed } from '../support/names.js'

const HEARTBEAT = { intervalMs: 50, timeoutMs: 5000 }

const activity = (listener: Listener, column: 'query' | 'application_name') =>
  ask<string>(`SELECT ${column} FROM pg_stat_activity WHERE pid = $1`, [
    listener.stats().session!.processId,
  ])

test('a session tells the names of its listeners, each once, and counts the others', async (t) => {
  const heartbeat = { ...HEARTBEAT, timeoutMs: 4999 }
  const { listener, pool } = await openListener(t, { name: 'orders', heartbeat })
  await listener.startup()
  // Before the first heartbeat too.
  t.regex(await activity(listener, 'query'), /^\/\* pglisten: orders; 1 listeners, 0 channels \*\//)
  const others = ['orders', 'cache', 'audit', undefined, 'more', 'most'].map((name) =>
    pool.listener({ name, heartbeat }),
  )
  for (const other of others) await other.startup()
  const expected = '/* pglisten: orders, cache, audit and 3 more; 7 listeners, 0 channels */'
  await waitFor(async () => (await activity(listener, 'query')).startsWith(expected), {
    what: expected,
  })
  await Promise.all(others.map((other) => other.shutdown()))
  await waitFor(async () => (await activity(listener, 'query')).includes(': orders; 1 listeners'))
  t.is(listener.stats().session!.listeners, 1)
})

test('application_name tells the names, unless the user has set one', async (t) => {
  const heartbeat = { ...HEARTBEAT, timeoutMs: 4998 }
  const pool = await openPool(t)
  const listener = pool.listener({ name: 'orders', heartbeat })
  await listener.startup()
  t.is(await activity(listener, 'application_name'), 'pglisten: orders')
  // One whose listeners have no name is what it was.
  const unnamed = pool.listener({ session: 'own' })
  await unnamed.startup()
  t.is(await activity(unnamed, 'application_name'), 'pglisten')
  const { listener: set, applicationName } = await openListener(t, { name: 'orders', heartbeat })
  await set.startup()
  t.is(await activity(set, 'application_name'), applicationName)
  // As long as the server takes them.
  const long = pool.listener({ name: 'x'.repeat(63), session: 'own' })
  await long.startup()
  t.is(await activity(long, 'application_name'), `pglisten: ${'x'.repeat(53)}`)
})

test('a listener that moves takes its name along', async (t) => {
  const { listener } = await openListener(t, { name: 'mover', heartbeat: HEARTBEAT })
  await listener.startup()
  const before = listener.stats().session!.processId
  await listener.connection.execute('SELECT 1')
  t.not(listener.stats().session!.processId, before)
  await waitFor(async () => (await activity(listener, 'query')).includes('pglisten: mover; 1'))
  t.pass()
})

test('no name closes the comment that it stands in, or stops the heartbeat', async (t) => {
  const hostile = [
    "*/ SELECT pg_notify('stolen', ''); /*",
    '/* never closed',
    '/',
    '*',
    "'; DROP TABLE x; --",
    '$$',
    '\\',
    '漢字 é 😀',
    '\n\r\t\u0001',
    '\ud800',
  ]
  const stolen = uniqueName('stolen')
  const name = fc.array(unit, { minLength: 1, maxLength: 70 }).map((units) => {
    let text = ''
    for (const one of units) if (wellFormed(one) && (text + one).length <= 63) text += one
    return text || 'x'
  })
  const property = fc.asyncProperty(name, async (given) => {
    // A pool of its own tells by its application name which session is the listener's.
    const { listener } = await openListener(t, {
      name: given,
      heartbeat: HEARTBEAT,
      session: 'own',
    })
    const warnings: string[] = []
    listener.on('warning', ({ message }) => warnings.push(message))
    const channel = uniqueChannel()
    await listener.addChannel(channel)
    await listener.startup()
    // The answer of a heartbeat, which has the comment in it.
    await waitFor(() => listener.stats().lastRoundTripMs !== undefined, { what: given })
    const query = await activity(listener, 'query')
    t.regex(
      query,
      /^\/\* pglisten: [A-Za-z0-9 ._:/@#+?-]{1,63}; 1 listeners, 1 channels \*\/ SELECT pg_catalog/,
    )
    const messages = listener.messages()
    await notify(channel, 'heard')
    t.is((await messages.next()).value?.payload, 'heard')
    t.deepEqual(warnings, [])
    t.is(listener.state, 'connected')
    await listener.shutdown()
  })
  await fc.assert(property, {
    numRuns: 30,
    examples: hostile.map((one) => [one.replace('stolen', stolen).slice(0, 63)]),
  })
})

test('what is no name is refused', async (t) => {
  const { pool } = await openListener(t)
  for (const name of ['', 'x'.repeat(64), 'a\0b'])
    t.throws(() => pool.listener({ name }), { code: 'ERR_PGLISTEN_ARGUMENT_RANGE' })
  for (const name of [7, null, {}])
    t.throws(() => pool.listener({ name: name as never }), { code: 'ERR_PGLISTEN_ARGUMENT_TYPE' })
})
