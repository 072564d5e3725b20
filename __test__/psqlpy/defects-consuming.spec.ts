// Where psqlpy's listener loses, mixes up or keeps what it should not, and this one must not.

import test from 'ava'
import { readFileSync, readdirSync } from 'node:fs'
import { flood } from '../support/flood.js'
import {
  backendOf,
  notify,
  openListener,
  sessionCount,
  sessionsAre,
  uniqueChannel,
} from '../support/listener.js'
import { collect, deferred, waitFor, within } from '../../lab/wait.js'

test('listen() called twice delivers once, in order, and one abortListen() stops it', async (t) => {
  const { listener, applicationName } = await openListener(t)
  const channel = uniqueChannel()
  const payloads: string[] = []
  await listener.addCallback(channel, async (_, payload) => {
    await Promise.resolve()
    payloads.push(payload)
  })
  await listener.startup()
  listener.listen()
  listener.listen()
  for (let n = 0; n < 20; n += 1) await notify(channel, `${n}`)
  await listener.sync()
  t.deepEqual(
    payloads,
    Array.from({ length: 20 }, (_, n) => `${n}`),
  )
  const messages = listener.messages()
  listener.abortListen()
  await notify(channel, 'aborted')
  await collect(messages, 1)
  t.is(payloads.length, 20)
  listener.listen()
  await waitFor(() => payloads.length === 21)
  await listener.shutdown()
  t.is(await sessionCount(applicationName), 0)
})

test('shutdown ends iterators that are waiting, and closes the session', async (t) => {
  const { listener, applicationName } = await openListener(t, { channels: [uniqueChannel()] })
  await listener.startup()
  const waiting = [listener.messages().next(), listener.batches().next()]
  const looped = (async () => {
    let count = 0
    for await (const _ of listener) count += 1
    return count
  })()
  await listener.shutdown()
  t.deepEqual(await within(Promise.all(waiting)), [
    { done: true, value: undefined },
    { done: true, value: undefined },
  ])
  t.is(await within(looped), 0)
  t.is(await sessionCount(applicationName), 0)
})

test('a listener that nobody knows any more takes its session with it', async (t) => {
  const { pool, applicationName } = await openListener(t)
  const abandon = async () => {
    const listener = pool.listener({ channels: [uniqueChannel()] })
    await listener.startup()
    // An iterator that nobody waits for is nobody's either.
    listener.messages()
  }
  await abandon()
  await sessionsAre(applicationName, 1)
  await waitFor(async () => {
    globalThis.gc?.()
    return (await sessionCount(applicationName)) === 0
  })
  t.pass()
})

test('a listener that was disposed can be started again', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  const payloads: string[] = []
  await listener.addCallback(channel, (_, payload) => payloads.push(payload))
  {
    await using disposed = listener
    await disposed.startup()
  }
  t.false(listener.isStarted)
  await listener.startup()
  listener.listen()
  await notify(channel, 'again')
  await listener.sync()
  t.deepEqual(payloads, ['again'])
})

test('disposing of a listener that was never started does no harm', async (t) => {
  const { listener } = await openListener(t)
  await t.throwsAsync(
    async () => {
      await using _ = listener
      throw new Error('from the body')
    },
    { message: 'from the body' },
  )
})

test('callbacks and iterators do not compete: each gets everything', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  const called: string[] = []
  await listener.addCallback(channel, (_, payload) => called.push(payload))
  await listener.startup()
  listener.listen()
  const iterators = [listener.messages(), listener.messages()]
  const sent = Array.from({ length: 50 }, (_, n) => `${n}`)
  for (const payload of sent) await notify(channel, payload)
  for (const iterator of iterators) {
    const messages = await collect(iterator, sent.length)
    t.deepEqual(
      messages.map(({ payload }) => payload),
      sent,
    )
  }
  await iterators[0]!.return()
  await iterators[1]!.return()
  await listener.sync()
  t.deepEqual(called, sent)
})

test('what nobody takes is bounded, and what was dropped is counted', async (t) => {
  const { listener } = await openListener(t, { buffer: { maxMessages: 10 } })
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  await flood(channel, 1, 1000)
  await waitFor(() => listener.stats().received === 1000)
  t.like(listener.stats(), { buffered: 10, dropped: 990 })
  const items = await collect(listener.messages({ gaps: 'include' }), 11)
  t.like(items[0], { reason: 'overflow', dropped: 990 })
  t.deepEqual(
    items.slice(1).map((item) => 'payload' in item && item.payload),
    Array.from({ length: 10 }, (_, n) => `${991 + n}`),
  )
})

test('aborting in the middle of a notification loses none of its callbacks', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  const running = deferred()
  const release = deferred()
  const calls: string[] = []
  await listener.addCallback(channel, async (_, payload) => {
    running.resolve()
    await release.promise
    calls.push(`first ${payload}`)
  })
  await listener.addCallback(channel, (_, payload) => calls.push(`second ${payload}`))
  await listener.startup()
  listener.listen()
  await notify(channel, '1')
  await notify(channel, '2')
  await running.promise
  listener.abortListen()
  release.resolve()
  await waitFor(() => calls.length > 0)
  listener.listen()
  await listener.sync()
  t.deepEqual(calls, ['first 1', 'second 1', 'first 2', 'second 2'])
})

test('a next() that came too late for its caller keeps its message', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  const messages = listener.messages()
  const pending = messages.next()
  await t.throwsAsync(within(pending, { timeoutMs: 20 }))
  await notify(channel, '1')
  await notify(channel, '2')
  t.is((await within(pending)).value?.payload, '1')
  t.is((await within(messages.next())).value?.payload, '2')
})

test('what is sent right after the channel was added arrives', async (t) => {
  const { listener } = await openListener(t)
  const payloads: string[] = []
  await listener.startup()
  listener.listen()
  const sent = Array.from({ length: 100 }, (_, n) => `${n}`)
  for (const payload of sent) {
    const channel = uniqueChannel()
    await listener.addCallback(channel, (_, got) => payloads.push(got))
    await notify(channel, payload)
  }
  await listener.sync()
  t.deepEqual(payloads, sent)
})

test('a transaction that a callback opens neither stops delivery nor is seen by another', async (t) => {
  const { listener } = await openListener(t, { concurrency: 2, ordered: false })
  const channel = uniqueChannel()
  const opened = deferred()
  const release = deferred()
  const backends: number[] = []
  const inTransaction: boolean[] = []
  await listener.addCallback(channel, async (connection, payload) => {
    if (payload === 'open') await connection.executeBatch('BEGIN; CREATE TEMP TABLE mine (id INT)')
    backends.push(await connection.fetchVal<number>('SELECT pg_backend_pid()'))
    inTransaction.push(await connection.fetchVal("SELECT to_regclass('mine') IS NOT NULL"))
    if (payload === 'open') {
      opened.resolve()
      await release.promise
    }
  })
  await listener.startup()
  listener.listen()
  await notify(channel, 'open')
  await opened.promise
  await notify(channel, 'meanwhile')
  await waitFor(() => inTransaction.length === 2)
  release.resolve()
  t.deepEqual(inTransaction, [true, false])
  t.not(backends[0], backends[1])
  t.false(backends.includes(await backendOf(listener)))
})

const threads = process.platform === 'linux' ? test : test.skip

threads('any number of listeners shares the same two threads', async (t) => {
  const { pool } = await openListener(t)
  const names = () =>
    readdirSync('/proc/self/task').map((id) => {
      try {
        return readFileSync(`/proc/self/task/${id}/comm`, 'utf8').trim()
      } catch {
        return 'ended meanwhile'
      }
    })
  await Promise.all(
    Array.from({ length: 10 }, () => pool.listener({ channels: [uniqueChannel()] }).startup()),
  )
  const ours = names().filter((name) => /pglisten|tokio/.test(name))
  t.deepEqual(ours.sort(), ['pglisten-listen', 'pglisten-query'])
})

test('anything that can be called is a callback', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  const calls: string[] = []
  class Handler {
    readonly name = 'method'
    handle(_: unknown, payload: string) {
      calls.push(`${this.name} ${payload}`)
    }
  }
  const handler = new Handler()
  await listener.addCallback(channel, handler.handle.bind(handler))
  await listener.addCallback(channel, (_, payload) => void calls.push(`sync ${payload}`))
  await listener.addCallback(channel, async (_, payload) => void calls.push(`async ${payload}`))
  await listener.addCallback(channel, (_, payload) => ({
    // oxlint-disable-next-line unicorn/no-thenable -- a promise of another library.
    then: (resolve: () => void) => {
      calls.push(`thenable ${payload}`)
      resolve()
    },
  }))
  await listener.startup()
  listener.listen()
  await notify(channel, '1')
  await listener.sync()
  t.deepEqual(calls, ['method 1', 'sync 1', 'async 1', 'thenable 1'])
})
