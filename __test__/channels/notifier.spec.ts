// A notifier: payloads of a moment go out in one transaction.

import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { setImmediate as nextTurn } from 'node:timers/promises'
import {
  ArgumentRangeError,
  ArgumentTypeError,
  ConnectionPool,
  ConnectionPoolExecuteError,
  ConnectionTimeoutError,
  type Notifier,
  type NotifierOptions,
  PglistenError,
} from 'pglisten'
import { serverDsn } from '../../lab/server/test-server.js'
import { MessageProxy } from '../../lab/network/message-proxy.mjs'
import { startProxy } from '../../lab/network/proxy.js'
import { collect, waitFor, within } from '../../lab/wait.js'
import { runFixture } from '../support/child.js'
import { openListener, uniqueChannel } from '../support/listener.js'
import { isPending } from '../support/occupy.js'
import { stuckPool } from '../support/stuck.js'

const READY_FOR_QUERY = 'Z'.charCodeAt(0)
/** So long that only something else than time sends what waits. */
const LONG_MS = 600_000

/** A notifier, and a stream of what arrives. */
async function open(t: ExecutionContext, options: NotifierOptions = {}) {
  const channel = uniqueChannel()
  const { listener, pool } = await openListener(
    t,
    { channels: [channel] },
    // So that the test can hold its only connection.
    { maxDbPoolSize: 1 },
  )
  await listener.startup()
  const messages = listener.messages()
  const arrived = async (count: number) =>
    (await collect(messages, count)).map(({ payload }) => payload)
  return { pool, channel, arrived, notifier: pool.notifier(channel, options) }
}

/** Whether each of some promises resolved, or with what it rejected. */
const outcomes = async (promises: readonly Promise<void>[]) =>
  (await within(Promise.allSettled(promises))).map((one) =>
    one.status === 'fulfilled' ? 'sent' : (one.reason as Error).message,
  )

const give = (notifier: Notifier, ...payloads: string[]) =>
  payloads.map((payload) => notifier.notify(payload))

test('payloads of a moment are one transaction, in their order, and equal ones are one', async (t) => {
  let answers = 0
  const proxy = new MessageProxy(await serverDsn(), () => (message) => {
    if (message[0] === READY_FOR_QUERY) answers += 1
    return message
  })
  t.teardown(() => proxy.stop())
  await using sender = new ConnectionPool({ dsn: await proxy.start(), maxDbPoolSize: 1 })
  const { channel, arrived } = await open(t)
  await sender.fetchVal('SELECT 1')
  const notifier = sender.notifier(channel, { delayMs: 30 })
  const before = answers
  const texts = Array.from({ length: 1000 }, (_, n) => `${n % 900}`)
  await within(Promise.all(give(notifier, ...texts)))
  t.is(answers, before + 1)
  t.deepEqual(await arrived(900), [...new Set(texts)])
  // The next one begins a moment of its own.
  await within(notifier.notify('0'))
  t.is(answers, before + 2)
  t.deepEqual(await arrived(1), ['0'])
})

test('the promise of a payload resolves once it is committed, and not before its time', async (t) => {
  const { notifier, arrived } = await open(t, { delayMs: LONG_MS })
  const sent = notifier.notify('1')
  t.true(await isPending(sent))
  const flushed = notifier.flush()
  await within(flushed)
  await within(sent)
  t.deepEqual(await arrived(1), ['1'])
  // Nothing waits.
  await within(notifier.flush())
})

test('a payload that is left out is the empty text', async (t) => {
  const { notifier, arrived } = await open(t, { delayMs: 0 })
  await within(notifier.notify())
  t.deepEqual(await arrived(1), [''])
})

test('payloads that came during a transaction follow in the next one, in order', async (t) => {
  const { pool, notifier, arrived } = await open(t, { delayMs: 1 })
  const held = await pool.connection()
  const first = give(notifier, '1')
  await waitFor(() => pool.status().waiting === 1)
  const rest = give(notifier, '2', '3', '1')
  t.true(await isPending(Promise.race([...first, ...rest])))
  // A second transaction would wait beside it.
  t.is(pool.status().waiting, 1)
  const flushed = notifier.flush()
  await held.close()
  t.deepEqual(await outcomes([...first, ...rest, flushed]), Array(5).fill('sent'))
  // They are equal, but of different transactions.
  t.deepEqual(await arrived(4), ['1', '2', '3', '1'])
})

test('so many payloads, or so many bytes, are sent at once', async (t) => {
  const { pool, channel, notifier, arrived } = await open(t, { delayMs: LONG_MS, maxPayloads: 3 })
  const sent = give(notifier, '1', '2', '2')
  t.true(await isPending(Promise.race(sent)))
  await within(Promise.all([...sent, ...give(notifier, '3')]))
  t.deepEqual(await arrived(3), ['1', '2', '3'])
  const large = pool.notifier(channel, { delayMs: LONG_MS })
  const texts = Array.from({ length: 132 }, (_, n) => `${n}`.padEnd(7999, 'x'))
  await within(Promise.all(give(large, ...texts)))
  t.deepEqual(await arrived(132), texts)
})

test('what waits for a transaction that is under way is bounded', async (t) => {
  const refused: unknown[] = []
  const { pool, notifier, arrived } = await open(t, {
    delayMs: LONG_MS,
    maxPayloads: 2,
    onError: (error, payloads) =>
      refused.push([error instanceof ConnectionPoolExecuteError, payloads]),
  })
  const held = await pool.connection()
  const sent = give(notifier, '1', '2', '3', '4')
  const message = 'the notifier is full: 2 payloads wait for the transaction that is under way'
  t.deepEqual(await outcomes(give(notifier, '5')), [message])
  t.deepEqual(refused, [[true, ['5']]])
  // It waits already.
  sent.push(...give(notifier, '4'))
  await held.close()
  t.deepEqual(await outcomes(sent), Array(5).fill('sent'))
  t.deepEqual(await arrived(4), ['1', '2', '3', '4'])
})

test('what cannot be sent is refused at once, and the rest is sent', async (t) => {
  const errors: unknown[] = []
  const { pool, notifier, arrived } = await open(t, {
    delayMs: LONG_MS,
    onError: (error, payloads) => errors.push([(error as Error).name, payloads]),
  })
  const sent = notifier.notify('fine')
  await t.throwsAsync(within(notifier.notify('x'.repeat(8000))), { instanceOf: ArgumentRangeError })
  await t.throwsAsync(within(notifier.notify(5 as unknown as string)), {
    instanceOf: ArgumentTypeError,
    message: /^Expected `payload` to be a string/,
  })
  t.deepEqual(errors, [
    ['ArgumentRangeError', []],
    ['ArgumentTypeError', []],
  ])
  await within(notifier.flush())
  await sent
  t.deepEqual(await arrived(1), ['fine'])
  for (const options of [{ delayMs: -1 }, { maxPayloads: 0 }, { timeoutMs: 0.5 - 1 }]) {
    t.throws(() => pool.notifier('c', options), { instanceOf: ArgumentRangeError })
  }
  for (const options of [{ delay: 5 }, { onError: 5 }, 5]) {
    t.throws(() => pool.notifier('c', options as NotifierOptions), {
      instanceOf: ArgumentTypeError,
    })
  }
  t.throws(() => pool.notifier(''), { instanceOf: ArgumentRangeError })
})

test('a transaction that fails rejects its payloads, and the next one is sent', async (t) => {
  const { pool, stuck, terminate, release } = await stuckPool(t)
  const failed: string[][] = []
  const notifier = pool.notifier('c', {
    delayMs: 0,
    onError: (_, payloads) => failed.push(payloads),
  })
  const first = give(notifier, '1', '2')
  const pid = await stuck()
  const second = give(notifier, '3')
  const flushed = notifier.flush()
  await terminate(pid)
  for (const promise of first) await t.throwsAsync(within(promise), { instanceOf: PglistenError })
  t.deepEqual(failed, [['1', '2']])
  await release()
  t.deepEqual(await outcomes(second), ['sent'])
  await t.throwsAsync(within(flushed), { instanceOf: PglistenError })
})

test('a transaction that takes too long is cancelled on the server', async (t) => {
  const { pool, release } = await stuckPool(t)
  const notifier = pool.notifier('c', { delayMs: 0, timeoutMs: 100, onError: () => {} })
  await t.throwsAsync(within(notifier.notify('1')), { instanceOf: ConnectionTimeoutError })
  await release()
  await within(notifier.notify('2'))
})

test('without a server every payload is rejected, and one warning tells of it', async (t) => {
  const proxy = await startProxy(t)
  await using pool = new ConnectionPool({ dsn: proxy.dsn })
  const notifier = pool.notifier('c', { delayMs: 0 })
  proxy.cut()
  const warnings: (Error & { code?: string })[] = []
  const warn = (warning: Error) => warnings.push(warning)
  process.on('warning', warn)
  t.teardown(() => process.off('warning', warn))
  for (const payload of ['1', '2'])
    await t.throwsAsync(within(notifier.notify(payload)), { instanceOf: PglistenError })
  await waitFor(() => warnings.length > 0)
  proxy.open()
  await within(notifier.notify('3'))
  proxy.cut()
  // Nobody awaits it, and the process goes on.
  void notifier.notify('4')
  await waitFor(() => warnings.length > 1)
  t.deepEqual(
    warnings.map(({ code }) => code),
    ['PGLISTEN_NOTIFIER', 'PGLISTEN_NOTIFIER'],
  )
  t.regex(warnings[0]!.message, /^notifications were not sent: could not connect to /)
})

test.serial(
  'what `onError` throws is an uncaught exception, and the next payload is sent',
  async (t) => {
    const { notifier, arrived } = await open(t, {
      delayMs: 0,
      onError: () => {
        throw new Error('of the test')
      },
    })
    const uncaught = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException')
    const thrown = once(process, 'uncaughtException')
    try {
      void notifier.notify('x'.repeat(8000))
      t.is((await within(thrown))[0].message, 'of the test')
    } finally {
      for (const listener of uncaught) process.on('uncaughtException', listener)
    }
    await within(notifier.notify('1'))
    t.deepEqual(await arrived(1), ['1'])
  },
)

test('whoever ignores a promise of a notifier ends no process', async (t) => {
  const { pool } = await openListener(t)
  const notifier = pool.notifier('c', { delayMs: 100_000, onError: () => {} })
  const unhandled: unknown[] = []
  const note = (reason: unknown) => unhandled.push(reason)
  process.on('unhandledRejection', note)
  t.teardown(() => process.off('unhandledRejection', note))
  void notifier.notify('a')
  const flushed = pool.close()
  void notifier.flush()
  void notifier.close()
  void notifier[Symbol.asyncDispose]()
  await flushed
  await t.throwsAsync(within(notifier.notify('b')))
  await nextTurn()
  t.deepEqual(unhandled, [])
})

test('closing a notifier sends what waits, and refuses what follows', async (t) => {
  const { pool, channel, arrived } = await open(t)
  let kept: Notifier
  let sent: Promise<void>[]
  {
    await using notifier = pool.notifier(channel, { delayMs: LONG_MS, onError: () => {} })
    sent = give(notifier, '1', '2')
    kept = notifier
  }
  t.deepEqual(await outcomes(sent), ['sent', 'sent'])
  t.deepEqual(await arrived(2), ['1', '2'])
  t.deepEqual(await outcomes(give(kept, '3')), ['the notifier is closed'])
  t.is(kept.close(), kept.close())
  await within(kept.flush())
})

test('closing the pool gives up what waits, and lets end what is under way', async (t) => {
  const { pool, stuck, release } = await stuckPool(t)
  const errors: unknown[] = []
  const notifier = pool.notifier('c', {
    delayMs: LONG_MS,
    onError: (error, payloads) => errors.push([(error as Error).message, payloads]),
  })
  const sending = give(notifier, '1')
  void notifier.flush()
  await stuck()
  const waiting = give(notifier, '2', '3')
  const closed = pool.close()
  t.deepEqual(await outcomes(waiting), ['the pool is closed', 'the pool is closed'])
  t.deepEqual(errors, [['the pool is closed', ['2', '3']]])
  await release()
  t.deepEqual(await outcomes(sending), ['sent'])
  await within(closed)
  t.deepEqual(await outcomes(give(notifier, '4')), ['the pool is closed'])
  await within(notifier.close())
  t.throws(() => pool.notifier('c'), { instanceOf: ConnectionPoolExecuteError })
})

test('a process ends once its payloads are sent, although nobody awaits them', async (t) => {
  const { channel, arrived } = await open(t)
  const outcome = runFixture('notifier-exit.mjs', [channel], { timeoutMs: 30_000 })
  t.is(await outcome, 'given')
  t.deepEqual(await arrived(3), ['1', '2', '3'])
})
