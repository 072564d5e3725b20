// Gaps of overflows: exact, in their place among other gaps, within their time; and a blocked event loop is one.

import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { Gap, type ListenerNotificationMsg, type ListenerOptions } from 'pglisten'
import { blockedLoop } from '../../lab/faults/blocked-loop.js'
import { flood, range } from '../support/flood.js'
import { backendOf, openListener, terminate, uniqueChannel } from '../support/listener.js'
import { collect, waitFor, within } from '../../lab/wait.js'

const MEBIBYTE = 1024 * 1024

async function start(t: ExecutionContext, buffer: ListenerOptions['buffer']) {
  const channel = uniqueChannel()
  const { listener } = await openListener(t, {
    channels: [channel],
    reconnect: { initialDelayMs: 1, maxDelayMs: 10 },
    buffer: buffer!,
  })
  await listener.startup()
  const send = async (from: number, to: number) => {
    const { received } = listener.stats()
    await flood(channel, from, to)
    await waitFor(() => listener.stats().received === received + to - from + 1)
  }
  const breakSession = async () => {
    const back = once(listener, 'reconnected')
    await terminate(await backendOf(listener))
    await within(back)
  }
  return { listener, send, breakSession }
}

/** Numbers, and gaps as their counts: `null` for a lost session. */
const shown = (items: (ListenerNotificationMsg | Gap)[]) =>
  items.map((item) => (item instanceof Gap ? { dropped: item.dropped } : Number(item.payload)))

test('dropOldest never drops a gap: each break stays where it was, and apart', async (t) => {
  const { listener, send, breakSession } = await start(t, { maxMessages: 10 })
  const messages = listener.messages({ gaps: 'include' })
  await send(1, 25)
  await breakSession()
  await send(26, 50)
  await breakSession()
  await breakSession()
  await send(51, 65)
  const items = await collect(messages, 16)
  const disconnect = { dropped: null }
  t.deepEqual(shown(items), [
    ...[{ dropped: 25 }, disconnect, { dropped: 25 }, disconnect, disconnect, { dropped: 5 }],
    ...range(56, 65),
  ])
  t.like(listener.stats(), { received: 65, delivered: 10, dropped: 55, buffered: 0 })
})

test('dropNewest never drops a gap: each break stays where it was, and apart', async (t) => {
  const { listener, send, breakSession } = await start(t, {
    maxMessages: 10,
    overflow: 'dropNewest',
  })
  const messages = listener.messages({ gaps: 'include' })
  await send(1, 25)
  await breakSession()
  await send(26, 50)
  await breakSession()
  await breakSession()
  await send(51, 65)
  const disconnect = { dropped: null }
  t.deepEqual(shown(await collect(messages, 16)), [
    ...range(1, 10),
    ...[{ dropped: 15 }, disconnect, { dropped: 25 }, disconnect, disconnect, { dropped: 15 }],
  ])
  t.like(listener.stats(), { received: 65, delivered: 10, dropped: 55, buffered: 0 })
})

for (const overflow of ['dropOldest', 'dropNewest'] as const) {
  test(`under ${overflow} what was dropped was sent within the gap's time`, async (t) => {
    const { listener, send } = await start(t, { maxMessages: 10, overflow })
    const messages = listener.messages({ gaps: 'include' })
    const times: number[] = []
    for (let round = 0; round < 5; round += 1) {
      times.push(Date.now())
      await send(round * 5 + 1, round * 5 + 5)
      // The clock moves on.
      await waitFor(() => Date.now() > times.at(-1)! + 20)
    }
    times.push(Date.now())
    const items = await collect(messages, 11)
    const gap = items.find((item) => item instanceof Gap)!
    t.is(gap.dropped, 15)
    // The first round that was dropped, and the end of the last.
    const [first, last] = overflow === 'dropOldest' ? [0, 3] : [2, 5]
    t.true(
      gap.lostAt.getTime() <= times[first + 1]!,
      `lostAt ${gap.lostAt.getTime()}, ${times.join()}`,
    )
    t.true(
      gap.lostAt.getTime() <= times[first]! + 15,
      `lostAt ${gap.lostAt.getTime()}, ${times.join()}`,
    )
    t.true(
      gap.resumedAt.getTime() >= times[last - 1]!,
      `${gap.resumedAt.getTime()}, ${times.join()}`,
    )
  })
}

for (const [overflow, maxPauseMs] of [
  ['dropOldest', 10_000],
  ['dropNewest', 10_000],
  ['pause', 500],
] as const) {
  test.serial(
    `a blocked event loop (${overflow}) costs no more memory than agreed, and the server nothing`,
    async (t) => {
      t.timeout(180_000)
      // It goes on when the server has nothing of it any more: by then the flood is over, however long it took.
      const seen = await blockedLoop({ bytes: 200e6, overflow, maxPauseMs })
      t.log(seen)
      t.deepEqual(seen.server, { queueUsage: 0, holdsXmin: false, waitsForIt: false })
      t.deepEqual(seen.violations, [])
      // What was being read when a pause began is kept too.
      t.true(seen.bufferedBytes <= seen.boundBytes + MEBIBYTE, `${seen.bufferedBytes}`)
      t.true(seen.bufferedBytes > seen.boundBytes / 2, `${seen.bufferedBytes}`)
      t.true(seen.grownBytes < seen.boundBytes + 64 * MEBIBYTE, `${seen.grownBytes}`)
      if (overflow === 'pause') {
        // The server got rid of the session while the event loop was blocked: the pause has ended by itself.
        t.true(seen.gaps['disconnect']! >= 1)
        t.is(seen.dropped, 0)
      } else {
        t.is(seen.delivered + seen.dropped, seen.sent)
        t.deepEqual(seen.gaps, { overflow: 1 })
      }
    },
  )
}
