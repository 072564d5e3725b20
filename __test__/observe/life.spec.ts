// The life of a listening session: as events, and as `pglisten:session`, `pglisten:gap` and `pglisten:warning` tell it.

import test from 'ava'
import { once } from 'node:events'
import type { GapMessage, ListenerEvents, SessionMessage, WarningMessage } from 'pglisten'
import { startProxy } from '../../lab/network/proxy.js'
import { uniqueName } from '../../lab/unique-name.js'
import { waitFor, within } from '../../lab/wait.js'
import { openListener, notify, terminate, uniqueChannel } from '../support/listener.js'
import { told } from '../support/told.js'

const FAST = { reconnect: { initialDelayMs: 1, maxDelayMs: 10 } }

test('each attempt to connect again is told before it begins, with its delay and its reason', async (t) => {
  const proxy = await startProxy(t)
  const { listener } = await openListener(t, FAST, { dsn: proxy.dsn })
  await listener.startup()
  const told: ListenerEvents['reconnecting'][0][] = []
  listener.on('reconnecting', (info) => told.push(info))
  const lost = once(listener, 'disconnected') as Promise<ListenerEvents['disconnected']>
  proxy.cut()
  const [{ error }] = await within(lost)
  await waitFor(() => told.length >= 4)
  t.deepEqual(
    told.slice(0, 4).map(({ attempt }) => attempt),
    [1, 2, 3, 4],
  )
  t.is(told[0]!.error.message, error.message)
  t.is(told[0]!.error.code, 'ERR_PGLISTEN_CONNECTION_CLOSED')
  for (const { error: cause, delayMs } of told.slice(1)) {
    t.is(cause.code, 'ERR_PGLISTEN_CONNECTION_FAILED')
    t.true(delayMs >= 0 && delayMs <= 10, String(delayMs))
  }
  const back = once(listener, 'reconnected') as Promise<ListenerEvents['reconnected']>
  proxy.open()
  const [{ gap }] = await within(back)
  t.is(told.at(-1)!.attempt, gap.attempts)
})

test('an attempt that gets no answer is followed by one without a delay', async (t) => {
  const proxy = await startProxy(t)
  const { listener } = await openListener(t, FAST, { dsn: proxy.dsn })
  await listener.startup()
  const told: ListenerEvents['reconnecting'][0][] = []
  listener.on('reconnecting', (info) => told.push(info))
  proxy.hang()
  await waitFor(() => told.length >= 3)
  t.deepEqual(
    told.slice(0, 3).map(({ attempt }) => attempt),
    [1, 2, 3],
  )
  t.deepEqual([told[1]!.delayMs, told[2]!.delayMs], [0, 0])
})

test('a startup that goes on trying tells of its attempts too', async (t) => {
  const proxy = await startProxy(t)
  const { listener } = await openListener(t, FAST, { dsn: proxy.dsn })
  proxy.cut()
  const attempts: number[] = []
  listener.on('reconnecting', ({ attempt }) => attempts.push(attempt))
  const started = listener.startup({ retry: true })
  await waitFor(() => attempts.length >= 2)
  t.is(listener.state, 'connecting')
  t.deepEqual(attempts.slice(0, 2), [2, 3])
  proxy.open()
  await within(started)
})

test('the attempts end with the last one that is allowed', async (t) => {
  const proxy = await startProxy(t)
  const reconnect = { initialDelayMs: 1, maxDelayMs: 1, maxAttempts: 2 }
  const { listener } = await openListener(t, { reconnect }, { dsn: proxy.dsn })
  await listener.startup()
  const attempts: number[] = []
  listener.on('reconnecting', ({ attempt }) => attempts.push(attempt))
  const closed = once(listener, 'closed')
  proxy.cut()
  await within(closed)
  t.deepEqual(attempts, [1, 2])
})

test('the life of a session is told from its beginning to its end', async (t) => {
  const sessions = told<SessionMessage>(t, 'pglisten:session')
  const gaps = told<GapMessage>(t, 'pglisten:gap')
  const name = uniqueName('life')
  const { listener } = await openListener(t, { ...FAST, name, channels: [uniqueChannel()] })
  await listener.startup()
  const first = listener.stats().session!.processId
  const back = once(listener, 'reconnected') as Promise<ListenerEvents['reconnected']>
  await terminate(first)
  const [{ gap }] = await within(back)
  const second = listener.stats().session!.processId
  await listener.connection.execute('SELECT 1')
  const own = listener.stats().session!.processId
  await listener.shutdown()

  const mine = sessions.filter((message) => message.listener === name)
  t.is(new Set(mine.map(({ listenerId }) => listenerId)).size, 1)
  t.deepEqual(
    mine.map(({ event, processId }) => [event, processId]),
    [
      ['connecting', undefined],
      ['connected', first],
      ['lost', first],
      ['reconnecting', undefined],
      ['connected', second],
      ['moved', own],
      ['closed', undefined],
    ],
  )
  t.not(own, second)
  const lost = mine[2]!
  t.deepEqual([lost.code, lost.sqlState], ['ERR_PGLISTEN_DATABASE', '57P01'])
  t.is(mine[3]!.attempt, 1)
  t.true(mine[3]!.delayMs! >= 0)
  const message = gaps.filter((one) => one.listener === name)
  t.is(message.length, 1)
  t.deepEqual(message[0], {
    listenerId: mine[0]!.listenerId,
    listener: name,
    reason: 'disconnect',
    lostAt: gap.lostAt,
    resumedAt: gap.resumedAt,
    downtimeMs: gap.downtimeMs,
    dropped: null,
    sqlState: '57P01',
    attempts: gap.attempts,
    serverRestarted: false,
    oldProcessId: first,
    newProcessId: second,
    merged: 1,
  })
})

test('a startup that fails is told as the end of what has begun', async (t) => {
  const sessions = told<SessionMessage>(t, 'pglisten:session')
  const name = uniqueName('life')
  const { listener } = await openListener(t, { name }, { dbName: uniqueName('missing') })
  await t.throwsAsync(listener.startup())
  const mine = sessions.filter((message) => message.listener === name)
  t.deepEqual(
    mine.map(({ event, sqlState }) => [event, sqlState]),
    [
      ['connecting', undefined],
      ['closed', '3D000'],
    ],
  )
})

test('a warning is told by its kind, and not by its text', async (t) => {
  const warnings = told<WarningMessage>(t, 'pglisten:warning')
  const name = uniqueName('life')
  const channel = uniqueChannel()
  const { listener } = await openListener(t, { name, channels: [channel] })
  const kinds: string[] = []
  listener.on('warning', ({ kind }) => kinds.push(kind))
  await listener.addCallback(channel, async (connection) => {
    await connection.execute('BEGIN')
  })
  await listener.startup()
  listener.listen()
  await listener.connection.executeBatch(`DO $$ BEGIN RAISE NOTICE 'said'; END $$`)
  await notify(channel)
  await waitFor(() => kinds.length === 2)
  t.deepEqual(kinds, ['notice', 'rollback'])
  const { listenerId } = warnings.find((one) => one.listener === name)!
  const nothing = {
    ...{ listenerId, listener: name, channel: undefined, code: undefined, sqlState: undefined },
    ...{ usage: undefined, processId: undefined },
  }
  t.deepEqual(
    warnings.filter((one) => one.listener === name),
    [
      { ...nothing, kind: 'notice', sqlState: '00000' },
      { ...nothing, kind: 'rollback', channel },
    ],
  )
})
