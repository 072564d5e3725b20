// The delivery contract, "fairness": timers keep firing under a flood, however it is consumed. The tests count how much is
// delivered before the event loop has its turn, each delivery taking as long as they say; `lab/million.ts` measures real
// time.

import '../support/clock.js'
import { SLICE_MS, Turns } from '../support/turns.js'
import test, { type ExecutionContext } from 'ava'
import type { Listener, ListenerOptions } from 'pglisten'
import { flood } from '../support/flood.js'
import { openListener, uniqueChannel } from '../support/listener.js'
import { waitFor } from '../../lab/wait.js'

const COUNT = 20_000
/** So many deliveries take as long as a turn may. */
const IN_SLICE = 200

let turns: Turns

/** The turns of one test, which runs alone: they share the clock. */
function watchTurns(t: ExecutionContext): void {
  turns = new Turns(SLICE_MS / IN_SLICE)
  t.teardown(() => turns.end())
}

/** `atOnce`: how much one delivery may hand over. */
function checkTurns(t: ExecutionContext, deliveries: number, atOnce = 1): void {
  const figures = `${turns.most} of ${deliveries} in one of ${turns.count} turns`
  t.log(figures)
  t.true(turns.most <= 1.5 * IN_SLICE + 2 * atOnce, figures)
}

test.serial(
  'one million notifications of one transaction arrive in order while timers keep firing',
  async (t) => {
    t.timeout(120_000)
    const count = 1_000_000
    const { listener } = await openListener(t, {
      buffer: { maxMessages: count, maxBytes: count * 200 },
    })
    const channel = uniqueChannel()
    let received = 0
    let wrong = 0
    watchTurns(t)
    await listener.addCallback(channel, (_, payload) => {
      turns.delivered()
      received += 1
      if (Number(payload) !== received || payload.length !== 40) wrong += 1
    })
    await listener.startup()
    listener.listen()
    await flood(channel, 1, count, { width: 40 })
    await listener.sync()
    t.is(received, count)
    t.is(wrong, 0)
    t.is(listener.stats().dropped, 0)
    checkTurns(t, count)
  },
)

interface Consumer {
  options?: ListenerOptions<string>
  /** How many messages one step of the loop hands over at most. */
  atOnce?: number
  /** Takes everything; calls `taken` for each. */
  consume: (listener: Listener, channel: string, taken: (payload: string) => void) => Promise<void>
}

const byCallback =
  (callback: (taken: () => void) => unknown): Consumer['consume'] =>
  async (listener, channel, taken) => {
    await listener.addCallback(channel, (_, payload) => callback(() => taken(payload)))
    listener.listen()
    await listener.sync()
  }

const CONSUMERS: Record<string, Consumer> = {
  'callbacks that return nothing': { consume: byCallback((taken) => taken()) },
  'callbacks whose promise has settled': {
    consume: byCallback(async (taken) => taken()),
  },
  'callbacks that throw': {
    consume: byCallback((taken) => {
      taken()
      throw new Error('on purpose')
    }),
  },
  'callbacks, any number at a time': {
    options: { concurrency: Infinity, ordered: false },
    consume: byCallback(async (taken) => taken()),
  },
  'callbacks, several at a time, in order': {
    options: { concurrency: 4 },
    consume: byCallback(async (taken) => taken()),
  },
  'a loop over messages': {
    consume: async (listener, _, taken) => {
      let left = COUNT
      for await (const { payload } of listener) {
        taken(payload)
        left -= 1
        if (left === 0) break
      }
    },
  },
  'a loop over batches': {
    atOnce: 1024,
    consume: async (listener, _, taken) => {
      let left = COUNT
      for await (const batch of listener.batches()) {
        for (const { payload } of batch) taken(payload)
        left -= batch.length
        if (left === 0) break
      }
    },
  },
  'a loop that wants none of them': {
    options: {
      parse: (text) => {
        turns.delivered()
        if (Number(text) === COUNT) return text
        throw new Error('on purpose')
      },
    },
    consume: async (listener, _, taken) => {
      for await (const { payload } of listener) {
        // `parse` has counted it.
        taken(payload)
        break
      }
    },
  },
}

for (const [name, { options, atOnce, consume }] of Object.entries(CONSUMERS)) {
  test.serial(`a backlog leaves the timers their time: ${name}`, async (t) => {
    const { listener } = await openListener(t, {
      ...options,
      buffer: { maxMessages: COUNT, maxBytes: COUNT * 200 },
    })
    const channel = uniqueChannel()
    let errors = 0
    listener.on('error', () => (errors += 1))
    await listener.addChannel(channel)
    await listener.startup()
    await flood(channel, 1, COUNT, { width: 40 })
    await waitFor(() => listener.stats().received === COUNT)
    let count = 0
    let last = 0
    let disorder = 0
    watchTurns(t)
    await consume(listener, channel, (payload) => {
      if (options?.parse === undefined) turns.delivered()
      count += 1
      if (Number(payload) < last) disorder += 1
      last = Number(payload)
    })
    t.is(last, COUNT)
    t.is(disorder, 0)
    t.is(listener.stats().dropped, 0)
    t.is(count + (name.includes('wants none') ? errors : 0), COUNT)
    checkTurns(t, COUNT, atOnce)
  })
}

test.serial(
  'many loops together leave the timers their time, and each gets everything',
  async (t) => {
    const { listener } = await openListener(t, {
      buffer: { maxMessages: COUNT, maxBytes: COUNT * 200 },
    })
    const channel = uniqueChannel()
    await listener.addChannel(channel)
    await listener.startup()
    const loops = Array.from({ length: 15 }, () => listener.messages())
    await flood(channel, 1, COUNT, { width: 40 })
    await waitFor(() => listener.stats().received === COUNT)
    const taken = loops.map(() => 0)
    let longestWait = 0
    watchTurns(t)
    await Promise.all(
      loops.map(async (loop, index) => {
        let last = 0
        for await (const { payload } of loop) {
          turns.delivered()
          if (Number(payload) !== last + 1) break
          last += 1
          taken[index] = last
          if (last % 1000 === 0) {
            longestWait = Math.max(longestWait, Math.max(...taken) - Math.min(...taken))
          }
          if (last === COUNT) break
        }
      }),
    )
    t.log(`at most ${longestWait} apart`)
    t.deepEqual(
      taken,
      loops.map(() => COUNT),
    )
    // Nobody has to wait until another has got everything.
    t.true(longestWait < COUNT / 2, `${longestWait}`)
    checkTurns(t, loops.length * COUNT)
  },
)

test.serial(
  'callbacks that turn slow do not run many at a time before timers get their turn',
  async (t) => {
    const { listener } = await openListener(t)
    const channel = uniqueChannel()
    const [rounds, period, slow] = [6, 517, 40]
    const slowTurns = new Turns(2.5 * SLICE_MS)
    t.teardown(() => slowTurns.end())
    await listener.addCallback(channel, (_, n) => {
      // Each time after hundreds that took no time.
      if (Number(n) % period < period - slow) return
      slowTurns.delivered()
    })
    await listener.startup()
    await flood(channel, 1, rounds * period)
    await waitFor(() => listener.stats().received === rounds * period)
    listener.listen()
    await listener.sync()
    t.log(`${slowTurns.most} in a turn`)
    t.true(slowTurns.most <= 10, `${slowTurns.most}`)
  },
)
