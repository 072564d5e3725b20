// What diagnostics channels tell of pools and listeners that are made, and of callbacks whose promises have settled.

import test from 'ava'
import {
  ConnectionPool,
  type CallbackContext,
  type ListenerMessage,
  type PoolMessage,
  type SettledMessage,
} from 'pglisten'
import { waitFor } from '../../lab/wait.js'
import { uniqueName } from '../../lab/unique-name.js'
import { notify, openListener, uniqueChannel } from '../support/listener.js'
import { moments, told } from '../support/told.js'

test('a pool and a listener are told when they are made', async (t) => {
  const pools = told<PoolMessage>(t, 'pglisten:pool')
  const listeners = told<ListenerMessage>(t, 'pglisten:listener')
  const name = uniqueName('made')
  const pool = new ConnectionPool('host=localhost')
  const listener = pool.listener({ name })
  t.true(pools.some((message) => message.pool === pool))
  const message = listeners.find(({ instance }) => instance === listener)
  t.is(message?.listener, name)
  t.is(typeof message?.listenerId, 'number')
  await pool.close()
})

test('a callback that returns a promise is told when that has settled, with the time from its call', async (t) => {
  const settled = told<SettledMessage>(t, 'pglisten:settled')
  const channel = uniqueChannel()
  const name = uniqueName('settled')
  const { listener } = await openListener(t, { name })
  listener.on('error', () => {})
  await listener.addCallback(channel, async (_connection, payload) => {
    // The part before the promise counts too.
    const end = performance.now() + 20
    while (performance.now() < end);
    await Promise.resolve()
    if (payload === 'bad') throw new RangeError('hunter2')
  })
  await listener.addCallback(channel, () => 'no promise')
  await listener.startup()
  listener.listen()
  await notify(channel, 'good')
  await notify(channel, 'bad')
  await listener.sync()
  const mine = settled.filter((message) => message.listener === name)
  t.deepEqual(
    mine.map((message) => [message.channel, message.error?.name]),
    [
      [channel, undefined],
      [channel, 'RangeError'],
    ],
  )
  for (const { durationMs } of mine)
    t.true(durationMs >= 20 && durationMs < 20_000, `${durationMs}`)
  t.false(JSON.stringify(mine).includes('hunter2'))
})

test('the context of a callback says at its end whether a promise is pending', async (t) => {
  const all = moments<CallbackContext>(t, 'pglisten:callback')
  const channel = uniqueChannel()
  const { listener } = await openListener(t)
  await listener.addCallback(channel, async () => {})
  await listener.addCallback(channel, () => 1)
  await listener.startup()
  listener.listen()
  await notify(channel)
  await listener.sync()
  const ends = all.filter(({ moment, context }) => moment === 'end' && context.channel === channel)
  t.deepEqual(
    ends.map(({ context }) => context.returnedPromise),
    [true, false],
  )
})

test.serial(
  'in a flood some settled callbacks are told, and after it each one again',
  async (t) => {
    const settled = told<SettledMessage>(t, 'pglisten:settled')
    const channel = uniqueChannel()
    const { listener, pool } = await openListener(t)
    await listener.addCallback(channel, async () => {})
    await listener.startup()
    listener.listen()
    const began = performance.now()
    const flood = 'SELECT pg_notify($1, i::text) FROM generate_series(1, 20000) AS i'
    await pool.execute(flood, [channel])
    await listener.sync()
    const windows = Math.ceil((performance.now() - began) / 100) + 1
    const count = () => settled.filter((message) => message.channel === channel).length
    t.true(count() >= 100 && count() <= 100 * windows, `${count()} of ${windows} windows`)
    t.true(count() < 20_000)
    const before = count()
    await waitFor(async () => {
      await notify(channel)
      await listener.sync()
      return count() > before
    })
  },
)
