// A signal may live as long as the program: whatever becomes of a call, its listener is off the signal afterwards.

import test, { type ExecutionContext } from 'ava'
import { getEventListeners, once } from 'node:events'
import type { Listener } from 'pglisten'
import { backendOf, notify, openListener, terminate, uniqueChannel } from '../support/listener.js'
import { collect, waitFor } from '../../lab/wait.js'

interface Options {
  signal: AbortSignal
  gaps?: 'skip' | 'throw'
}

const count = (signal: AbortSignal) => getEventListeners(signal, 'abort').length

const kinds: Record<
  string,
  (listener: Listener, options: Options) => AsyncIterableIterator<unknown>
> = {
  messages: (listener, options) => listener.messages(options),
  batches: (listener, options) => listener.batches(options),
  columns: (listener, options) => listener.batches({ ...options, shape: 'columns' }),
}

for (const [kind, iterate] of Object.entries(kinds)) {
  const open = async (t: ExecutionContext, gaps: 'skip' | 'throw' = 'skip') => {
    const channel = uniqueChannel()
    const { listener } = await openListener(t, { channels: [channel] })
    await listener.startup()
    const controller = new AbortController()
    const { signal } = controller
    const stream = iterate(listener, { signal, gaps })
    t.is(count(signal), 1)
    return { listener, channel, controller, signal, stream }
  }

  test(`${kind}() leaves no listener on its signal after a break`, async (t) => {
    const { channel, signal, stream } = await open(t)
    await notify(channel)
    for await (const item of stream) {
      t.truthy(item)
      break
    }
    t.is(count(signal), 0)
  })

  test(`${kind}() leaves no listener on its signal after an abort`, async (t) => {
    const { controller, signal, stream } = await open(t)
    const next = stream.next()
    controller.abort(new Error('enough'))
    await t.throwsAsync(next, { message: 'enough' })
    t.is(count(signal), 0)
  })

  test(`${kind}() leaves no listener on its signal after a shutdown`, async (t) => {
    const { listener, signal, stream } = await open(t)
    const next = stream.next()
    await listener.shutdown()
    t.like(await next, { done: true })
    t.is(count(signal), 0)
  })

  test(`${kind}() leaves no listener on its signal after an error`, async (t) => {
    const { listener, signal, stream } = await open(t, 'throw')
    const next = stream.next()
    await terminate(await backendOf(listener))
    await t.throwsAsync(next, { code: 'ERR_PGLISTEN_LISTENER_GAP' })
    t.is(count(signal), 0)
  })

  test.serial(`${kind}() that nobody holds leaves no listener on its signal`, async (t) => {
    const { listener } = await openListener(t, { channels: [uniqueChannel()] })
    await listener.startup()
    const { signal } = new AbortController()
    const forget = () => void iterate(listener, { signal })
    forget()
    t.is(count(signal), 1)
    await waitFor(
      () => {
        globalThis.gc!()
        return count(signal) === 0
      },
      { what: 'the iterator to be collected' },
    )
  })

  test(`${kind}() with an aborted signal adds no listener to it`, async (t) => {
    const { listener } = await openListener(t)
    await listener.startup()
    const signal = AbortSignal.abort(new Error('before'))
    await t.throwsAsync(iterate(listener, { signal }).next(), { message: 'before' })
    t.is(count(signal), 0)
  })
}

test('sync() leaves no listener on its signal, whatever becomes of it', async (t) => {
  const channel = uniqueChannel()
  const { listener } = await openListener(t, { channels: [channel] })
  await listener.startup()
  const controller = new AbortController()
  const { signal } = controller
  for (let n = 0; n < 20; n += 1) await listener.sync({ signal })
  t.is(count(signal), 0)

  // A consumer that does not read is not passed by a fence.
  const messages = listener.messages()
  await notify(channel)
  const passed = listener.sync({ signal })
  t.is(count(signal), 1)
  await collect(messages, 1)
  const ended = messages.return()
  await Promise.all([passed, ended])
  t.is(count(signal), 0)

  const held = listener.messages()
  await notify(channel)
  const aborted = listener.sync({ signal })
  controller.abort(new Error('enough'))
  await t.throwsAsync(aborted, { message: 'enough' })
  t.is(count(signal), 0)

  const other = new AbortController()
  const closed = listener.sync({ signal: other.signal })
  t.is(count(other.signal), 1)
  await Promise.all([
    t.throwsAsync(closed, { code: 'ERR_PGLISTEN_LISTENER_CLOSED' }),
    listener.shutdown(),
  ])
  t.is(count(other.signal), 0)
  await held.return()
})

test('a listener is off its signal after a shutdown, and there once after each restart', async (t) => {
  const { signal } = new AbortController()
  const { listener } = await openListener(t, { signal, reconnect: false })
  t.is(count(signal), 0)
  for (let n = 0; n < 3; n += 1) {
    await listener.startup()
    t.is(count(signal), 1)
    // The listener gives up, and is started again without a shutdown.
    const closed = once(listener, 'closed')
    await terminate(await backendOf(listener))
    await closed
  }
  await listener.shutdown()
  t.is(count(signal), 0)
  await listener.startup()
  await listener.shutdown()
  t.is(count(signal), 0)
})

test('a startup that fails leaves no listener on the signal', async (t) => {
  const { signal } = new AbortController()
  const { listener } = await openListener(t, { signal }, { dsn: 'postgres://nobody@127.0.0.1:1/x' })
  await t.throwsAsync(listener.startup(), { code: 'ERR_PGLISTEN_CONNECTION_FAILED' })
  t.is(count(signal), 0)
})

test('an abort takes the listener off its signal with the shutdown', async (t) => {
  const controller = new AbortController()
  const { listener } = await openListener(t, { signal: controller.signal })
  await listener.startup()
  const closed = once(listener, 'closed')
  controller.abort()
  await closed
  t.is(listener.state, 'closed')
  t.is(count(controller.signal), 0)
})

test('calls that share a signal share its listener, so Node warns of no leak', async (t) => {
  const controller = new AbortController()
  const { signal } = controller
  const warnings: Error[] = []
  const onWarning = (warning: Error) => warnings.push(warning)
  process.on('warning', onWarning)
  t.teardown(() => process.off('warning', onWarning))
  const { listener } = await openListener(t, { channels: [uniqueChannel()] })
  await listener.startup()
  const stream = listener.messages({ signal })
  const next = stream.next()
  const calls = Array.from({ length: 20 }, () =>
    listener.connection.execute('SELECT pg_sleep(60)', [], { signal }),
  )
  const settled = Promise.allSettled([next, ...calls])
  t.is(count(signal), 1)
  // A call that ends leaves the others on the signal.
  await listener.sync({ signal: AbortSignal.timeout(50) }).catch(() => {})
  t.is(count(signal), 1)
  const reason = new Error('enough')
  controller.abort(reason)
  for (const outcome of await settled) t.like(outcome, { status: 'rejected', reason })
  t.is(count(signal), 0)
  t.deepEqual(
    warnings.filter(({ name }) => name === 'MaxListenersExceededWarning'),
    [],
  )
})
