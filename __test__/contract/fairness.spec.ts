// The delivery contract, "fairness": timers keep firing under a flood, however it is consumed.
//
// The bounds here are loose, for slow and busy machines; `support/million.ts` measures the strict ones.

import test, { type ExecutionContext } from 'ava'
import type { Listener, ListenerOptions } from 'pglisten'
import {
  type Fairness,
  floodWithOneTransaction,
  million,
  observeTimers,
} from '../support/fairness.js'
import { openListener, uniqueChannel } from '../support/listener.js'
import { block, waitFor } from '../../lab/wait.js'

const LATE_MS = 20
const COUNT = 200_000

function checkFairness(t: ExecutionContext, fairness: Fairness) {
  const { ticks, longestMs, delays } = fairness
  const ownMs = fairness.deliveryMs - fairness.waitedMs
  const late = delays.filter((delay) => delay > LATE_MS).reduce((sum, delay) => sum + delay, 0)
  const figures = [
    `${ticks} timers in ${fairness.deliveryMs.toFixed(0)} ms`,
    `${fairness.waitedMs.toFixed(0)} ms of it waiting for a processor`,
    `longest ${longestMs.toFixed(0)} ms, without waiting ${delays.at(-1)?.toFixed(0)} ms`,
  ].join('; ')
  t.log(figures)
  t.true(ticks >= ownMs / LATE_MS, figures)
  t.true(late < ownMs / 4 + LATE_MS, figures)
}

test('one million notifications of one transaction arrive in order while timers keep firing', async (t) => {
  t.timeout(120_000)
  const fairness = await million()
  t.is(fairness.wrong, 0)
  checkFairness(t, fairness)
})

interface Consumer {
  options?: ListenerOptions<string>
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
        if (Number(text) === COUNT) return text
        throw new Error('on purpose')
      },
    },
    consume: async (listener, _, taken) => {
      for await (const { payload } of listener) {
        taken(payload)
        break
      }
    },
  },
}

for (const [name, { options, consume }] of Object.entries(CONSUMERS)) {
  // One after the other: they would take each other's time.
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
    await floodWithOneTransaction(channel, COUNT)
    await waitFor(() => listener.stats().received === COUNT)
    let count = 0
    let last = 0
    let disorder = 0
    const fairness = await observeTimers(async ({ begin, end }) => {
      begin()
      await consume(listener, channel, (payload) => {
        count += 1
        if (Number(payload) < last) disorder += 1
        last = Number(payload)
      })
      end()
    })
    t.is(last, COUNT)
    t.is(disorder, 0)
    t.is(listener.stats().dropped, 0)
    t.is(count + (name.includes('wants none') ? errors : 0), COUNT)
    checkFairness(t, fairness)
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
    await floodWithOneTransaction(channel, COUNT)
    await waitFor(() => listener.stats().received === COUNT)
    const taken = loops.map(() => 0)
    let longestWait = 0
    const fairness = await observeTimers(async ({ begin, end }) => {
      begin()
      await Promise.all(
        loops.map(async (loop, index) => {
          let last = 0
          for await (const { payload } of loop) {
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
      end()
    })
    t.log(`at most ${longestWait} apart`)
    t.deepEqual(
      taken,
      loops.map(() => COUNT),
    )
    // Nobody has to wait until another has got everything.
    t.true(longestWait < COUNT / 2, `${longestWait}`)
    checkFairness(t, fairness)
  },
)

test.serial(
  'callbacks that turn slow do not run many at a time before timers get their turn',
  async (t) => {
    const { listener } = await openListener(t)
    const channel = uniqueChannel()
    const [rounds, period, slow, slowMs] = [6, 517, 40, 5]
    let inTurn = 0
    let most = 0
    let turning = true
    const turn = () => {
      inTurn = 0
      if (turning) setImmediate(turn)
    }
    await listener.addCallback(channel, (_, n) => {
      // Each time after hundreds that took no time.
      if (Number(n) % period < period - slow) return
      inTurn += 1
      most = Math.max(most, inTurn)
      block(slowMs)
    })
    await listener.startup()
    await floodWithOneTransaction(channel, rounds * period)
    await waitFor(() => listener.stats().received === rounds * period)
    listener.listen()
    turn()
    await listener.sync()
    turning = false
    t.log(`${most} in a turn`)
    t.true(most <= 10, `${most}`)
  },
)
