// The delivery contract, "ready": once a subscription has resolved, nothing committed later is missed.

import test from 'ava'
import { Gap } from 'pglisten'
import { uniqueName } from '../../lab/unique-name.js'
import { flood, range } from '../support/flood.js'
import {
  backendOf,
  notify,
  type Opened,
  openListener,
  run,
  serverChannels,
  terminate,
  uniqueChannel,
} from '../support/listener.js'
import { isPending, occupy } from '../support/occupy.js'
import { collect, deferred, within } from '../../lab/wait.js'

test('10,000 subscriptions each get the notification sent right after they resolved', async (t) => {
  t.timeout(120_000)
  const LISTENERS = 4
  const LANES = 10
  const ROUNDS = 10_000 / LISTENERS / LANES
  let received = 0
  const lane = async ({ listener }: Opened) => {
    for (let round = 0; round < ROUNDS; round += 1) {
      const channel = uniqueChannel()
      const arrived = deferred()
      const callback = (_: unknown, payload: string) => {
        received += 1
        if (payload === channel) arrived.resolve()
      }
      await listener.addCallback(channel, callback)
      await notify(channel, channel)
      await within(arrived.promise, { what: `notification ${round} on ${channel}` })
      await listener.removeCallback(channel, callback)
    }
  }
  const listeners = await Promise.all(range(1, LISTENERS).map(() => openListener(t)))
  for (const { listener } of listeners) {
    await listener.startup()
    listener.listen()
  }
  await Promise.all(listeners.flatMap((opened) => range(1, LANES).map(() => lane(opened))))
  t.is(received, 10_000)
})

test('startup resolves once every channel known by then is listened to', async (t) => {
  const channels = range(1, 50).map(uniqueChannel)
  const { listener } = await openListener(t, { channels: channels.slice(0, 25) })
  const received: string[] = []
  for (const channel of channels.slice(25)) {
    await listener.addCallback(channel, (_, payload) => received.push(payload))
  }
  await listener.startup()
  await Promise.all(channels.map((channel) => notify(channel, channel)))
  t.deepEqual(await serverChannels(listener), channels.toSorted())
  const messages = await collect(listener.messages(), channels.length)
  t.deepEqual(messages.map(({ payload }) => payload).toSorted(), channels.toSorted())
})

for (const subscribe of ['addCallback', 'addChannel'] as const) {
  test(`${subscribe} does not resolve before the server has committed the LISTEN`, async (t) => {
    const { listener } = await openListener(t)
    await listener.startup()
    const messages = listener.messages()
    const channel = uniqueChannel()
    const release = await occupy(listener.connection)
    const ready =
      subscribe === 'addCallback'
        ? listener.addCallback(channel, () => {})
        : listener.addChannel(channel)
    const pending = await isPending(ready)
    await release()
    await ready
    t.true(pending)
    await notify(channel, 'after')
    t.is((await collect(messages, 1))[0]?.payload, 'after')
  })
}

test('a second subscription to a channel waits for the LISTEN of the first', async (t) => {
  const { listener } = await openListener(t)
  await listener.startup()
  const channel = uniqueChannel()
  const release = await occupy(listener.connection)
  const first = listener.addChannel(channel)
  const second = listener.addCallback(channel, () => {})
  const pending = await isPending(second)
  await release()
  await Promise.all([first, second])
  t.true(pending)
})

test('a channel that is removed and added again at once is heard', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  const messages = listener.messages()
  for (const round of range(1, 100)) {
    const removed = listener.removeChannel(channel)
    await listener.addChannel(channel)
    await notify(channel, String(round))
    t.is((await collect(messages, 1))[0]?.payload, String(round))
    await removed
  }
})

test('a removed channel is not listened to, and its notifications go nowhere', async (t) => {
  const { listener } = await openListener(t)
  const [kept, removed, called] = [uniqueChannel(), uniqueChannel(), uniqueChannel()]
  const callback = () => t.fail('called after it was removed')
  await listener.addChannel(kept)
  await listener.addChannel(removed)
  await listener.addCallback(called, callback)
  await listener.startup()
  listener.listen()
  const messages = listener.messages()
  await listener.removeChannel(removed)
  await listener.removeCallback(called, callback)
  t.deepEqual(await serverChannels(listener), [kept])
  t.deepEqual(listener.channels, [kept])
  for (const channel of [removed, called, kept]) await notify(channel, channel)
  t.is((await collect(messages, 1))[0]?.payload, kept)
})

test('what is committed while the session is lost is covered by a gap, and the rest is delivered', async (t) => {
  const LOSSES = 10
  const channel = uniqueChannel()
  const { listener } = await openListener(t, {
    // Many more, for the server to take its time between the LISTENs and their verification.
    channels: [channel, ...range(1, 200).map(uniqueChannel)],
    reconnect: { initialDelayMs: 1, maxDelayMs: 50 },
  })
  await listener.startup()
  let processId = await backendOf(listener)
  const messages = listener.messages({ gaps: 'include' })
  const stop = uniqueName('stop')
  await run(`CREATE TABLE ${stop} (now bool)`)
  t.teardown(() => run(`DROP TABLE ${stop}`))
  const sending = run(`DO $$ DECLARE n int4 := 0; BEGIN
    LOOP
      n := n + 1;
      PERFORM pg_notify('${channel}', n::text);
      COMMIT;
      EXIT WHEN n % 50 = 0 AND EXISTS (SELECT FROM ${stop});
    END LOOP;
    PERFORM pg_notify('${channel}', 'end');
  END $$`)

  let expected = 1
  let gaps = 0
  let sinceGap = 0
  for (;;) {
    const [item] = await collect(messages, 1)
    if (item instanceof Gap) {
      t.like(item, { reason: 'disconnect', oldProcessId: processId })
      processId = item.newProcessId!
      gaps += 1
      sinceGap = 0
      continue
    }
    if (item!.payload === 'end') break
    const n = Number(item!.payload)
    // Numbers may be missing at a gap, and nowhere else; none comes twice or too late.
    const inOrder = gaps > 0 && sinceGap === 0 ? n >= expected : n === expected
    if (!inOrder) {
      t.fail(`after ${gaps} gaps: expected ${expected}, got ${n}`)
      break
    }
    expected = n + 1
    sinceGap += 1
    if (sinceGap !== 50) continue
    if (gaps < LOSSES) await terminate(processId)
    else await run(`INSERT INTO ${stop} VALUES (true)`)
  }
  await run(`INSERT INTO ${stop} VALUES (true)`)
  await sending
  t.is(gaps, LOSSES)
})

test('a subscription made while the session is lost resolves once the next one listens', async (t) => {
  const { listener } = await openListener(t, {
    reconnect: { initialDelayMs: 300, maxDelayMs: 300 },
  })
  await listener.startup()
  const channel = uniqueChannel()
  const lost = deferred()
  listener.once('disconnected', () => lost.resolve())
  const processId = await backendOf(listener)
  await terminate(processId)
  await within(lost.promise)
  const messages = listener.messages()
  await listener.addChannel(channel)
  t.is(listener.state, 'connected')
  t.not(await backendOf(listener), processId)
  await flood(channel, 1, 100)
  const received = await collect(messages, 100)
  t.deepEqual(
    received.map(({ payload }) => Number(payload)),
    range(1, 100),
  )
})
