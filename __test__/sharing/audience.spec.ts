// Many listeners of one channel get its notifications together, and each is as if alone.

import { AsyncLocalStorage } from 'node:async_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { ListenerCallbackError, type ConnectionPool, type Gap, type Listener } from 'pglisten'
import { runFixture } from '../support/child.js'
import { notifierBeside, notifyWhileBlocked } from '../support/flood.js'
import { ask, notify, openListener, terminate, uniqueChannel } from '../support/listener.js'
import { block, deferred, waitFor } from '../../lab/wait.js'

const COUNT = 12

type Heard = (payload: string, number: number, processId: number) => unknown

interface Audience {
  channel: string
  listeners: Listener[]
  pool: ConnectionPool
  /** The payloads that each listener has heard. */
  heard: string[][]
  gaps: Gap[][]
  errors: unknown[][]
}

/**
 * Listeners of one channel that wait with empty buffers. What `then` returns is what the callback returns, once the payload was
 * noted.
 */
async function audience(
  t: ExecutionContext,
  then: Heard = () => {},
  bufferOf: (number: number) => { maxMessages?: number } = () => ({}),
): Promise<Audience> {
  const { pool } = await openListener(t)
  const channel = uniqueChannel()
  const numbers = Array.from({ length: COUNT }, (_, number) => number)
  const heard = numbers.map((): string[] => [])
  const gaps = numbers.map((): Gap[] => [])
  const errors = numbers.map((): unknown[] => [])
  const listeners = numbers.map((number) => pool.listener({ buffer: bufferOf(number) }))
  for (const [number, listener] of listeners.entries()) {
    listener.on('gap', (gap) => gaps[number]!.push(gap))
    listener.on('error', (error) => errors[number]!.push(error))
    await listener.addCallback(channel, (_connection, payload, _channel, processId) => {
      heard[number]!.push(payload)
      return then(payload, number, processId)
    })
  }
  await Promise.all(listeners.map((listener) => listener.startup()))
  for (const listener of listeners) listener.listen()
  const scene = { channel, listeners, pool, heard, gaps, errors }
  await settled(scene)
  return scene
}

/** Notifies until the listeners wait with empty buffers, and forgets what they have heard. */
async function settled({ channel, heard, listeners }: Audience): Promise<void> {
  for (let round = 0; round < 2; round += 1) {
    await notify(channel, 'settle')
    await waitFor(() =>
      heard.every((payloads) => payloads.filter((it) => it === 'settle').length > round),
    )
  }
  for (const payloads of heard) payloads.length = 0
  for (const listener of listeners)
    if (listener.stats().buffered > 0) throw new Error('not settled')
}

/** Commits payloads together. */
async function notifyAll(channel: string, payloads: readonly string[]): Promise<void> {
  await ask('SELECT count(pg_notify($1, it)) FROM unnest($2::text[]) it', [channel, payloads])
}

const upTo = (most: number) => Array.from({ length: most }, (_, number) => `${number + 1}`)

/** Waits until all have heard a payload. */
async function untilHeard({ heard }: Audience, payload: string, but: readonly number[] = []) {
  await waitFor(
    () => heard.every((payloads, number) => but.includes(number) || payloads.at(-1) === payload),
    { what: `everybody to hear ${payload}` },
  )
}

test('each hears everything once, in order, and counts it for itself', async (t) => {
  const scene = await audience(t)
  const before = scene.listeners.map((it) => it.stats())
  for (const part of [upTo(1000), ['a'], ['b', 'c'], ['last']]) await notifyAll(scene.channel, part)
  await untilHeard(scene, 'last')
  const expected = [...upTo(1000), 'a', 'b', 'c', 'last']
  for (const [number, listener] of scene.listeners.entries()) {
    t.deepEqual(scene.heard[number], expected)
    const { received, delivered, dropped, buffered, bufferedBytes } = listener.stats()
    t.is(received - before[number]!.received, expected.length)
    t.is(delivered - before[number]!.delivered, expected.length)
    t.deepEqual({ dropped, buffered, bufferedBytes }, { dropped: 0, buffered: 0, bufferedBytes: 0 })
  }
})

test('a callback that throws harms no neighbour', async (t) => {
  const scene = await audience(t, (payload, number) => {
    if (number % 3 === 0 && payload !== 'settle' && Number(payload) % 2 === 0)
      throw new Error(`${number} at ${payload}`)
  })
  await notifyAll(scene.channel, upTo(50))
  await untilHeard(scene, '50')
  for (const [number, errors] of scene.errors.entries()) {
    t.deepEqual(scene.heard[number], upTo(50))
    t.is(errors.length, number % 3 === 0 ? 25 : 0)
    t.is(scene.listeners[number]!.stats().callbackErrors, errors.length)
    for (const error of errors) t.true(error instanceof ListenerCallbackError)
  }
})

test('a callback that shuts itself or a neighbour down ends those alone', async (t) => {
  const scene: Audience = await audience(t, (payload, number) => {
    if (payload === '3' && number === 4) {
      for (const which of [1, 4, 9]) ends.push(scene.listeners[which]!.shutdown())
    }
  })
  const ends: Promise<void>[] = []
  await notifyAll(scene.channel, upTo(5))
  await untilHeard(scene, '5', [1, 4, 9])
  await Promise.all(ends)
  await notify(scene.channel, 'later')
  await untilHeard(scene, 'later', [1, 4, 9])
  // The first ones have had their turn before.
  t.deepEqual(scene.heard[1], upTo(5))
  t.deepEqual(scene.heard[4], upTo(3))
  t.deepEqual(scene.heard[9], [])
  for (const number of [0, 2, 3, 5, 6, 7, 8, 10, 11])
    t.deepEqual(scene.heard[number], [...upTo(5), 'later'])

  // They may come again.
  await Promise.all([1, 4, 9].map((which) => scene.listeners[which]!.startup()))
  for (const which of [1, 4, 9]) scene.listeners[which]!.listen()
  await notify(scene.channel, 'again')
  await untilHeard(scene, 'again')
})

test('who is aborted keeps what it has not heard, within its own buffer', async (t) => {
  const scene: Audience = await audience(t, (payload, number) => {
    if (payload === '2' && number === 3) for (const at of [3, 7]) scene.listeners[at]!.abortListen()
  })
  await notifyAll(scene.channel, upTo(5))
  await untilHeard(scene, '5', [3, 7])
  await notifyAll(scene.channel, ['6', '7'])
  await untilHeard(scene, '7', [3, 7])
  t.deepEqual(scene.heard[3], upTo(2))
  t.deepEqual(scene.heard[7], [])
  t.is(scene.listeners[3]!.stats().buffered, 5)
  t.is(scene.listeners[7]!.stats().buffered, 7)
  for (const at of [3, 7]) scene.listeners[at]!.listen()
  await untilHeard(scene, '7')
  for (const heard of scene.heard) t.deepEqual(heard, upTo(7))
})

test('who is aborted keeps what it has not heard when the next one comes alone', async (t) => {
  const scene: Audience = await audience(t, (payload, number) => {
    if (payload === '2' && number === 3) for (const at of [3, 7]) scene.listeners[at]!.abortListen()
  })
  await notifyAll(scene.channel, upTo(5))
  await untilHeard(scene, '5', [3, 7])
  for (const payload of ['6', '7']) {
    await notify(scene.channel, payload)
    await untilHeard(scene, payload, [3, 7])
  }
  t.is(scene.listeners[3]!.stats().buffered, 5)
  t.is(scene.listeners[7]!.stats().buffered, 7)
  for (const at of [3, 7]) scene.listeners[at]!.listen()
  await untilHeard(scene, '7')
  for (const heard of scene.heard) t.deepEqual(heard, upTo(7))
})

for (const way of ['another channel', 'a session of its own', 'sync()', 'an iterator']) {
  test(`who leaves by ${way} while a callback is pending misses nothing`, async (t) => {
    const pending = deferred()
    const scene: Audience = await audience(t, (payload, number) =>
      payload === '1' && number === 3 ? pending.promise : undefined,
    )
    const leaver = scene.listeners[3]!
    await notifyAll(scene.channel, upTo(5))
    await untilHeard(scene, '5', [3])
    let left: Promise<unknown> | undefined
    if (way === 'another channel') await leaver.addCallback(uniqueChannel(), () => {})
    else if (way === 'a session of its own') await leaver.connection.execute('SELECT 1')
    else if (way === 'sync()') left = leaver.sync()
    else leaver.messages()
    for (const payload of ['6', '7']) {
      await notify(scene.channel, payload)
      await untilHeard(scene, payload, [3])
    }
    t.deepEqual(scene.heard[3], ['1'])
    pending.resolve()
    await untilHeard(scene, '7')
    await left
    for (const heard of scene.heard) t.deepEqual(heard, upTo(7))
  })
}

test('what a wake hands to a new member comes before what its audience reads', async (t) => {
  const { pool } = await openListener(t)
  const heard: string[] = []
  const x = uniqueChannel()
  const y = uniqueChannel()
  const add = async (channel: string, call: (payload: string) => void) => {
    const listener = pool.listener()
    await listener.addCallback(channel, (_connection, payload) => call(payload))
    await listener.startup()
    return listener
  }
  const notifyLater = await notifierBeside(t, x, '2')
  // An audience of channel y, whose first member holds the thread until all three notifications of channel x are here.
  const watched: Listener[] = []
  const ofY = await Promise.all(
    Array.from({ length: 5 }, (_, number) =>
      add(y, (payload) => {
        if (payload !== 'go' || number > 0) return
        notifyLater()
        const deadline = performance.now() + 20_000
        while (watched[0]!.stats().received < 3 && performance.now() < deadline) block(1)
      }),
    ),
  )
  for (const listener of ofY) listener.listen()
  for (let round = 0; round < 2; round += 1) {
    await notify(y, 'settle')
    for (const listener of ofY) await listener.sync()
  }
  // Listeners of x that wait, of which there are too few for an audience; and one more that does not take anything.
  const ofX: Listener[] = []
  for (let number = 0; number < 3; number += 1) {
    const listener = await add(x, (payload) => {
      if (number === 0) heard.push(payload)
    })
    listener.listen()
    ofX.push(listener)
  }
  await notify(x, '0')
  await waitFor(() => heard.length === 1)
  ofX.push(await add(x, () => {}))
  watched.push(ofX[0]!)
  await ask('SELECT pg_notify($1, $2), pg_notify($3, $4)', [y, 'go', x, '1'])
  await waitFor(() => heard.length === 3)
  t.deepEqual(heard, ['0', '1', '2'])
})

test('who is aborted has its own bounds from then on', async (t) => {
  const scene = await audience(t, undefined, () => ({ maxMessages: 5 }))
  const aborted = scene.listeners[3]!
  aborted.abortListen()
  await notifyAll(scene.channel, ['1', '2', '3'])
  await untilHeard(scene, '3', [3])
  await notifyAll(scene.channel, ['4', '5', '6', '7'])
  await untilHeard(scene, '7', [3])
  t.like(aborted.stats(), { buffered: 5, dropped: 2 })
  aborted.listen()
  await untilHeard(scene, '7')
  t.deepEqual(scene.heard[3], upTo(7).slice(2))
  t.deepEqual(
    scene.gaps.map((gaps) => gaps.map(({ dropped }) => dropped)),
    scene.gaps.map((_, number) => (number === 3 ? [2] : [])),
  )
})

test('promises of any speed hold up only whose they are', async (t) => {
  const stuck = deferred()
  const scene = await audience(t, async (payload, number) => {
    if (payload === 'settle') return
    if (number === 2) await stuck.promise
    else if (number % 2 === 0) await sleep(1)
    else await Promise.resolve()
  })
  for (let round = 0; round < 10; round += 1)
    await notifyAll(scene.channel, upTo(30).slice(3 * round, 3 * round + 3))
  await untilHeard(scene, '30', [2])
  t.deepEqual(scene.heard[2], ['1'])
  t.is(scene.listeners[2]!.stats().buffered, 29)
  stuck.resolve()
  await untilHeard(scene, '30')
  for (const heard of scene.heard) t.deepEqual(heard, upTo(30))
  for (const listener of scene.listeners) t.is(listener.stats().buffered, 0)
  // Afterwards they wait together again.
  await settled(scene)
})

test('who is behind still knows who sent what', async (t) => {
  const gate = deferred()
  const senders: number[] = []
  const scene = await audience(t, async (payload, number, processId) => {
    if (payload === 'settle' || number !== 2) return
    senders.push(processId)
    await gate.promise
  })
  const first = await ask<number>('SELECT pg_backend_pid()')
  await notifyAll(scene.channel, ['1', '2', '3'])
  await untilHeard(scene, '3', [2])
  await using connection = await scene.pool.connection()
  const second = await connection.fetchVal<number>('SELECT pg_backend_pid()')
  await connection.execute('SELECT count(pg_notify($1, it)) FROM unnest($2::text[]) it', [
    scene.channel,
    ['4', '5', '6'],
  ])
  await untilHeard(scene, '6', [2])
  gate.resolve()
  await untilHeard(scene, '6')
  t.deepEqual(senders, [first, first, first, second, second, second])
})

test('other channels, callbacks and consumers may come in the middle of a batch', async (t) => {
  const [more, streamed] = [uniqueChannel(), [] as string[]]
  const adding: unknown[] = []
  let loop: Promise<void> | undefined
  const scene: Audience = await audience(t, (payload, number) => {
    const listener = scene?.listeners[number]
    if (payload !== '2' || !listener) return
    if (number === 1) {
      adding.push(listener.addCallback(more, (_, it) => void scene.heard[1]!.push(`more ${it}`)))
    } else if (number === 2) {
      adding.push(
        listener.addCallback(scene.channel, (_, it) => void scene.heard[2]!.push(`${it} too`)),
      )
    } else if (number === 3) adding.push(listener.clearChannelCallbacks(scene.channel))
    else if (number === 5) {
      loop = (async () => {
        for await (const message of listener) streamed.push(message.payload)
      })()
    }
  })
  await notifyAll(scene.channel, upTo(4))
  await untilHeard(scene, '4', [2, 3])
  await Promise.all(adding)
  await notify(more, 'x')
  await notifyAll(scene.channel, ['5', '6'])
  await untilHeard(scene, '6', [2, 3])
  await waitFor(() => scene.heard[2]!.at(-1) === '6 too' && streamed.at(-1) === '6')
  t.deepEqual(scene.heard[1], ['1', '2', '3', '4', 'more x', '5', '6'])
  t.deepEqual(scene.heard[2], [
    '1',
    '2',
    ...['3', '4', '5', '6'].flatMap((it) => [it, `${it} too`]),
  ])
  t.deepEqual(scene.heard[3], ['1', '2'])
  t.deepEqual(streamed, ['5', '6'])
  for (const number of [0, 4, 5, 6, 7, 8, 9, 10, 11]) t.deepEqual(scene.heard[number], upTo(6))
  await scene.listeners[5]!.shutdown()
  await loop
})

test.serial('each has its own bounds, and an overflow with its exact gap', async (t) => {
  const most = [3, 10, 10_000]
  const scene = await audience(
    t,
    () => {},
    (number) => ({ maxMessages: most[number % most.length]! }),
  )
  const [before] = scene.listeners.map((it) => it.stats().received)
  const hasArrived = () => scene.listeners[0]!.stats().received === before! + 100
  await notifyWhileBlocked(scene.channel, 100, hasArrived)
  await untilHeard(scene, '100')
  for (const [number, listener] of scene.listeners.entries()) {
    const kept = Math.min(most[number % most.length]!, 100)
    t.deepEqual(scene.heard[number], upTo(100).slice(100 - kept))
    const [gap, ...others] = scene.gaps[number]!
    t.deepEqual([gap?.dropped, others], [kept < 100 ? 100 - kept : undefined, []])
    t.is(listener.stats().dropped, 100 - kept)
    t.is(listener.stats().gaps, kept < 100 ? 1 : 0)
  }
})

test('the loss of the session is one gap for each, at its place', async (t) => {
  const stream: string[][] = Array.from({ length: COUNT }, () => [])
  const scene = await audience(t, (payload, number) => void stream[number]!.push(payload))
  for (const [number, listener] of scene.listeners.entries()) {
    listener.addGapCallback((_, gap) => void stream[number]!.push(gap.reason))
    stream[number]!.length = 0
  }
  await notifyAll(scene.channel, ['1', '2'])
  await untilHeard(scene, '2')
  await terminate(scene.listeners[0]!.stats().session!.processId)
  await waitFor(() => stream.every((it) => it.at(-1) === 'disconnect'))
  await notifyAll(scene.channel, ['3', '4'])
  await untilHeard(scene, '4')
  for (const [number, it] of stream.entries()) {
    t.deepEqual(it, ['1', '2', 'disconnect', '3', '4'])
    t.is(scene.gaps[number]!.length, 1)
  }
})

test('sync() of one waits for what came before it, under a flood', async (t) => {
  const scene = await audience(t)
  for (let round = 1; round <= 20; round += 1) {
    await notifyAll(scene.channel, upTo(50 * round).slice(50 * (round - 1)))
    await scene.listeners[round % COUNT]!.sync()
    t.is(scene.heard[round % COUNT]!.at(-1), `${50 * round}`)
  }
  await Promise.all(scene.listeners.map((it) => it.sync()))
  for (const heard of scene.heard) t.deepEqual(heard, upTo(1000))
})

test('each callback runs in the context of its registration', async (t) => {
  const storage = new AsyncLocalStorage<number>()
  const { pool } = await openListener(t)
  const channel = uniqueChannel()
  const seen: [number, number | undefined][] = []
  const listeners = Array.from({ length: COUNT }, () => pool.listener())
  await Promise.all(
    listeners.map((listener, number) =>
      storage.run(number, () =>
        listener.addCallback(channel, () => void seen.push([number, storage.getStore()])),
      ),
    ),
  )
  await Promise.all(listeners.map((it) => it.startup()))
  for (const listener of listeners) listener.listen()
  for (let round = 1; round <= 4; round += 1) {
    await notify(channel, `${round}`)
    await waitFor(() => seen.length === round * COUNT)
  }
  for (const [number, store] of seen) t.is(store, number)
})

test('what waits for many is there once', async (t) => {
  const outcome = await runFixture('audience-memory.mjs', [uniqueChannel(), '300', '20000'])
  const { grown, buffered, heard, dropped } = outcome as {
    grown: number
    buffered: number[]
    heard: number[]
    dropped: number[]
  }
  t.log(`${Math.round(grown / 2 ** 20)} MiB`)
  // With a buffer full of its own for each it would be more than 1,500 MiB.
  t.true(grown < 200 * 2 ** 20, `${grown} bytes`)
  t.true(buffered.every((count) => count === 20_000))
  t.true(heard.every((count) => count === 20_010))
  t.true(dropped.every((count) => count === 0))
})

test('an error within the work for one of them keeps nothing from the others', async (t) => {
  const { heard, uncaught } = (await runFixture('broken-clock.mjs', [uniqueChannel()])) as {
    heard: number[]
    uncaught: string[]
  }
  t.deepEqual(uncaught, ['the clock is broken'])
  const others = heard.toSpliced(5, 1)
  t.deepEqual(
    others,
    Array.from({ length: 11 }, () => 1010),
  )
})
