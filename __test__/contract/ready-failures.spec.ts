// The delivery contract, "ready": a subscription that fails leaves no trace of itself.

import { once } from 'node:events'
import test, { type ExecutionContext } from 'ava'
import {
  DatabaseError,
  type Listener,
  type ListenerClosedError,
  type PglistenError,
} from 'pglisten'
import { createDatabase } from '../support/database.js'
import {
  backendOf,
  notify,
  openListener,
  serverChannels,
  terminate,
  uniqueChannel,
} from '../support/listener.js'
import { isPending, occupy } from '../support/occupy.js'
import { type Proxy, startProxy } from '../../lab/network/proxy.js'
import { collect, within } from '../../lab/wait.js'

test('a subscription that the server refuses leaves no trace', async (t) => {
  const { listener } = await openListener(t)
  const [kept, refused] = [uniqueChannel(), uniqueChannel()]
  await listener.addChannel(kept)
  await listener.startup()
  listener.listen()
  const messages = listener.messages()
  await listener.connection.execute('BEGIN')
  await t.throwsAsync(listener.connection.execute('SELECT 1 / 0'))
  let calls = 0
  const callback = () => {
    calls += 1
  }
  const error = await t.throwsAsync<PglistenError>(listener.addCallback(refused, callback))
  t.regex(error.code, /^ERR_PGLISTEN_/)
  await t.throwsAsync(listener.addChannel(refused))
  await listener.connection.execute('ROLLBACK')

  // Not even the next change brings it up again.
  const next = uniqueChannel()
  await listener.addChannel(next)
  t.deepEqual(listener.channels, [kept, next])
  t.deepEqual(await serverChannels(listener), [kept, next].toSorted())
  await notify(refused, 'to nobody')
  await notify(kept, 'marker')
  t.is((await collect(messages, 1))[0]?.payload, 'marker')
  // And it can be had afterwards, once for each time it is asked for.
  await listener.addCallback(refused, callback)
  await notify(refused, 'again')
  t.is((await collect(messages, 1))[0]?.payload, 'again')
  await messages.return()
  await listener.sync()
  t.is(calls, 1)
})

test('a subscription is not lost with a transaction of the user on the session', async (t) => {
  const { listener } = await openListener(t)
  await listener.startup()
  const messages = listener.messages()
  const channel = uniqueChannel()
  await listener.connection.execute('BEGIN')
  const subscribed = listener.addChannel(channel).then(
    () => true,
    () => false,
  )
  const pending = await isPending(subscribed)
  await listener.connection.execute('ROLLBACK')
  const accepted = await within(subscribed)
  // Refused, or committed after the transaction: never both resolved and rolled back.
  if (accepted) t.true(pending)
  else await listener.addChannel(channel)
  await notify(channel, 'heard')
  t.is((await collect(messages, 1))[0]?.payload, 'heard')
})

test('of subscriptions made at the same time only the one that is refused fails', async (t) => {
  const database = await createDatabase(t, "ENCODING 'LATIN1' LOCALE 'C'")
  const { listener } = await openListener(t, {}, { dbName: database })
  await listener.startup()
  // They wait together, to be sent together.
  const release = await occupy(listener.connection, database)
  const settling = Promise.allSettled([
    listener.addChannel('before'),
    // A name that the database cannot write.
    listener.addChannel('smile 😀'),
    listener.addChannel('after'),
  ])
  await release()
  const settled = await settling
  t.is((settled[1] as PromiseRejectedResult).reason instanceof DatabaseError, true)
  t.deepEqual(
    settled.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  )
  t.deepEqual(listener.channels, ['before', 'after'])
  // Nor does the next session ask for it: it would be refused for ever.
  const back = once(listener, 'reconnected')
  await terminate(await backendOf(listener))
  await within(back)
  t.deepEqual(await serverChannels(listener), ['after', 'before'])
})

test('a subscription that is interrupted by shutdown leaves no trace', async (t) => {
  const { listener } = await openListener(t)
  const [kept, interrupted] = [uniqueChannel(), uniqueChannel()]
  await listener.addChannel(kept)
  await listener.startup()
  const release = await occupy({
    execute: (sql) => listener.connection.execute(sql).catch(() => {}),
  })
  const ready = listener.addCallback(interrupted, () => t.fail('called although it was rejected'))
  const failed = t.throwsAsync<ListenerClosedError>(ready)
  await listener.shutdown({ timeoutMs: 500 })
  t.is((await failed).code, 'ERR_PGLISTEN_LISTENER_CLOSED')
  await release()
  t.deepEqual(listener.channels, [kept])
  await listener.startup()
  listener.listen()
  t.deepEqual(await serverChannels(listener), [kept])
  await notify(interrupted)
  await notify(kept)
  await listener.sync()
})

test('a startup that fails leaves nothing running, and can be tried again', async (t) => {
  const { listener, pool } = await openListener(t, {}, { dbName: uniqueChannel() })
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await t.throwsAsync(listener.startup(), { instanceOf: DatabaseError })
  t.false(listener.isStarted)
  t.deepEqual(listener.channels, [channel])
  await t.throwsAsync(listener.startup(), { instanceOf: DatabaseError })
  t.is(pool.status().size, 0)
})

/** A subscription that is refused, and one to the same channel that took its place while it was under way. */
async function succeed<Result>(
  t: ExecutionContext,
  { listener, proxy }: { listener: Listener; proxy: Proxy },
  { first, replace }: { first: () => Promise<unknown>; replace: () => [Promise<unknown>, Result] },
): Promise<Result> {
  await listener.connection.executeBatch('BEGIN')
  const release = await occupy(listener.connection)
  // Its LISTEN is under way once anything is sent: the session is busy, and no heartbeat is due.
  const underWay = proxy.sent()
  const refused = t.throwsAsync<PglistenError>(first())
  await within(underWay)
  const [removed, result] = replace()
  const ended = listener.connection.executeBatch('ROLLBACK')
  await release()
  await Promise.all([refused, removed, ended])
  return result
}

test('a channel that is asked for again while it is being refused is heard', async (t) => {
  const proxy = await startProxy(t)
  const { listener } = await openListener(
    t,
    { channels: [uniqueChannel()], heartbeat: false },
    { dsn: proxy.dsn },
  )
  await listener.startup()
  const messages = listener.messages()
  // Once more where the second was under way too early, and was refused as well.
  for (let round = 0; ; round += 1) {
    const channel = uniqueChannel()
    const [accepted] = await succeed(
      t,
      { listener, proxy },
      {
        first: () => listener.addChannel(channel),
        replace: () => [
          listener.removeChannel(channel),
          Promise.allSettled([listener.addChannel(channel)]),
        ],
      },
    )
    if (accepted.status === 'rejected' && round < 20) continue
    t.is(accepted.status, 'fulfilled')
    t.true(listener.channels.includes(channel))
    await notify(channel, 'heard')
    t.is((await collect(messages, 1))[0]?.payload, 'heard')
    break
  }
})

test('a callback that is added again while the first one is being refused is called', async (t) => {
  const proxy = await startProxy(t)
  const { listener } = await openListener(
    t,
    { channels: [uniqueChannel()], heartbeat: false },
    { dsn: proxy.dsn },
  )
  await listener.startup()
  listener.listen()
  for (let round = 0; ; round += 1) {
    const channel = uniqueChannel()
    const refused = () => t.fail('called although it was refused')
    const calls: string[] = []
    const [accepted] = await succeed(
      t,
      { listener, proxy },
      {
        first: () => listener.addCallback(channel, refused),
        replace: () => [
          listener.removeCallback(channel, refused),
          Promise.allSettled([listener.addCallback(channel, (_, payload) => calls.push(payload))]),
        ],
      },
    )
    if (accepted.status === 'rejected' && round < 20) continue
    t.is(accepted.status, 'fulfilled')
    await notify(channel, 'heard')
    await listener.sync()
    t.deepEqual(calls, ['heard'])
    break
  }
})

test('a channel that several asked for at the same time, all in vain, leaves no trace', async (t) => {
  const kept = uniqueChannel()
  const { listener } = await openListener(t, { channels: [kept] })
  await listener.startup()
  const refused = uniqueChannel()
  await listener.connection.executeBatch('BEGIN')
  await Promise.all([
    t.throwsAsync(listener.addChannel(refused)),
    t.throwsAsync(listener.addChannel(refused)),
    t.throwsAsync(listener.addCallback(refused, () => {})),
  ])
  await listener.connection.executeBatch('ROLLBACK')
  t.deepEqual(listener.channels, [kept])
  await listener.shutdown()
  await listener.startup()
  t.deepEqual(await serverChannels(listener), [kept])
})
