// The tracing channels: callbacks, statements and notifications, as a tracer follows them.

import test from 'ava'
import { AsyncLocalStorage } from 'node:async_hooks'
import { tracingChannel } from 'node:diagnostics_channel'
import type { CallbackContext, NotifyContext, StatementContext } from 'pglisten'
import { uniqueName } from '../../lab/unique-name.js'
import { deferred, waitFor } from '../../lab/wait.js'
import { openPool } from '../support/connect.js'
import { openListener, notify, terminate, uniqueChannel } from '../support/listener.js'
import { moments } from '../support/told.js'

const names = (all: { moment: string }[]) => all.map(({ moment }) => moment)

test('a callback is traced from its call to its promise', async (t) => {
  const all = moments<CallbackContext>(t, 'pglisten:callback')
  const name = uniqueName('traced')
  const [sync, async, failing] = [uniqueChannel(), uniqueChannel(), uniqueChannel()]
  const { listener } = await openListener(t, { name })
  listener.on('error', () => {})
  const gate = deferred()
  await listener.addCallback(sync, () => 'a result')
  await listener.addCallback(async, () => gate.promise)
  await listener.addCallback(failing, async () => {
    throw new TypeError('a secret')
  })
  await listener.startup()
  listener.listen()
  const of = (channel: string) => all.filter(({ context }) => context.channel === channel)

  await notify(sync, 'payload')
  await listener.sync()
  t.deepEqual(names(of(sync)), ['start', 'end'])
  const { context } = of(sync)[0]!
  t.deepEqual(context, {
    listenerId: context.listenerId,
    listener: name,
    channel: sync,
    processId: context.processId,
    payload: undefined,
    error: undefined,
  })
  t.true(context.processId! > 0)

  await notify(async)
  await waitFor(() => of(async).length === 2)
  t.deepEqual(names(of(async)), ['start', 'end'])
  gate.resolve()
  await listener.sync()
  t.deepEqual(names(of(async)), ['start', 'end', 'asyncStart', 'asyncEnd'])
  t.is(new Set(of(async).map(({ call }) => call)).size, 1)

  await notify(failing)
  await listener.sync()
  t.deepEqual(names(of(failing)), ['start', 'end', 'error', 'asyncStart', 'asyncEnd'])
  t.deepEqual(of(failing)[2]!.context.error, {
    name: 'TypeError',
    code: undefined,
    sqlState: undefined,
  })
})

test('a callback that returns any other promise is waited for while it is traced, as otherwise', async (t) => {
  const all = moments<CallbackContext>(t, 'pglisten:callback')
  const channel = uniqueChannel()
  const { listener } = await openListener(t)
  const errors: unknown[] = []
  listener.on('error', (error) => errors.push(error.cause))
  const log: string[] = []
  const cause = new Error('no')
  const outcomes: Record<string, () => unknown> = {
    // Its `then()` returns nothing.
    later: () => ({
      // oxlint-disable-next-line no-thenable
      then: (resolve: () => void) =>
        void setTimeout(() => {
          log.push('end later')
          resolve()
        }, 50),
    }),
    refused: () => ({
      // oxlint-disable-next-line no-thenable
      then: (_: unknown, reject: (reason: unknown) => void) => reject(cause),
    }),
    // oxlint-disable-next-line no-thenable
    own: () => Object.assign(Promise.reject(cause), { then: () => {} }),
  }
  await listener.addCallback(channel, (_connection, payload) => {
    log.push(`begin ${payload}`)
    return outcomes[payload]!()
  })
  await listener.startup()
  listener.listen()
  for (const payload of ['later', 'later', 'refused', 'own', 'later'])
    await notify(channel, payload)
  await listener.sync()
  t.deepEqual(log, [
    'begin later',
    'end later',
    'begin later',
    'end later',
    'begin refused',
    'begin own',
    'begin later',
    'end later',
  ])
  t.deepEqual(errors, [cause, cause])
  const of = names(all.filter(({ context }) => context.channel === channel))
  t.is(of.filter((moment) => moment === 'asyncEnd').length, 5)
  t.is(of.filter((moment) => moment === 'error').length, 2)
})

test('a callback that throws is told before its end', async (t) => {
  const all = moments<CallbackContext>(t, 'pglisten:callback')
  const channel = uniqueChannel()
  const { listener } = await openListener(t)
  const errors: unknown[] = []
  listener.on('error', (error) => errors.push(error.cause))
  const thrown = Object.assign(new Error('a secret'), { code: 'E_NAME' })
  await listener.addCallback(channel, () => {
    throw thrown
  })
  await listener.startup()
  listener.listen()
  await notify(channel)
  await listener.sync()
  const mine = all.filter(({ context }) => context.channel === channel)
  t.deepEqual(names(mine), ['start', 'error', 'end'])
  t.deepEqual(mine[1]!.context.error, { name: 'Error', code: 'E_NAME', sqlState: undefined })
  t.deepEqual(errors, [thrown])
})

test('a store that a tracer binds is there in the callback, to its end', async (t) => {
  const spans = new AsyncLocalStorage<string>()
  const outer = new AsyncLocalStorage<string>()
  const channels = tracingChannel<string, CallbackContext>('pglisten:callback')
  const start = channels.start as unknown as {
    bindStore(store: unknown, transform: (context: CallbackContext) => string): void
    unbindStore(store: unknown): void
  }
  start.bindStore(spans, (context) => `span of ${context.channel}`)
  t.teardown(() => start.unbindStore(spans))
  const channel = uniqueChannel()
  const { listener } = await openListener(t)
  const seen: unknown[] = []
  await outer.run('outer', () =>
    listener.addCallback(channel, async () => {
      seen.push([spans.getStore(), outer.getStore()])
      await Promise.resolve()
      seen.push(spans.getStore())
    }),
  )
  await outer.run('outer', () =>
    listener.addCallback(channel, () => void seen.push(spans.getStore())),
  )
  await listener.startup()
  listener.listen()
  await notify(channel)
  await notify(channel)
  await listener.sync()
  const span = `span of ${channel}`
  t.deepEqual(seen, [[span, 'outer'], span, span, [span, 'outer'], span, span])
  t.is(spans.getStore(), undefined)
})

test('whoever subscribes during a run of deliveries hears of the next one, and delivery goes on', async (t) => {
  const channel = uniqueChannel()
  const { listener } = await openListener(t)
  const heard: string[] = []
  let all: { context: CallbackContext }[] = []
  await listener.addCallback(channel, (_connection, payload) => {
    heard.push(payload)
    if (payload === '2') all = moments<CallbackContext>(t, 'pglisten:callback')
  })
  await listener.startup()
  listener.listen()
  for (const payload of ['1', '2', '3']) await notify(channel, payload)
  await listener.sync()
  await notify(channel, '4')
  await listener.sync()
  t.deepEqual(heard, ['1', '2', '3', '4'])
  t.true(all.filter(({ context }) => context.channel === channel).length >= 2)
})

test('the callbacks of a gap are traced too', async (t) => {
  const all = moments<CallbackContext>(t, 'pglisten:callback')
  const name = uniqueName('traced')
  const { listener } = await openListener(t, {
    name,
    reconnect: { initialDelayMs: 1, maxDelayMs: 10 },
  })
  const handled = deferred()
  listener.addGapCallback(() => handled.resolve())
  await listener.startup()
  listener.listen()
  await terminate(listener.stats().session!.processId)
  await handled.promise
  const mine = all.filter(({ context }) => context.listener === name)
  t.deepEqual(names(mine), ['start', 'end'])
  t.like(mine[0]!.context, { channel: undefined, processId: undefined })
})

test('payloads and errors are told to whoever has asked for them', async (t) => {
  const all = moments<CallbackContext>(t, 'pglisten:callback')
  const notified = moments<NotifyContext>(t, 'pglisten:notify')
  const channel = uniqueChannel()
  const diagnostics = { payloads: true }
  const { listener, pool } = await openListener(t, { parse: JSON.parse }, { diagnostics })
  listener.on('error', () => {})
  const thrown = new Error('as it was thrown')
  await listener.addCallback(channel, () => {
    throw thrown
  })
  await listener.startup()
  listener.listen()
  await pool.notify(channel, '{"traceparent":"00-1"}')
  await listener.sync()
  const [start, failed] = all.filter(({ context }) => context.channel === channel)
  t.deepEqual(start!.context.payload, { traceparent: '00-1' })
  t.is(failed!.context.error, thrown)
  const sent = notified.find(({ context }) => context.channel === channel)
  t.deepEqual(sent!.context.payloads, ['{"traceparent":"00-1"}'])
})

test('a call that notifies is traced, by whichever method', async (t) => {
  const all = moments<NotifyContext>(t, 'pglisten:notify')
  const pool = await openPool(t)
  const channel = uniqueChannel()
  await pool.notify(channel, 'one')
  await pool.notifyMany(channel, ['one', 'two'])
  const notifier = pool.notifier(channel)
  await Promise.all(['a', 'b', 'c'].map((payload) => notifier.notify(payload)))
  const mine = all.filter(({ context }) => context.channel === channel)
  const starts = mine.filter(({ moment }) => moment === 'start')
  t.deepEqual(
    starts.map(({ context }) => context),
    [1, 2, 3].map((count) => ({ channel, count, payloads: undefined, error: undefined })),
  )
  t.is(mine.filter(({ moment }) => moment === 'asyncEnd').length, 3)
})

test('a statement is traced with its method and its backend, and with its text if that was asked for', async (t) => {
  const all = moments<StatementContext>(t, 'pglisten:statement')
  for (const statements of [false, true]) {
    all.length = 0
    const pool = await openPool(t, { diagnostics: { statements } })
    const connection = await pool.connection()
    const { processId } = connection.info
    const text = (sql: string) => (statements ? sql : undefined)
    const mine = () =>
      all
        .filter(({ moment, context }) => moment === 'start' && context.processId === processId)
        .map(({ context: { method, command, text } }) => [method, command, text])

    await connection.fetchVal('SELECT $1::int', [7])
    await connection.executeMany('SELECT $1::int', [[1], [2]])
    await connection.executeBatch('  create temporary table traced (n int)')
    await connection.pipeline(['VALUES (1)', 'VALUES (2)'])
    await connection.transaction(async (tx) => {
      await tx.execute('/* comment */ SELECT 1')
      for await (const row of tx.cursor('SELECT 2')) t.truthy(row)
    })
    await connection.copyFrom('COPY traced FROM STDIN', ['1\n'])
    for await (const chunk of connection.copyTo('COPY traced TO STDOUT')) t.truthy(chunk)
    const prepared = await connection.prepare('SELECT 3')
    await prepared.execute()
    await t.throwsAsync(connection.execute(`SELECT 1/0, 'secret'`))
    t.deepEqual(mine(), [
      ['execute', 'SELECT', text('SELECT $1::int')],
      ['executeMany', 'SELECT', text('SELECT $1::int')],
      ['executeBatch', 'CREATE', text('  create temporary table traced (n int)')],
      ['pipeline', 'VALUES', text('VALUES (1);\nVALUES (2)')],
      ['begin', 'BEGIN', text('BEGIN')],
      ['execute', undefined, text('/* comment */ SELECT 1')],
      ['cursor', 'SELECT', text('SELECT 2')],
      ['commit', 'COMMIT', text('COMMIT')],
      ['copyFrom', 'COPY', text('COPY traced FROM STDIN')],
      ['copyTo', 'COPY', text('COPY traced TO STDOUT')],
      ['prepare', 'SELECT', text('SELECT 3')],
      ['execute', 'SELECT', text('SELECT 3')],
      ['execute', 'SELECT', text(`SELECT 1/0, 'secret'`)],
    ])
    const failed = all.find(({ moment }) => moment === 'error')!.context.error
    if (statements) t.like(failed, { sqlState: '22012', message: 'division by zero' })
    else {
      t.deepEqual(failed, {
        name: 'DatabaseError',
        code: 'ERR_PGLISTEN_DATABASE',
        sqlState: '22012',
      })
    }
    await connection.close()
  }
})

test('the statement that leases a connection is told with its backend at its end', async (t) => {
  const all = moments<StatementContext>(t, 'pglisten:statement')
  const channel = uniqueChannel()
  const { listener } = await openListener(t)
  const backend = deferred<number>()
  await listener.addCallback(channel, async (connection) => {
    backend.resolve(await connection.fetchVal<number>('SELECT pg_backend_pid()'))
  })
  await listener.startup()
  listener.listen()
  await notify(channel)
  const processId = await backend.promise
  const ended = all.find(({ context }) => context.processId === processId)!
  t.is(ended.moment, 'asyncStart')
  t.is(all.find(({ call }) => call === ended.call)!.context.processId, undefined)
})

test('statements keep their order while somebody traces them', async (t) => {
  moments(t, 'pglisten:statement')
  const pool = await openPool(t)
  const connection = await pool.connection()
  await connection.executeBatch('CREATE TEMPORARY TABLE ordered (n serial, word text)')
  const insert = (word: string) =>
    connection.execute('INSERT INTO ordered (word) VALUES ($1)', [word])
  await Promise.all(['a', 'b', 'c'].map(insert))
  const rows = await connection.execute<{ word: string }>('SELECT word FROM ordered ORDER BY n')
  t.deepEqual(
    [...rows].map(({ word }) => word),
    ['a', 'b', 'c'],
  )
  await connection.close()
})
