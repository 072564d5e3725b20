// The API of pg-listen, as a program uses it that has only changed its import.

import { once } from 'node:events'
import test, { type ExecutionContext } from 'ava'
import {
  ArgumentRangeError,
  ArgumentTypeError,
  ConnectionPoolConfigurationError,
  DatabaseError,
  ListenerCallbackError,
  ListenerClosedError,
} from 'pglisten'
import createSubscriber, {
  type Options,
  type PgParsedNotification,
  type Subscriber,
} from 'pglisten/compat/pg-listen'
import { startProxy } from '../../lab/network/proxy.js'
import { serverDsn } from '../../lab/server/test-server.js'
import { uniqueName } from '../../lab/unique-name.js'
import { waitFor, within } from '../../lab/wait.js'
import {
  ask,
  notify,
  sessionCount,
  sessionsAre,
  terminate,
  uniqueChannel,
} from '../support/listener.js'

/** A subscriber, the name by which the server knows it, and what its emitter of events has told. */
async function open(t: ExecutionContext, options: Options = {}, dsn?: string) {
  const name = uniqueName('app')
  const hub = createSubscriber(
    { connectionString: dsn ?? (await serverDsn()), application_name: name },
    options,
  )
  t.teardown(() => hub.close())
  const told: unknown[] = []
  hub.events.on('connected', () => told.push('connected'))
  hub.events.on('reconnect', (attempt) => told.push(`reconnect ${attempt}`))
  hub.events.on('error', (error) => told.push(error))
  return { hub, told, name }
}

/** The next payload of a channel. */
async function next(hub: Subscriber, channel: string): Promise<unknown> {
  const [payload] = await within(once(hub.notifications, channel))
  return payload
}

/** The backend that listens for a subscriber; the one that notifies has LISTENed to nothing. */
const backend = (name: string) =>
  ask<number>(
    "SELECT pid FROM pg_stat_activity WHERE application_name = $1 AND query NOT LIKE '%pg_notify($1%' ORDER BY backend_start LIMIT 1",
    [name],
  )

test('listens and notifies, with JSON both ways', async (t) => {
  const [channel, other] = [uniqueChannel(), uniqueChannel()]
  const { hub, told } = await open(t)
  const all: PgParsedNotification[] = []
  hub.events.on('notification', (notification) => all.push(notification))
  await hub.connect()
  t.deepEqual(told, ['connected'])
  await hub.listenTo(channel)
  const payload = { id: 7, items: ['a', null], text: 'Ö"\'\\' }
  const got = next(hub, channel)
  await hub.notify(other, 'nobody listens')
  await hub.notify(channel, payload)
  t.deepEqual(await got, payload)
  t.is(all.length, 1)
  const { processId, ...rest } = all[0]!
  t.deepEqual(rest, { channel, payload })
  t.true(processId > 0)
})

test('a notification without a payload is `undefined`, and 0, null and false are what they are', async (t) => {
  const channel = uniqueChannel()
  const { hub } = await open(t)
  await hub.connect()
  await hub.listenTo(channel)
  const got: unknown[] = []
  hub.notifications.on(channel, (payload) => got.push(payload))
  // Not awaited: they are sent in the order of the calls.
  const sent = [undefined, 0, null, false, ''].map((one) =>
    one === undefined ? hub.notify(channel) : hub.notify(channel, one),
  )
  await Promise.all(sent)
  await waitFor(() => got.length === 5)
  t.deepEqual(got, [undefined, 0, null, false, ''])
})

test('a `notify()` counts on each `listenTo()` that was called before', async (t) => {
  const channels = Array.from({ length: 20 }, uniqueChannel)
  const { hub } = await open(t)
  await hub.connect()
  const got: unknown[] = []
  hub.events.on('notification', ({ payload }) => got.push(payload))
  const calls = channels.flatMap((channel, index) => [
    hub.listenTo(channel)!,
    hub.notify(channel, index),
  ])
  await Promise.all(calls)
  await waitFor(() => got.length === channels.length)
  t.deepEqual(got, [...channels.keys()])
})

test('`parse` and `serialize` make what is sent and what arrives', async (t) => {
  const channel = uniqueChannel()
  const { hub } = await open(t, {
    parse: (text) => Buffer.from(text, 'base64').toString(),
    serialize: (data: string) => Buffer.from(data).toString('base64'),
  })
  await hub.listenTo(channel) // before `connect()`
  await hub.connect()
  const got = next(hub, channel)
  await hub.notify(channel, 'I am text')
  t.is(await got, 'I am text')
  const plain = next(hub, channel)
  await notify(channel, 'SQ==')
  t.is(await plain, 'I')
})

test('subscribing twice is once, and taking back ends it', async (t) => {
  const [one, two, three] = [uniqueChannel(), uniqueChannel(), uniqueChannel()]
  const { hub } = await open(t)
  await hub.connect()
  await Promise.all([one, two, three].map((channel) => hub.listenTo(channel)!))
  t.is(hub.listenTo(one), undefined)
  t.deepEqual(hub.getSubscribedChannels(), [one, two, three])
  const got: string[] = []
  hub.events.on('notification', ({ channel }) => got.push(channel))

  await hub.unlisten(one)
  t.is(hub.unlisten(one), undefined)
  t.deepEqual(hub.getSubscribedChannels(), [two, three])
  await hub.notify(one, 1)
  await hub.notify(two, 1)
  await waitFor(() => got.length === 1)
  t.deepEqual(got, [two])

  await hub.unlistenAll()
  t.deepEqual(hub.getSubscribedChannels(), [])
  await hub.listenTo(one)
  await hub.notify(three, 1)
  await hub.notify(one, 1)
  await waitFor(() => got.length === 2)
  t.deepEqual(got, [two, one])
})

test('a channel may have the name of an event', async (t) => {
  const { hub, told } = await open(t)
  await hub.connect()
  await hub.listenTo('error')
  const heard = once(hub.events, 'notification')
  await hub.notify('error', 'a payload')
  const [{ payload }] = await within(heard)
  t.is(payload, 'a payload')
  t.deepEqual(told, ['connected'])
})

test('a lost session comes back, with events in order', async (t) => {
  const channel = uniqueChannel()
  const { hub, told, name } = await open(t)
  await hub.connect()
  await hub.listenTo(channel)
  await terminate(await backend(name))
  await waitFor(() => told.length === 3)
  t.deepEqual(told, ['connected', 'reconnect 1', 'connected'])
  const got = next(hub, channel)
  await notify(channel, '{"hello":"world"}')
  t.deepEqual(await got, { hello: 'world' })
  t.deepEqual(hub.getSubscribedChannels(), [channel])
})

test('`retryLimit` ends in an `error`, after as many attempts', async (t) => {
  const proxy = await startProxy(t)
  const { hub, told } = await open(t, { retryLimit: 3, retryInterval: 10 }, proxy.dsn)
  await hub.connect()
  proxy.cut()
  await waitFor(() => told.length === 5)
  const error = told.pop()
  t.deepEqual(told, ['connected', 'reconnect 1', 'reconnect 2', 'reconnect 3'])
  t.true(error instanceof Error)
  // Unlike with pg-listen, it is not the end.
  proxy.open()
  await hub.connect()
  t.is(told.at(-1), 'connected')
})

test('`retryTimeout` ends in an `error`', async (t) => {
  const proxy = await startProxy(t)
  const { hub, told } = await open(t, { retryTimeout: 200, retryInterval: 20 }, proxy.dsn)
  await hub.connect()
  proxy.cut()
  const error = await waitFor(() => told.find((one) => one instanceof Error))
  t.true(error instanceof ListenerClosedError)
  t.regex(error.message, /within 200 ms \(`retryTimeout`\)/)
  const count = told.length
  proxy.open()
  await hub.connect()
  t.deepEqual(told.slice(count), ['connected'])
})

test('`listenTo()` rejects once it has given up, and works again after `connect()`', async (t) => {
  const limits = [{ retryTimeout: 100 }, { retryLimit: 2 }]
  for (const limit of limits) {
    const [kept, refused] = [uniqueChannel(), uniqueChannel()]
    const proxy = await startProxy(t)
    const { hub, told } = await open(t, { ...limit, retryInterval: 10 }, proxy.dsn)
    await hub.listenTo(kept) // before `connect()`
    await hub.connect()
    proxy.cut()
    await waitFor(() => told.some((one) => one instanceof Error))
    for (const channel of [kept, refused])
      await t.throwsAsync(async () => hub.listenTo(channel), { instanceOf: ListenerClosedError })
    t.deepEqual(hub.getSubscribedChannels(), [kept])
    proxy.open()
    const connecting = hub.connect()
    await hub.listenTo(refused)
    await connecting
    for (const channel of [kept, refused]) {
      const got = next(hub, channel)
      await notify(channel, '1')
      t.is(await got, 1)
    }
  }
})

test('a `retryTimeout` that no timer can hold is no limit', async (t) => {
  for (const retryTimeout of [Infinity, Number.MAX_SAFE_INTEGER, 0]) {
    const proxy = await startProxy(t)
    const { hub, told } = await open(t, { retryTimeout, retryInterval: 20 }, proxy.dsn)
    await hub.connect()
    proxy.cut()
    // A time that was cut to a millisecond would be over long before.
    await waitFor(() => proxy.refused >= 10)
    proxy.open()
    await waitFor(() => told.filter((one) => one === 'connected').length === 2)
    t.false(
      told.some((one) => one instanceof Error),
      `${retryTimeout}`,
    )
  }
})

test('who closes it while it gives up hears of no error', async (t) => {
  const isError = (one: unknown) => one instanceof Error
  for (let round = 0; round < 20; round += 1) {
    const proxy = await startProxy(t)
    const { hub, told } = await open(t, { retryTimeout: 200, retryInterval: 20 }, proxy.dsn)
    await hub.connect()
    const closed = new Promise<boolean>((resolve) => {
      // Its timer was set just before, so it has begun to give up. On a busy machine it may be done with that: then this round says nothing.
      hub.events.once('reconnect', () =>
        setTimeout(() => {
          const isInTime = !told.some(isError)
          void hub.close().then(() => resolve(isInTime))
        }, 200),
      )
    })
    proxy.cut()
    if (!(await within(closed))) continue
    t.false(told.some(isError))
    return
  }
  t.fail('it was done in each round')
})

test('what throws is an `error` event, and the next notification arrives', async (t) => {
  const channel = uniqueChannel()
  const { hub, told } = await open(t)
  await hub.connect()
  await hub.listenTo(channel)
  const wrong = new Error('wrong')
  hub.notifications.once(channel, () => {
    throw wrong
  })
  const others: unknown[] = []
  hub.notifications.once(channel, (payload) => others.push(payload))
  hub.events.once('notification', ({ payload }) => others.push(payload))
  await hub.notify(channel, 1)
  await waitFor(() => told.length === 2)
  t.deepEqual(others, [1, 1])
  await notify(channel, 'no JSON')
  await waitFor(() => told.length === 3)
  const [, thrown, unparsed] = told as [string, ListenerCallbackError, ListenerCallbackError]
  t.true(thrown instanceof ListenerCallbackError)
  t.is(thrown.cause, wrong)
  t.true(unparsed instanceof ListenerCallbackError)
  t.is(unparsed.payload, 'no JSON')
  t.true(unparsed.cause instanceof SyntaxError)
  const got = next(hub, channel)
  await hub.notify(channel, 2)
  t.is(await got, 2)
})

test('a subscriber that is closed takes no channel', async (t) => {
  const { hub } = await open(t)
  await hub.connect()
  await hub.close()
  await t.throwsAsync(async () => hub.listenTo(uniqueChannel()), {
    instanceOf: ListenerClosedError,
  })
  t.deepEqual(hub.getSubscribedChannels(), [])
})

test('two subscribers with equal settings share a server session', async (t) => {
  const channel = uniqueChannel()
  const config = { connectionString: await serverDsn(), application_name: uniqueName('app') }
  const hubs = [createSubscriber(config), createSubscriber(config)] as const
  t.teardown(() => Promise.all(hubs.map((hub) => hub.close())))
  await Promise.all(hubs.map((hub) => hub.connect()))
  await Promise.all(hubs.map((hub) => hub.listenTo(channel)!))
  await sessionsAre(config.application_name, 1)
  const got = hubs.map((hub) => next(hub, channel))
  await notify(channel, '1')
  t.deepEqual(await Promise.all(got), [1, 1])
  await hubs[0].close()
  const last = next(hubs[1], channel)
  await notify(channel, '2')
  t.is(await last, 2)
})

test('`close()` ends every session, also while `connect()` was not called', async (t) => {
  const { hub, name } = await open(t)
  await hub.connect()
  await hub.notify(uniqueChannel(), 1)
  await hub.close()
  t.is(await sessionCount(name), 0)
  await hub.close()
  await createSubscriber({}).close()
})

test('errors: no server, a wrong password, a name that does not fit, wrong options', async (t) => {
  const nowhere = createSubscriber({ host: '127.0.0.1', port: 1 })
  t.teardown(() => nowhere.close())
  await t.throwsAsync(nowhere.connect(), { code: 'ERR_PGLISTEN_CONNECTION_FAILED' })

  const refused = createSubscriber({ connectionString: await serverDsn(), password: 'wrong' })
  t.teardown(() => refused.close())
  const { sqlState } = await t.throwsAsync(refused.connect(), { instanceOf: DatabaseError })
  t.is(sqlState, '28P01')

  const { hub } = await open(t)
  await hub.connect()
  await t.throwsAsync(async () => hub.listenTo('x'.repeat(64)), { instanceOf: ArgumentRangeError })
  t.deepEqual(hub.getSubscribedChannels(), [])

  const config = { connectionString: 'postgres://127.0.0.1:1/none' }
  const wrong = (options: object, message: RegExp) =>
    t.throws(() => createSubscriber(config, options), { instanceOf: ArgumentTypeError, message })
  wrong({ retryInterval: () => 5 }, /`retryInterval`/)
  wrong({ retries: 5 }, /`retries`/)
  wrong({ retryLimit: '5' }, /maxAttempts/)
  wrong({ retryTimeout: '5' }, /`retryTimeout`/)
  for (const retryTimeout of [-1, Number.NaN])
    t.throws(() => createSubscriber(config, { retryTimeout }), {
      instanceOf: ArgumentRangeError,
      message: /`retryTimeout`/,
    })
  createSubscriber(config, { native: true, paranoidChecking: false })
  t.throws(() => createSubscriber({ connectionString: 'host=localhost nonsense=1' }), {
    instanceOf: ConnectionPoolConfigurationError,
  })
})
