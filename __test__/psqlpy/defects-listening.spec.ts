// Where psqlpy's listener falls silent while it is listening, and this one must not.

import test from 'ava'
import { type Gap, ListenerCallbackError } from 'pglisten'
import { uniqueName } from '../../lab/unique-name.js'
import {
  ask,
  backendOf,
  notify,
  openListener,
  run,
  serverChannels,
  terminate,
  uniqueChannel,
} from '../support/listener.js'
import { collect, waitFor, within } from '../../lab/wait.js'

test('a callback that is added while listening is called without anything else arriving', async (t) => {
  const { listener } = await openListener(t)
  const payloads: string[] = []
  await listener.startup()
  listener.listen()
  const channel = uniqueChannel()
  await listener.addCallback(channel, (_, payload) => payloads.push(payload))
  await notify(channel, 'first')
  await waitFor(() => payloads.length === 1)
  t.deepEqual(payloads, ['first'])
})

test('an iterator that is waiting already gets a channel that is added later', async (t) => {
  const { listener } = await openListener(t)
  await listener.startup()
  const next = listener.messages().next()
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await notify(channel, 'later')
  t.is((await within(next)).value?.payload, 'later')
})

test('a listener that was restarted hears the channels of before', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  const payloads: string[] = []
  await listener.addCallback(channel, (_, payload) => payloads.push(payload))
  for (const round of ['one', 'two', 'three']) {
    await listener.startup()
    listener.listen()
    await notify(channel, round)
    await waitFor(() => payloads.at(-1) === round)
    await listener.shutdown()
  }
  t.deepEqual(payloads, ['one', 'two', 'three'])
})

test('the death of the session is told, and listening goes on in a new one', async (t) => {
  const { listener } = await openListener(t, { reconnect: { initialDelayMs: 1 } })
  const channel = uniqueChannel()
  const seen: string[] = []
  await listener.addCallback(channel, (_, payload) => seen.push(payload))
  listener.addGapCallback((_, gap) => seen.push(`gap: ${gap.reason}`))
  const gaps: Gap[] = []
  listener.on('gap', (gap) => gaps.push(gap))
  listener.on('disconnected', ({ processId }) => seen.push(`lost ${processId}`))
  await listener.startup()
  listener.listen()
  await notify(channel, 'before')
  await listener.sync()

  const backend = await backendOf(listener)
  await terminate(backend)
  await waitFor(() => gaps.length === 1)
  await notify(channel, 'after')
  await listener.sync()
  t.deepEqual(seen, ['before', `lost ${backend}`, 'gap: disconnect', 'after'])
  t.like(gaps[0], { sqlState: '57P01', oldProcessId: backend })
})

test('a notice or a warning of the server stops neither callbacks nor iterators', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  const payloads: string[] = []
  const notices: string[] = []
  listener.on('warning', ({ notice }) => notice && notices.push(notice.message))
  await listener.addCallback(channel, async (connection, payload) => {
    // On the callback's own connection too, where psqlpy's callbacks stumble first.
    await connection.executeBatch("DO $$ BEGIN RAISE NOTICE 'from the callback'; END $$")
    payloads.push(payload)
  })
  await listener.startup()
  listener.listen()
  const messages = listener.messages()
  for (const level of ['NOTICE', 'WARNING']) {
    await listener.connection.executeBatch(`DO $$ BEGIN RAISE ${level} 'a ${level}'; END $$`)
    await notify(channel, `after a ${level}`)
  }
  await waitFor(() => payloads.length === 2)
  const yielded = await collect(messages, 2)
  t.deepEqual(payloads, ['after a NOTICE', 'after a WARNING'])
  t.deepEqual(
    yielded.map(({ payload }) => payload),
    payloads,
  )
  t.deepEqual(notices, ['a NOTICE', 'a WARNING'])
})

test('a callback that fails is reported, and the next notification is delivered', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  const payloads: string[] = []
  const errors: Error[] = []
  listener.on('error', (error) => errors.push(error))
  await listener.addCallback(channel, async (_, payload) => {
    if (payload === 'bad') throw new RangeError('on purpose')
  })
  await listener.addCallback(channel, (_, payload) => payloads.push(payload))
  await listener.startup()
  listener.listen()
  await notify(channel, 'bad')
  await notify(channel, 'good')
  await listener.sync()
  t.deepEqual(payloads, ['bad', 'good'])
  t.is(errors.length, 1)
  t.true(errors[0] instanceof ListenerCallbackError)
  t.like(errors[0], { channel, payload: 'bad' })
  t.true(errors[0]?.cause instanceof RangeError)
})

test('a callback may add, remove and clear callbacks, and wait for that', async (t) => {
  const { listener } = await openListener(t)
  const [control, added, cleared, removed] = Array.from({ length: 4 }, uniqueChannel) as [
    string,
    string,
    string,
    string,
  ]
  const calls: string[] = []
  const remember = (_: unknown, payload: string, channel: string) => calls.push(channel + payload)
  await listener.addCallback(cleared, remember)
  await listener.addCallback(removed, remember)
  await listener.addCallback(control, async () => {
    await listener.addCallback(added, remember)
    await listener.clearChannelCallbacks(cleared)
    await listener.removeCallback(removed, remember)
    calls.push('done')
  })
  await listener.startup()
  listener.listen()
  await notify(control)
  await waitFor(() => calls.includes('done'))
  t.deepEqual(await serverChannels(listener), [control, added].sort())
  for (const channel of [cleared, removed, added]) await notify(channel, '!')
  await listener.sync()
  t.deepEqual(calls, ['done', `${added}!`])
})

test('a callback may shut the listener down', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  const closed = new Promise<void>((resolve, reject) => {
    void listener.addCallback(channel, () =>
      listener.shutdown({ timeoutMs: 60_000 }).then(resolve, reject),
    )
  })
  await listener.startup()
  listener.listen()
  await notify(channel)
  await within(closed)
  t.is(listener.state, 'closed')
})

test('subscriptions that are asked for at the same time all come about', async (t) => {
  const { listener } = await openListener(t)
  const channels = Array.from({ length: 20 }, uniqueChannel)
  const calls: string[] = []
  await listener.startup()
  listener.listen()
  await Promise.all(
    channels.flatMap((channel) => [
      listener.addCallback(channel, () => calls.push(channel)),
      listener.addChannel(channel),
    ]),
  )
  t.deepEqual(await serverChannels(listener), [...channels].sort())
  for (const channel of channels) await notify(channel)
  await listener.sync()
  t.deepEqual(calls, channels)
})

test('the case of a channel is kept, and one with a dash is a channel like any other', async (t) => {
  const { listener } = await openListener(t)
  const mixed = uniqueName('MyChan')
  const dashed = uniqueName('my-chan')
  const calls: string[] = []
  for (const channel of [mixed, mixed.toLowerCase(), dashed]) {
    await listener.addCallback(channel, (_, payload, name) => calls.push(`${name} ${payload}`))
  }
  await listener.startup()
  listener.listen()
  await notify(mixed, 'mixed')
  await notify(mixed.toLowerCase(), 'lower')
  await notify(dashed, 'dashed')
  await listener.sync()
  t.deepEqual(calls, [`${mixed} mixed`, `${mixed.toLowerCase()} lower`, `${dashed} dashed`])
})

test('a channel is a name and never SQL', async (t) => {
  const table = uniqueName('victim')
  await run(`CREATE TABLE ${table} (id INT)`)
  t.teardown(() => run(`DROP TABLE IF EXISTS ${table}`))
  const { listener } = await openListener(t)
  const channels = [`a;DROP TABLE ${table};--`, `a";DROP TABLE ${table};--`]
  const calls: string[] = []
  const remember = (_: unknown, payload: string) => calls.push(payload)
  await listener.addCallback(channels[0]!, remember)
  await listener.startup()
  listener.listen()
  await listener.addCallback(channels[1]!, remember)
  for (const channel of channels) await notify(channel, channel)
  await listener.sync()
  t.deepEqual(calls, channels)
  for (const channel of channels) await listener.clearChannelCallbacks(channel)
  t.deepEqual(await serverChannels(listener), [])
  t.is(await ask('SELECT to_regclass($1)::text', [table]), table)
})
