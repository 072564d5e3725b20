// Notifications in one statement, when the statement fails.

import test from 'ava'
import {
  ArgumentRangeError,
  ArgumentTypeError,
  ConnectionPoolExecuteError,
  ConnectionTimeoutError,
  DatabaseError,
  PglistenError,
} from 'pglisten'
import { collect, within } from '../../lab/wait.js'
import { openListener, uniqueChannel } from '../support/listener.js'
import { stuckPool } from '../support/stuck.js'

test('notifyMany() keeps its order, whatever the payloads are', async (t) => {
  const channel = uniqueChannel()
  const { listener, pool } = await openListener(t, { channels: [channel] })
  await listener.startup()
  const stream = listener.messages()
  const payloads = ['', '{"a,b"}', 'NULL', '\\', '"', "'", 'ü'.repeat(3999), '😀', ' ', '{}', '1']
  await pool.notifyMany(channel, payloads)
  t.deepEqual(
    (await collect(stream, payloads.length)).map(({ payload }) => payload),
    payloads,
  )
})

test('notifyMany() names the payload that it cannot send, and sends none', async (t) => {
  const channel = uniqueChannel()
  const { listener, pool } = await openListener(t, { channels: [channel] })
  await listener.startup()
  const stream = listener.messages()
  for (const wrong of ['a\0b', '\ud800', 'ü'.repeat(4000)]) {
    await t.throwsAsync(pool.notifyMany(channel, ['a', 'b', wrong]), {
      instanceOf: ArgumentRangeError,
      message: /^Expected `payloads\[2\]` to be/,
    })
  }
  // The same text is no more memory here, but would be on the way.
  await t.throwsAsync(pool.notifyMany(channel, Array<string>(134_200).fill('x'.repeat(7999))), {
    instanceOf: ArgumentRangeError,
    message:
      /^Expected `payloads` to have at most 1073741567 bytes together.*, got 1074002600 bytes/,
  })
  await pool.notify(channel, 'end')
  t.deepEqual((await collect(stream, 1))[0]?.payload, 'end')
})

test('notifyMany() refuses a hole, and checks everything else also when there is nothing to send', async (t) => {
  const { pool } = await openListener(t)
  const hole: string[] = []
  hole[1] = 'a'
  await t.throwsAsync(pool.notifyMany('c', hole), {
    instanceOf: ArgumentTypeError,
    message: /^Expected `payloads\[0\]` to be a string/,
  })
  await pool.notifyMany('c', [])
  await t.throwsAsync(pool.notifyMany('c', [], { timeoutMs: -1 }), {
    instanceOf: ArgumentRangeError,
  })
  await t.throwsAsync(pool.notifyMany('c', [], { signal: 1 as unknown as AbortSignal }), {
    instanceOf: ArgumentTypeError,
  })
  const reason = new Error('no longer wanted')
  t.is(await t.throwsAsync(pool.notifyMany('c', [], { signal: AbortSignal.abort(reason) })), reason)
  await pool.close()
  await t.throwsAsync(pool.notifyMany('c', []), { instanceOf: ConnectionPoolExecuteError })
})

test('notifyMany() rejects when its backend is killed, and the pool goes on', async (t) => {
  const { pool, stuck, terminate, release } = await stuckPool(t)
  const sending = t.throwsAsync(pool.notifyMany('c', ['1', '2']), { instanceOf: PglistenError })
  await terminate(await stuck())
  const error = await within(sending)
  t.true(!(error instanceof DatabaseError) || error.sqlState === '57P01', `${error}`)
  await release()
  await within(pool.notifyMany('c', ['3', '4']))
})

test('notifyMany() is cancelled on the server by its signal and by its time', async (t) => {
  const { pool, stuck, isFree, release } = await stuckPool(t)
  const controller = new AbortController()
  const reason = new Error('enough')
  const aborted = t.throwsAsync(pool.notifyMany('c', ['1', '2'], { signal: controller.signal }))
  await stuck()
  controller.abort(reason)
  t.is(await within(aborted), reason)
  await t.throwsAsync(pool.notifyMany('c', ['1', '2'], { timeoutMs: 50 }), {
    instanceOf: ConnectionTimeoutError,
  })
  await isFree()
  await release()
  await within(pool.notifyMany('c', ['1', '2']))
  const before = AbortSignal.abort(reason)
  t.is(await t.throwsAsync(pool.notifyMany('c', ['1'], { signal: before })), reason)
})
