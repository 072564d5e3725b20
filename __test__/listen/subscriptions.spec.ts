// Adding and removing callbacks and channels: when the server follows, and what is delivered until then.

import test from 'ava'
import { once } from 'node:events'
import { ConnectionExecuteError, ListenerCallbackError, ListenerClosedError } from 'pglisten'
import { flood } from '../support/flood.js'
import {
  ask,
  backendOf,
  notify,
  openListener,
  serverChannels,
  serverChannelsAsListened,
  terminate,
  uniqueChannel,
} from '../support/listener.js'
import { startProxy } from '../../lab/network/proxy.js'
import { block, collect, deferred, waitFor, within } from '../../lab/wait.js'

test('a callback added before startup is only recorded', async (t) => {
  const { listener } = await openListener(t, {}, { dbName: 'no_such_database' })
  const channel = uniqueChannel()
  await listener.addCallback(channel, () => {})
  await listener.addChannel(channel)
  t.deepEqual(listener.channels, [channel])
  await listener.removeChannel(channel)
  await listener.clearChannelCallbacks(channel)
  t.deepEqual(listener.channels, [])
})

test('a callback that is added resolves once the server listens', async (t) => {
  const { listener } = await openListener(t)
  await listener.startup()
  const channel = uniqueChannel()
  await listener.addCallback(channel, () => {})
  t.deepEqual(await serverChannels(listener), [channel])
})

test('a callback added while startup is under way waits for it', async (t) => {
  const { listener } = await openListener(t)
  const starting = listener.startup()
  const channel = uniqueChannel()
  await listener.addCallback(channel, () => {})
  t.true(listener.isStarted)
  t.deepEqual(await serverChannels(listener), [channel])
  await starting
})

test('LISTENs go out in the order of the subscriptions, in each session', async (t) => {
  const { listener } = await openListener(t, { reconnect: { initialDelayMs: 1, maxDelayMs: 5 } })
  const prefix = uniqueChannel()
  const channels = Array.from({ length: 200 }, (_, n) => `${prefix} ${(n * 37) % 200}`)
  const [before, after] = [channels.slice(0, 100), channels.slice(100)]
  for (const channel of before) await listener.addChannel(channel)
  await listener.startup()
  await Promise.all(after.map((channel) => listener.addChannel(channel)))
  const version = await listener.connection.fetchVal<number>(
    "SELECT current_setting('server_version_num')::int4",
  )
  // Later ones may keep them in any order.
  const [ask, expected] =
    version < 190_000 ? [serverChannelsAsListened, channels] : [serverChannels, channels.toSorted()]
  t.deepEqual(await ask(listener), expected)
  t.deepEqual(listener.channels, channels)
  const back = once(listener, 'reconnected')
  await terminate(await backendOf(listener))
  await within(back)
  t.deepEqual(await ask(listener), expected)
})

test('channels that come and go by the thousand leave those that stay', async (t) => {
  const { listener } = await openListener(t)
  await listener.startup()
  const prefix = uniqueChannel()
  const got: string[] = []
  const stays: string[] = []
  for (let round = 0; round < 4; round += 1) {
    const channels = Array.from({ length: 1500 }, (_, n) => `${prefix} ${round} ${n}`)
    await Promise.all(
      channels.map((channel) => listener.addCallback(channel, (_, text) => got.push(text))),
    )
    stays.push(...channels.splice(700, 1))
    await Promise.all(channels.map((channel) => listener.clearChannelCallbacks(channel)))
  }
  t.deepEqual(listener.channels, stays)
  t.deepEqual(await serverChannels(listener), stays.toSorted())
  listener.listen()
  for (const channel of stays) await notify(channel, channel)
  await notify(`${prefix} 0 1`, 'gone')
  await listener.sync()
  t.deepEqual(got, stays)
})

test('while reconnecting, a subscription resolves once the next session has it', async (t) => {
  const proxy = await startProxy(t)
  const { listener } = await openListener(
    t,
    { reconnect: { initialDelayMs: 1, maxDelayMs: 5 } },
    { dsn: proxy.dsn },
  )
  const [kept, dropped, added] = [uniqueChannel(), uniqueChannel(), uniqueChannel()]
  await listener.addChannel(kept)
  await listener.addChannel(dropped)
  await listener.startup()
  proxy.cut()
  await once(listener, 'disconnected')
  await within(listener.removeChannel(dropped))
  let resolved = false
  const adding = listener.addChannel(added).then(() => (resolved = true))
  await waitFor(() => proxy.refused > 2)
  t.false(resolved)
  proxy.open()
  await within(adding)
  t.deepEqual(await serverChannels(listener), [kept, added].sort())
})

test('a subscription that cannot be committed is refused, and leaves no trace', async (t) => {
  const { listener } = await openListener(t)
  const [before, refused, kept] = [uniqueChannel(), uniqueChannel(), uniqueChannel()]
  await listener.addChannel(before)
  await listener.startup()
  const calls: string[] = []
  const remember = (_: unknown, payload: string) => calls.push(payload)
  await listener.addChannel(kept)
  // In a transaction a LISTEN counts only once it ends, so it cannot be what the promise promises.
  await listener.connection.executeBatch('BEGIN')
  await Promise.all([
    t.throwsAsync(listener.addCallback(refused, remember), { instanceOf: ConnectionExecuteError }),
    t.throwsAsync(listener.addChannel(refused), { instanceOf: ConnectionExecuteError }),
  ])
  await listener.connection.executeBatch('COMMIT')
  t.deepEqual(listener.channels, [before, kept])
  t.deepEqual(await serverChannels(listener), [before, kept].sort())

  listener.listen()
  await listener.addChannel(refused)
  await notify(refused, 'not for the refused callback')
  await listener.sync()
  t.deepEqual(calls, [])
  await listener.addCallback(refused, remember)
  await notify(refused, 'for the new one')
  await listener.sync()
  t.deepEqual(calls, ['for the new one'])
})

test('an UNLISTEN that cannot be committed is told of, and done once it can be', async (t) => {
  const { listener } = await openListener(t, {
    heartbeat: { intervalMs: 50, timeoutMs: 10_000 },
  })
  const [kept, called, explicit, streamed] = Array.from({ length: 4 }, uniqueChannel)
  const calls: string[] = []
  const remember = (_: unknown, payload: string) => calls.push(payload)
  const warnings: string[] = []
  listener.on('warning', ({ message }) => warnings.push(message))
  await listener.addChannel(kept!)
  await listener.addCallback(called!, remember)
  await listener.addChannel(explicit!)
  await listener.startup()
  listener.listen()
  const stream = await listener.subscribe(streamed!)
  await listener.connection.executeBatch('BEGIN')
  const refused = { instanceOf: ConnectionExecuteError, message: /a transaction is open/ }
  await Promise.all([
    t.throwsAsync(listener.removeCallback(called!, remember), refused),
    t.throwsAsync(listener.removeChannel(explicit!), refused),
  ])
  // Nobody waits for the end of a stream's subscription.
  await stream.return()
  await waitFor(() => warnings.length > 0)
  t.regex(warnings.join(), /^a channel stays subscribed for now: a transaction is open/)
  t.deepEqual(listener.channels, [kept])
  t.is((await serverChannels(listener)).length, 4)
  await notify(called!, 'for nobody')
  await listener.connection.executeBatch('COMMIT')

  await waitFor(async () => (await serverChannels(listener)).join() === kept)
  t.deepEqual(calls, [])
  t.is(listener.stats().gaps, 0)
  t.is(warnings.length, 1)
})

test('what is no function is no callback', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  for (const wrong of [undefined, null, 'callback', {}, 5]) {
    const options = { instanceOf: ListenerCallbackError, message: /`callback` to be a function/ }
    await t.throwsAsync(listener.addCallback(channel, wrong as never), options)
    await t.throwsAsync(listener.removeCallback(channel, wrong as never), options)
    t.throws(() => listener.addGapCallback(wrong as never), options)
    t.throws(() => listener.removeGapCallback(wrong as never), options)
  }
  t.deepEqual(listener.channels, [])
})

test('the same function twice is called twice, and removed one at a time', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  const calls: string[] = []
  const remember = (_: unknown, payload: string) => calls.push(payload)
  await listener.startup()
  listener.listen()
  await listener.addCallback(channel, remember)
  await listener.addCallback(channel, remember)
  await notify(channel, 'twice')
  await listener.sync()
  await listener.removeCallback(channel, remember)
  await notify(channel, 'once')
  await listener.sync()
  t.deepEqual(calls, ['twice', 'twice', 'once'])
  t.deepEqual(await serverChannels(listener), [channel])

  await listener.removeCallback(channel, remember)
  t.deepEqual(listener.channels, [])
  t.deepEqual(await serverChannels(listener), [])
  await listener.removeCallback(channel, remember)
})

test('removing a callback that is not there, or of another channel, changes nothing', async (t) => {
  const { listener } = await openListener(t)
  const [one, other] = [uniqueChannel(), uniqueChannel()]
  const callback = () => {}
  await listener.startup()
  await listener.addCallback(one, callback)
  await listener.removeCallback(one, () => {})
  await listener.removeCallback(other, callback)
  await listener.clearChannelCallbacks(other)
  await listener.removeChannel(one)
  t.deepEqual(listener.channels, [one])
  t.deepEqual(await serverChannels(listener), [one])
})

test('a channel stays for as long as a callback or addChannel() wants it', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  const callback = () => {}
  await listener.startup()
  await listener.addChannel(channel)
  await listener.addChannel(channel)
  await listener.addCallback(channel, callback)
  await listener.clearChannelCallbacks(channel)
  t.deepEqual(await serverChannels(listener), [channel])
  await listener.addCallback(channel, callback)
  await listener.removeChannel(channel)
  t.deepEqual(await serverChannels(listener), [channel])
  await listener.removeCallback(channel, callback)
  t.deepEqual(await serverChannels(listener), [])
})

test('what was buffered when a channel was cleared is not delivered, nor to a new callback', async (t) => {
  for (const explicit of [false, true]) {
    const { listener } = await openListener(t)
    const channel = uniqueChannel()
    const calls: string[] = []
    const running = deferred()
    const release = deferred()
    await listener.addCallback(channel, async (_, payload) => {
      calls.push(`old ${payload}`)
      running.resolve()
      await release.promise
    })
    if (explicit) await listener.addChannel(channel)
    await listener.startup()
    listener.listen()
    await flood(channel, 1, 1000)
    await running.promise
    await waitFor(() => listener.stats().received === 1000)
    await listener.clearChannelCallbacks(channel)
    await listener.addCallback(channel, (_, payload) => calls.push(`new ${payload}`))
    release.resolve()
    await notify(channel, 'after')
    await listener.sync()
    t.deepEqual(calls, ['old 1', 'new after'])
  }
})

test('a callback that an earlier one removes is not called for the same notification', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  const calls: string[] = []
  const later = (_: unknown, payload: string) => calls.push(`later ${payload}`)
  await listener.addCallback(channel, async (_, payload) => {
    calls.push(`first ${payload}`)
    await listener.removeCallback(channel, later)
  })
  await listener.addCallback(channel, later)
  await listener.startup()
  listener.listen()
  await notify(channel, '1')
  await listener.sync()
  t.deepEqual(calls, ['first 1'])
})

test('a callback that is undone as its startup fails tells what ended it', async (t) => {
  const proxy = await startProxy(t)
  proxy.freeze()
  const { pool } = await openListener(t, {}, { dsn: proxy.dsn })
  for (let round = 0; round < 20; round += 1) {
    const listener = pool.listener()
    const channel = uniqueChannel()
    await listener.addChannel(channel)
    const abort = new AbortController()
    const asked = [
      listener.startup({ signal: abort.signal }),
      listener.addCallback(channel, () => {}, { signal: abort.signal }),
      listener.addCallback(channel, () => {}),
    ]
    abort.abort()
    const settled = await Promise.allSettled(asked)
    const names = settled.map((one) => one.status === 'rejected' && (one.reason as Error).name)
    t.deepEqual(names, ['AbortError', 'AbortError', 'ListenerClosedError'])
    t.deepEqual(listener.channels, [channel])
    await listener.shutdown()
  }
})

test('clearing the callbacks of a channel leaves its iterators alone', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.addCallback(channel, () => {})
  await listener.startup()
  listener.listen()
  const messages = listener.messages()
  await notify(channel, 'before')
  await listener.clearChannelCallbacks(channel)
  await notify(channel, 'after')
  const payloads = (await collect(messages, 2)).map(({ payload }) => payload)
  t.deepEqual(payloads, ['before', 'after'])
})

test('callbacks that come and go leave to iterators what came before', async (t) => {
  const { listener, pool } = await openListener(t)
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  const comeAndGo = (times: number) => {
    for (let time = 0; time < times; time += 1) {
      const callback = () => {}
      void listener.addCallback(channel, callback)
      void listener.removeCallback(channel, callback)
    }
  }
  // The same wake hands the notification to an iterator that waits, too.
  const remove = await listener.addCallback(channel, () => {
    void remove()
    comeAndGo(200)
  })
  await listener.startup()
  listener.listen()
  const first = listener.messages().next()
  // From then on both wait for a notification.
  await listener.sync()
  const sent = pool.execute("SELECT pg_notify($1, '1') FROM pg_sleep(0.2)", [channel])
  await ask('SELECT 1')
  for (let turn = 0; turn < 500 && listener.stats().received === 0; turn += 1) block(10)
  t.is((await within(first)).value?.payload, '1')
  await sent
  const [late, batches] = [listener.messages(), listener.batches({ maxSize: 1 })]
  await notify(channel, '2')
  await notify(channel, '3')
  await waitFor(() => listener.stats().received === 3)
  t.is((await collect(batches, 1))[0]?.[0]?.payload, '2')
  comeAndGo(1000)
  await notify(channel, '4')
  const payloads = (await collect(late, 3)).map(({ payload }) => payload)
  t.deepEqual(payloads, ['2', '3', '4'])
  const rest = (await collect(batches, 2)).flat()
  t.deepEqual(
    rest.map(({ payload }) => payload),
    ['3', '4'],
  )
})

test('clearing everything leaves neither callbacks nor channels', async (t) => {
  const { listener } = await openListener(t)
  const [called, explicit, marker] = [uniqueChannel(), uniqueChannel(), uniqueChannel()]
  await listener.addCallback(called, () => t.fail('called'))
  await listener.addChannel(explicit)
  await listener.startup()
  const messages = listener.messages()
  await notify(called)
  await notify(explicit)
  await waitFor(() => listener.stats().received === 2)
  await listener.clearAllChannels()
  listener.listen()
  t.deepEqual(listener.channels, [])
  t.deepEqual(await serverChannels(listener), [])
  await listener.addChannel(marker)
  await notify(called)
  await notify(explicit)
  await notify(marker, 'marker')
  t.is((await collect(messages, 1))[0]?.channel, marker)
})

test('the channels of a notification and of its callback are spelled as they were subscribed', async (t) => {
  const { listener } = await openListener(t)
  const channel = `Ünï "quoted" ${uniqueChannel()}`
  const called: string[] = []
  await listener.addCallback(channel, (_, __, name) => called.push(name))
  await listener.startup()
  listener.listen()
  const messages = listener.messages({ channels: [channel] })
  await notify(channel)
  t.is((await collect(messages, 1))[0]?.channel, channel)
  await messages.return()
  await listener.sync()
  t.deepEqual(called, [channel])
})

for (const isBounded of [false, true]) {
  test(`a subscription that fails late takes nothing from the next run (${isBounded ? 'with' : 'without'} bounds)`, async (t) => {
    const proxy = await startProxy(t)
    const [kept, failing] = [uniqueChannel(), uniqueChannel()]
    const options = { channels: [kept], reconnect: { initialDelayMs: 1, maxDelayMs: 10 } }
    const { listener } = await openListener(t, options, { dsn: proxy.dsn })
    await listener.startup()
    const lost = once(listener, 'disconnected')
    proxy.cut()
    await lost
    const bounds = isBounded ? { timeoutMs: 60_000 } : {}
    const adding = t.throwsAsync(listener.addChannel(failing, bounds), {
      instanceOf: ListenerClosedError,
    })
    const calling = t.throwsAsync(
      listener.addCallback(failing, () => {}, bounds),
      { instanceOf: ListenerClosedError },
    )
    let starting: Promise<void> | undefined
    listener.once('closed', () => {
      proxy.open()
      starting = listener.startup()
    })
    await listener.shutdown()
    await Promise.all([adding, calling])
    await within(starting!)
    t.deepEqual(listener.channels, [kept])
    // It may have been asked for, and was taken back.
    await waitFor(async () => (await serverChannels(listener)).join() === kept)
    await listener.addChannel(failing)
    t.deepEqual(await serverChannels(listener), [kept, failing].toSorted())
    await listener.removeChannel(failing)
    t.deepEqual(await serverChannels(listener), [kept])
  })
}
