// Listeners that share a session are as if alone: what one does changes nothing for another.

import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { ListenerOverflowError, type Gap } from 'pglisten'
import { createDatabase } from '../support/database.js'
import { serverDsn } from '../../lab/server/test-server.js'
import { ask, notify, openListener, terminate, uniqueChannel } from '../support/listener.js'
import { FaultProxy } from '../../lab/network/fault-proxy.js'
import { deferred, waitFor, within } from '../../lab/wait.js'

/** A listener with a callback for one channel, and what that has heard; another listener of the same session beside it. */
async function pair(t: Parameters<typeof openListener>[0], options = {}) {
  const { pool } = await openListener(t)
  const [channel, beside] = [uniqueChannel(), uniqueChannel()]
  const heard: string[] = []
  const quiet = pool.listener()
  await quiet.addCallback(channel, (_connection, payload) => void heard.push(payload))
  const gaps: Gap[] = []
  quiet.on('gap', (gap) => gaps.push(gap))
  await quiet.startup()
  quiet.listen()
  const neighbour = pool.listener({ channels: [beside], ...options })
  return { pool, quiet, neighbour, channel, beside, heard, gaps }
}

test('a callback that is stuck, or that throws, holds nobody else up', async (t) => {
  const { quiet, neighbour, channel, beside, heard, gaps } = await pair(t)
  const stuck = deferred()
  const errors: unknown[] = []
  neighbour.on('error', (error) => errors.push(error))
  await neighbour.addCallback(beside, async (_connection, payload) => {
    if (payload === 'throw') throw new Error('on purpose')
    await stuck.promise
  })
  await neighbour.startup()
  neighbour.listen()
  await notify(beside, 'throw')
  await notify(beside, 'stuck')
  await notify(channel, '1')
  await quiet.sync()
  t.deepEqual(heard, ['1'])
  await waitFor(() => errors.length === 1)
  stuck.resolve()
  await neighbour.sync()
  t.is(gaps.length, 0)
})

test('an overflow with `error` closes its listener alone', async (t) => {
  const { quiet, neighbour, channel, beside, heard, gaps } = await pair(t, {
    buffer: { maxMessages: 3, overflow: 'error' },
  })
  await neighbour.startup()
  const { processId } = quiet.stats().session!
  t.is(neighbour.stats().session!.processId, processId)
  const closed = once(neighbour, 'closed')
  await ask('SELECT count(pg_notify($1, n::text)) FROM generate_series(1, 10) n', [beside])
  await notify(channel, '1')
  const [error] = (await closed) as [unknown]
  t.true(error instanceof ListenerOverflowError)
  await quiet.sync()
  t.deepEqual(heard, ['1'])
  t.is(gaps.length, 0)
  t.is(quiet.stats().session!.processId, processId)
  await waitFor(() => quiet.stats().session!.channels === 1, { what: 'its channel to be gone' })
  t.is(quiet.stats().session!.listeners, 1)

  // It may come again, at the same session.
  await neighbour.shutdown()
  await neighbour.startup()
  t.is(neighbour.stats().session!.processId, processId)
})

test('whoever waits for a listener that closed by an overflow is told, while its session goes on', async (t) => {
  const proxy = await FaultProxy.start(Number(new URL(await serverDsn()).port))
  t.teardown(() => proxy.stop())
  const { pool } = await openListener(t, {}, { dsn: proxy.dsn(await serverDsn()) })
  for (const asking of ['sync', 'addChannel'] as const) {
    const channel = uniqueChannel()
    const stays = pool.listener({ channels: [uniqueChannel()] })
    const closes = pool.listener({
      channels: [channel],
      buffer: { maxMessages: 3, overflow: 'error' },
    })
    await Promise.all([stays.startup(), closes.startup()])
    const closed = once(closes, 'closed')
    // What is asked is on its way when the listener closes, and behind the notifications when it is answered.
    proxy.beginHole()
    const asked = asking === 'sync' ? closes.sync() : closes.addChannel(uniqueChannel())
    await ask('SELECT count(pg_notify($1, n::text)) FROM generate_series(1, 10) n', [channel])
    proxy.endHole()
    await t.throwsAsync(within(asked), { instanceOf: ListenerOverflowError }, asking)
    await closed
    await stays.sync()
    await Promise.all([stays.shutdown(), closes.shutdown()])
  }
})

test('a flood for one is dropped for that one, with the exact count', async (t) => {
  const { quiet, neighbour, channel, beside, heard, gaps } = await pair(t, {
    buffer: { maxMessages: 100 },
  })
  await neighbour.startup()
  await ask('SELECT count(pg_notify($1, n::text)) FROM generate_series(1, 5000) n', [beside])
  await notify(channel, '1')
  await quiet.sync()
  t.deepEqual(heard, ['1'])
  t.is(gaps.length, 0)
  const stream = neighbour.messages({ gaps: 'include' })
  const { value } = await stream.next()
  t.like(value, { reason: 'overflow', dropped: 4900 })
  await stream.return?.()
})

test('a channel that the server refuses is the failure of who asked for it', async (t) => {
  // A name that the encoding of the database does not have.
  const database = await createDatabase(t, "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
  const dsn = new URL(await serverDsn())
  dsn.pathname = `/${database}`
  const { pool } = await openListener(t, {}, { dsn: dsn.href })
  const well = [uniqueChannel(), uniqueChannel(), uniqueChannel()]
  const [first, second, third] = well.map((channel) => pool.listener({ channels: [channel] }))
  const refused = pool.listener({ channels: ['snow ☃', uniqueChannel()] })
  // At once, so that they share the first attempt; then when the session is up.
  const started = await Promise.allSettled(
    [first!, refused, second!].map((listener) => listener.startup()),
  )
  t.deepEqual(
    started.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  )
  const late = await Promise.allSettled([refused.startup(), third!.startup()])
  t.deepEqual(
    late.map(({ status }) => status),
    ['rejected', 'fulfilled'],
  )
  t.deepEqual(first!.stats().session, {
    processId: first!.stats().session!.processId,
    listeners: 3,
    channels: 3,
  })
  await pool.notify(well[2]!, 'heard')
  const stream = third!.messages()
  t.is((await stream.next()).value?.payload, 'heard')
  await stream.return?.()
  await pool.close()
})

test('a loss is one gap for each, and none for who joins afterwards', async (t) => {
  const { quiet, neighbour, channel, heard, gaps, pool } = await pair(t)
  await neighbour.startup()
  const others: Gap[] = []
  neighbour.on('gap', (gap) => others.push(gap))
  const back = once(quiet, 'reconnected')
  const joining = pool.listener({ channels: [channel] })
  const joined: Gap[] = []
  joining.on('gap', (gap) => joined.push(gap))
  const lost = once(quiet, 'disconnected')
  await terminate(quiet.stats().session!.processId)
  await lost
  await joining.startup()
  await back
  t.deepEqual([gaps.length, others.length, joined.length], [1, 1, 0])
  t.is(gaps[0]!.newProcessId, others[0]!.newProcessId)
  await notify(channel, '1')
  await quiet.sync()
  t.deepEqual(heard, ['1'])
})

test('the end of a pool, and of a listener while it starts, is nobody else’s', async (t) => {
  const { quiet, channel, heard, gaps } = await pair(t)
  for (let round = 0; round < 20; round += 1) {
    const { pool } = await openListener(t)
    const listener = pool.listener({ channels: [channel, uniqueChannel()] })
    const startup = listener.startup()
    const watched = startup.catch((error: unknown) => error)
    if (round % 2 === 0) await sleep(round / 10)
    await pool.close()
    await watched
  }
  await notify(channel, '1')
  await quiet.sync()
  t.deepEqual(heard, ['1'])
  t.is(gaps.length, 0)
  await waitFor(() => quiet.stats().session!.listeners === 1)
  t.is(quiet.stats().session!.channels, 1)
})

test('fences of many listeners at once resolve each its own', async (t) => {
  const { pool } = await openListener(t)
  const channel = uniqueChannel()
  const heard: string[][] = []
  const listeners = await Promise.all(
    Array.from({ length: 20 }, (_, number) =>
      pool.listen({
        [channel]: (_connection, payload) => void (heard[number] ??= []).push(payload),
      }),
    ),
  )
  for (let round = 0; round < 30; round += 1) {
    await notify(channel, `${round}`)
    const which = round % 20
    await listeners[which]!.sync()
    t.is(heard[which]!.at(-1), `${round}`)
    t.is(heard[which]!.length, round + 1)
  }
})

test('ignoreOwn leaves out what its own pool sent, and others hear it', async (t) => {
  const { pool, applicationName } = await openListener(t)
  const { pool: otherPool } = await openListener(t, {}, { applicationName })
  const channel = uniqueChannel()
  const heard: Record<string, string[]> = { ignoring: [], hearing: [], other: [] }
  const all = [
    await pool.listen(
      { [channel]: (_connection, payload) => void heard['ignoring']!.push(payload) },
      { ignoreOwn: true },
    ),
    await pool.listen({
      [channel]: (_connection, payload) => void heard['hearing']!.push(payload),
    }),
    await otherPool.listen(
      { [channel]: (_connection, payload) => void heard['other']!.push(payload) },
      { ignoreOwn: true },
    ),
  ]
  t.is(new Set(all.map((it) => it.stats().session!.processId)).size, 1)
  await pool.notify(channel, 'own')
  await notify(channel, 'foreign')
  await Promise.all(all.map((listener) => listener.sync()))
  t.deepEqual(heard, {
    ignoring: ['foreign'],
    hearing: ['own', 'foreign'],
    other: ['own', 'foreign'],
  })
})
