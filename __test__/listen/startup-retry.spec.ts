// A process that starts before its database: `startup({ retry: true })` goes on until there is one.

import test from 'ava'
import { once } from 'node:events'
import {
  ArgumentTypeError,
  ConnectionPoolConfigurationError,
  ConnectionFailedError,
  ListenerClosedError,
} from 'pglisten'
import { startProxy } from '../../lab/network/proxy.js'
import { waitFor, within } from '../../lab/wait.js'
import {
  notify,
  openListener,
  serverChannels,
  sessionCount,
  uniqueChannel,
} from '../support/listener.js'

const reconnect = { initialDelayMs: 5, maxDelayMs: 20 }

test('it connects when the database is there, and tells of the attempts before', async (t) => {
  const proxy = await startProxy(t)
  proxy.cut()
  const channel = uniqueChannel()
  const { listener } = await openListener(t, { channels: [channel], reconnect }, { dsn: proxy.dsn })
  const warnings: string[] = []
  const gaps: unknown[] = []
  listener.on('warning', ({ message }) => warnings.push(message))
  listener.on('gap', (gap) => gaps.push(gap))
  const starting = listener.startup({ retry: true })
  await waitFor(() => proxy.refused > 2)
  t.is(listener.state, 'connecting')
  t.false(listener.isStarted)
  proxy.open()
  await within(starting)
  t.is(listener.state, 'connected')
  t.regex(warnings[0]!, /^attempt 1 to connect failed: could not connect/)
  const message = listener.messages().next()
  await notify(channel, 'first')
  t.is((await within(message)).value?.payload, 'first')
  t.deepEqual(gaps, [])
})

test('channels can be added and removed while it tries', async (t) => {
  const proxy = await startProxy(t)
  proxy.cut()
  const [first, second, third] = [uniqueChannel(), uniqueChannel(), uniqueChannel()]
  const { listener } = await openListener(
    t,
    { channels: [first, second], reconnect },
    { dsn: proxy.dsn },
  )
  const starting = listener.startup({ retry: true })
  await waitFor(() => proxy.refused > 0)
  await within(listener.removeChannel(second))
  const added = listener.addChannel(third)
  proxy.open()
  await within(Promise.all([starting, added]))
  t.deepEqual(await serverChannels(listener), [first, third].toSorted())
})

test('an abort rejects with its reason, and nothing is left running', async (t) => {
  const proxy = await startProxy(t)
  for (const retry of [true, false]) {
    const before = proxy.unanswered
    proxy.hang()
    const { listener, applicationName } = await openListener(t, { reconnect }, { dsn: proxy.dsn })
    const abort = new AbortController()
    const starting = listener.startup({ retry, signal: abort.signal })
    await waitFor(() => proxy.unanswered > before)
    const reason = new Error('enough')
    abort.abort(reason)
    t.is(await t.throwsAsync(within(starting)), reason)
    t.is(listener.state, 'idle')
    proxy.open()
    t.is(await sessionCount(applicationName), 0)
    t.is(await t.throwsAsync(listener.startup({ retry, signal: abort.signal })), reason)
    await within(listener.startup({ retry, signal: new AbortController().signal }))
    t.is(listener.state, 'connected')
  }
})

test('a shutdown ends it', async (t) => {
  const proxy = await startProxy(t)
  proxy.cut()
  const { listener } = await openListener(t, { reconnect }, { dsn: proxy.dsn })
  const failed = t.throwsAsync(listener.startup({ retry: true }), {
    instanceOf: ListenerClosedError,
  })
  await waitFor(() => proxy.refused > 0)
  await within(listener.shutdown({ timeoutMs: 60_000 }))
  await failed
  t.is(listener.state, 'idle')
})

test('a refusal that a person must mend is an error event, and it goes on', async (t) => {
  const { listener } = await openListener(
    t,
    { reconnect: { initialDelayMs: 5, maxDelayMs: 20 } },
    { dbName: 'not_yet_there' },
  )
  const errors: unknown[] = []
  listener.on('error', (error) => errors.push(error))
  const failed = t.throwsAsync(listener.startup({ retry: true }))
  await waitFor(() => errors.length > 1)
  await listener.shutdown()
  await failed
  t.like(errors[0], { sqlState: '3D000' })
})

test('what can never heal rejects, and so does the last of `maxAttempts`', async (t) => {
  const { listener } = await openListener(
    t,
    { reconnect },
    { caFile: '/no/such.crt', sslMode: 'require' },
  )
  await t.throwsAsync(within(listener.startup({ retry: true })), {
    instanceOf: ConnectionPoolConfigurationError,
  })
  t.is(listener.state, 'idle')
  const proxy = await startProxy(t)
  proxy.cut()
  const bounded = await openListener(
    t,
    { reconnect: { ...reconnect, maxAttempts: 3 } },
    { dsn: proxy.dsn },
  )
  await t.throwsAsync(within(bounded.listener.startup({ retry: true })), {
    instanceOf: ConnectionFailedError,
  })
  t.is(proxy.refused, 3)
})

test('a listener that does not reconnect can start so too, and keeps its own rule later', async (t) => {
  const proxy = await startProxy(t)
  proxy.cut()
  const { listener } = await openListener(t, { reconnect: false }, { dsn: proxy.dsn })
  const starting = listener.startup({ retry: true })
  await waitFor(() => proxy.refused > 0)
  proxy.open()
  await within(starting)
  const closed = once(listener, 'closed')
  proxy.cut()
  await within(closed)
  t.is(listener.state, 'closed')
})

test('wrong options are refused', async (t) => {
  const { listener } = await openListener(t)
  for (const options of [{ retry: 1 }, { signal: {} }, { again: true }]) {
    await t.throwsAsync(listener.startup(options as never), { instanceOf: ArgumentTypeError })
  }
  t.is(listener.state, 'idle')
})

test('the listener’s own signal rejects a startup with its reason, with and without retries', async (t) => {
  const proxy = await startProxy(t)
  proxy.hang()
  for (const retry of [true, false]) {
    const abort = new AbortController()
    const { listener } = await openListener(t, { signal: abort.signal }, { dsn: proxy.dsn })
    const starting = listener.startup({ retry })
    const before = proxy.unanswered
    await waitFor(() => proxy.unanswered >= before)
    const reason = new Error('enough')
    abort.abort(reason)
    t.is(await t.throwsAsync(starting), reason)
    t.is(await t.throwsAsync(listener.startup({ retry })), reason)
  }
})
