// The delivery contract, "fairness", where several consumers share the event loop: what one does costs the others no
// more than its share. All of it is counted, in deliveries and turns: the clock stands still but for what deliveries are
// said to take.

import { advance, releaseClock, stopClock } from '../support/clock.js'
import { SLICE_MS, Turns } from '../support/turns.js'
import { AsyncLocalStorage, createHook } from 'node:async_hooks'
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import { mock } from 'node:test'
import test, { type ExecutionContext } from 'ava'
import type { ListenerOptions } from 'pglisten'
import { flood } from '../support/flood.js'
import { notify, openListener, run, uniqueChannel, witness } from '../support/listener.js'
import { block, waitFor, within } from '../../lab/wait.js'

/** A started listener with a backlog of `count` that nobody has taken. */
async function backlog(t: ExecutionContext, count: number, options: ListenerOptions<string> = {}) {
  const { listener } = await openListener(t, {
    ...options,
    buffer: { maxMessages: count, maxBytes: 20_000 + count * 200 },
  })
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  await flood(channel, 1, count)
  await waitFor(() => listener.stats().received === count)
  return { listener, channel }
}

/** What one cheap delivery takes: two hundred of them fill a turn. */
const CHEAP_MS = SLICE_MS / 200

test.serial('slow callbacks do not run many at a time because others are fast', async (t) => {
  const fast = await backlog(t, 20_000)
  const slow = await backlog(t, 60)
  const turns = new Turns(2.5 * SLICE_MS)
  t.teardown(() => turns.end())
  let done = 0
  await fast.listener.addCallback(fast.channel, () => advance(CHEAP_MS))
  await slow.listener.addCallback(slow.channel, () => {
    done += 1
    turns.delivered()
  })
  fast.listener.listen()
  slow.listener.listen()
  await slow.listener.sync()
  t.is(done, 60)
  t.log(`${turns.most} in a turn`)
  t.true(turns.most <= 4, `${turns.most}`)
})

/** A hundred notifications, each committed by itself, with 5 ms between them. */
const oneByOne = (channel: string) => `DO $$ BEGIN
  FOR n IN 1..100 LOOP
    PERFORM pg_notify('${channel}', n::text);
    COMMIT;
    PERFORM pg_sleep(0.005);
  END LOOP; END $$`

test.serial('messages that come one by one leave the event loop its turns', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  // Only those that are waited for take time.
  const turns = new Turns(2.5 * SLICE_MS)
  t.teardown(() => turns.end())
  let got = 0
  await listener.addCallback(channel, () => {
    got += 1
    // The next one comes when its consumer has looked for it in vain, and before the event loop goes on.
    queueMicrotask(() => {
      // Where the server was held up, several are here: they cost nothing, and may all have this turn.
      if (listener.stats().received > got) return
      turns.delivered()
      const deadline = performance.now() + 100
      while (listener.stats().received === got && performance.now() < deadline);
    })
  })
  await listener.startup()
  listener.listen()
  await run(oneByOne(channel))
  await listener.sync()
  t.is(got, 100)
  t.log(`${turns.most} in a turn`)
  // Those that cost nothing let the stride grow to its 8, and no clock is looked at within it. Beside it stand the uncounted ones that
  // begin this turn and the next, which may begin before this test counts it. A loop that left no turns would have all 100 in one.
  t.true(turns.most >= 1 && turns.most <= 16, `${turns.most}`)
})

/** Resolves when the event loop has had nothing to do for a moment. */
async function idle(): Promise<void> {
  const { idleTime } = performance.nodeTiming
  do await sleep(1)
  while (performance.nodeTiming.idleTime === idleTime)
}

for (const together of [1, 8, 16]) {
  test.serial(`${together} that come together ask for no turn`, async (t) => {
    const { listener } = await openListener(t)
    const channel = uniqueChannel()
    let got = 0
    await listener.addCallback(channel, () => {
      got += 1
    })
    await listener.startup()
    listener.listen()
    await using sender = await (await witness()).session()
    let asked = 0
    const hook = createHook({
      init: (_, type) => {
        if (type === 'Immediate') asked += 1
      },
    })
    hook.enable()
    try {
      for (let n = 1; n <= 100; n += 1) {
        await idle()
        await sender.flood(channel, 1, together)
        await waitFor(() => got === n * together)
      }
    } finally {
      hook.disable()
    }
    t.log(`${asked} turns asked for`)
    t.true(asked <= 10, `${asked}`)
  })
}

test.serial('few that come together and take long leave the event loop its turns', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  // The event loop has nothing to do in between, which it would if its turns were counted by immediates.
  const inTurn = new Map<number, number>()
  stopClock()
  t.teardown(releaseClock)
  await listener.addCallback(channel, () => {
    const { loopCount } = performance.nodeTiming.uvMetricsInfo
    inTurn.set(loopCount, (inTurn.get(loopCount) ?? 0) + 1)
    advance(2.5 * SLICE_MS)
  })
  await listener.startup()
  listener.listen()
  await using sender = await (await witness()).session()
  for (let n = 1; n <= 20; n += 1) {
    await idle()
    await sender.flood(channel, 1, 8)
    await listener.sync()
  }
  const counts = [...inTurn.values()]
  t.is(
    counts.reduce((sum, count) => sum + count, 0),
    160,
  )
  t.log(`${Math.max(...counts)} in a turn`)
  t.true(Math.max(...counts) <= 4, counts.join())
})

test.serial('a thousand consumers that are woken at once do not all take at once', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  const count = 2000
  const consumers = 1000
  await using sender = await (await witness()).session()
  // Most of a batch's time goes into pulling it, before the loop has it: four fill a turn.
  const turns = new Turns(0, SLICE_MS / 4)
  t.teardown(() => turns.end())
  let batches = 0
  const loops = Array.from({ length: consumers }, async () => {
    let got = 0
    for await (const batch of listener.batches()) {
      turns.delivered()
      batches += 1
      got += batch.length
      if (got === count) break
    }
  })
  const flooded = sender.flood(channel, 1, count)
  // Everything is here when the event loop goes on.
  const deadline = performance.now() + 30_000
  while (listener.stats().received < count && performance.now() < deadline) block(1)
  t.is(listener.stats().received, count)
  await Promise.all([flooded, ...loops])
  t.log(`${batches} batches, ${turns.most} in a turn`)
  t.true(batches >= consumers)
  t.true(turns.most <= 12, `${turns.most}`)
})

test.serial('a loop that waits for something has its message in almost every turn', async (t) => {
  const busy = await backlog(t, 20_000)
  const patient = await backlog(t, 60)
  const turns = new Turns(CHEAP_MS)
  t.teardown(() => turns.end())
  const rest = (async () => {
    for await (const { payload } of busy.listener) {
      turns.delivered()
      if (Number(payload) === 20_000) break
    }
  })()
  const from = turns.count
  let got = 0
  for await (const { payload } of patient.listener) {
    got += 1
    if (Number(payload) === 60) break
    await nextTurn()
  }
  const took = turns.count - from
  t.is(got, 60)
  t.log(`${got} in ${took} turns`)
  t.true(took <= 1.4 * got, `${got} in ${took} turns`)
  await rest
})

test.serial('a consumer that always has more keeps none from having its own', async (t) => {
  const busy = await Promise.all([backlog(t, 30_000), backlog(t, 30_000), backlog(t, 30_000)])
  const turns = new Turns(CHEAP_MS)
  t.teardown(() => turns.end())
  const got = busy.map(() => 0)
  const whenOneEnded: number[] = []
  await Promise.all(
    busy.map(async ({ listener }, index) => {
      for await (const { payload } of listener) {
        got[index]! += 1
        turns.delivered()
        if (Number(payload) === 30_000) break
      }
      if (whenOneEnded.length === 0) whenOneEnded.push(...got)
    }),
  )
  t.deepEqual(got, [30_000, 30_000, 30_000])
  t.log(whenOneEnded.join(', '))
  t.true(Math.min(...whenOneEnded) > 29_000, whenOneEnded.join(', '))
})

test.serial('timers that a test fakes stop no delivery, then or later', async (t) => {
  const receive = async () => {
    const { listener } = await openListener(t)
    const channel = uniqueChannel()
    let got = 0
    await listener.addCallback(channel, () => (got += 1))
    await listener.startup()
    listener.listen()
    return { listener, channel, got: () => got }
  }
  const first = await receive()
  mock.timers.enable({ apis: ['setImmediate', 'setTimeout'] })
  try {
    for (let n = 1; n <= 100; n += 1) await notify(first.channel, `${n}`)
    await first.listener.sync()
    t.is(first.got(), 100)
  } finally {
    mock.timers.reset()
  }
  const second = await receive()
  for (let n = 1; n <= 100; n += 1) await notify(second.channel, `${n}`)
  await second.listener.sync()
  t.is(second.got(), 100)
})

test.serial('a turn that another consumer asked for has nothing of its context', async (t) => {
  const request = new AsyncLocalStorage<string>()
  const seen: Record<string, Set<string | undefined>> = { a: new Set(), b: new Set() }
  const loops = await Promise.all(
    ['a', 'b'].map((name) =>
      backlog(t, 50_000, {
        parse: (text) => {
          seen[name]!.add(request.getStore())
          return text
        },
      }),
    ),
  )
  await Promise.all(
    loops.map(({ listener }, index) =>
      request.run('ab'[index]!, async () => {
        for await (const { payload } of listener) if (Number(payload) === 50_000) break
      }),
    ),
  )
  t.false(seen['a']!.has('b'))
  t.false(seen['b']!.has('a'))
})

test.serial('of many that are ready at once none is forgotten', async (t) => {
  const { listener, pool } = await openListener(t)
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  const first = Array.from({ length: 200 }, () => listener.messages().next())
  await using connection = await pool.connection()
  const notified = connection.execute("SELECT pg_notify($1, 'to all')", [channel])
  const answers = Array.from({ length: 200 }, (_, n) =>
    connection.fetchVal<number>('SELECT $1::int', [n]),
  )
  // Everything comes meanwhile.
  block(500)
  await notified
  t.deepEqual(
    await within(Promise.all(answers)),
    answers.map((_, n) => n),
  )
  const messages = await within(Promise.all(first))
  t.true(messages.every(({ value }) => value?.payload === 'to all'))
})
