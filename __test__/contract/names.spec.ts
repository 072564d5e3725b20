// The delivery contract, "names": a channel's name is taken as it is, and reaches the server as nothing else.

import * as fc from 'fast-check'
import test, { type ExecutionContext } from 'ava'
import type { Connection, ConnectionPool, Listener } from 'pglisten'
import { createDatabase } from '../support/database.js'
import { range } from '../support/flood.js'
import { notify, openListener, serverChannels, uniqueChannel } from '../support/listener.js'
import { lookalikes, names } from '../support/names.js'
import { collect, waitFor } from '../../lab/wait.js'

/** Everything in the database that a statement smuggled in could change, in one text. */
function contents(connection: Connection): Promise<string> {
  return connection.fetchVal<string>(`SELECT concat_ws('|',
    (SELECT string_agg(oid || relname, ',' ORDER BY oid) FROM pg_class),
    (SELECT string_agg(oid || proname, ',' ORDER BY oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace),
    (SELECT string_agg(nspname, ',' ORDER BY oid) FROM pg_namespace),
    (SELECT string_agg(n::text, ',' ORDER BY n) FROM canary))`)
}

/** A database of its own with something in it to be destroyed, and a started listener. */
async function prepare(t: ExecutionContext) {
  const opened = await openListener(t, {}, { dbName: await createDatabase(t), maxDbPoolSize: 2 })
  const observer = await opened.pool.connection()
  await observer.executeBatch('CREATE TABLE canary (n int4); INSERT INTO canary VALUES (1), (2)')
  await opened.listener.startup()
  return { ...opened, observer }
}

/** Notifies what is like the channels but none of them, then each of them. */
async function notifyAll(pool: ConnectionPool, channels: readonly string[]): Promise<void> {
  const others = new Set(channels.flatMap(lookalikes))
  for (const channel of channels) others.delete(channel)
  await using connection = await pool.connection()
  const all = [...others].map((name): [string, string] => [name, 'to nobody'])
  for (const name of channels) all.push([name, name])
  await connection.execute(
    'SELECT pg_notify(c, p) FROM unnest($1::text[], $2::text[]) AS n (c, p)',
    [all.map(([channel]) => channel), all.map(([, payload]) => payload)],
  )
}

async function checkDelivery(
  t: ExecutionContext,
  listener: Listener,
  messages: AsyncIterableIterator<{ channel: string; payload: string }>,
  pool: ConnectionPool,
  channels: readonly string[],
): Promise<void> {
  t.deepEqual((await serverChannels(listener)).toSorted(), channels.toSorted())
  await notifyAll(pool, channels)
  const received = await collect(messages, channels.length)
  t.deepEqual(
    received.map(({ channel }) => channel),
    channels,
  )
  t.true(received.every(({ channel, payload }) => channel === payload))
}

test('any name is delivered exactly, and does nothing else to the database', async (t) => {
  const { listener, pool, observer } = await prepare(t)
  const before = await contents(observer)
  const messages = listener.messages()
  const called: string[] = []
  const callback = (_: unknown, payload: string, channel: string) =>
    called.push(payload === channel ? channel : 'wrong')
  listener.listen()
  const property = fc.asyncProperty(
    fc.uniqueArray(names, { minLength: 1, maxLength: 40 }),
    async (channels) => {
      called.length = 0
      await Promise.all(channels.map((channel) => listener.addCallback(channel, callback)))
      await checkDelivery(t, listener, messages, pool, channels)
      await waitFor(() => called.length === channels.length)
      // Half of them go, one by one; the others stay.
      const [gone, kept] = [
        channels.slice(0, channels.length / 2),
        channels.slice(channels.length / 2),
      ]
      for (const channel of gone) await listener.removeCallback(channel, callback)
      await checkDelivery(t, listener, messages, pool, kept)
      await waitFor(() => called.length === channels.length + kept.length)
      for (const channel of kept) await listener.removeCallback(channel, callback)
      t.deepEqual(listener.channels, [])
      t.deepEqual(await serverChannels(listener), [])
      t.deepEqual(called, [...channels, ...kept])
    },
  )
  await fc.assert(property, { numRuns: 150 })
  t.is(await contents(observer), before)
  await observer.close()
})

test('names are exact from the start too, and after a lost session', async (t) => {
  const channels = fc.sample(fc.uniqueArray(names, { minLength: 60, maxLength: 60 }), 1)[0]!
  const { listener, pool, observer } = await prepare(t)
  await listener.shutdown()
  for (const channel of channels) await listener.addChannel(channel)
  const before = await contents(observer)
  await listener.startup()
  const messages = listener.messages()
  await checkDelivery(t, listener, messages, pool, channels)
  const back = new Promise((resolve) => {
    listener.once('reconnected', resolve)
  })
  const processId = await listener.connection.fetchVal<number>('SELECT pg_backend_pid()')
  await observer.execute('SELECT pg_terminate_backend($1)', [processId])
  await back
  await checkDelivery(t, listener, messages, pool, channels)
  t.is(await contents(observer), before)
  await observer.close()
})

test('names that differ only in case, or in normalization, are different channels', async (t) => {
  const { listener } = await openListener(t)
  const tag = uniqueChannel().slice(-8)
  const channels = ['orders', 'Orders', 'ORDERS', 'ordérs', 'ordérs'.normalize('NFD'), 'orders ']
  const names = channels.map((name) => `${tag}${name}`)
  await Promise.all(names.map((name) => listener.addChannel(name)))
  await listener.startup()
  const messages = listener.messages()
  for (const n of range(0, names.length - 1)) await notify(names[n]!, String(n))
  const received = await collect(messages, names.length)
  t.deepEqual(
    received.map(({ channel, payload }) => [channel, payload]),
    names.map((name, n) => [name, String(n)]),
  )
})
