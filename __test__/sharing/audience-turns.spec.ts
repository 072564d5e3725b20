// Many listeners of one channel take their turn together, and the event loop has its turn in between.

import '../support/clock.js'
import { SLICE_MS, Turns } from '../support/turns.js'
import test, { type ExecutionContext } from 'ava'
import { waitFor } from '../../lab/wait.js'
import { flood, range } from '../support/flood.js'
import { notify, openListener, uniqueChannel } from '../support/listener.js'

const LISTENERS = 12
const COUNT = 500
/** How many deliveries take as long as the time slice. */
const IN_SLICE = 100
/** The most deliveries between two looks at the clock. */
const STRIDE = 32

/** Listeners that wait together; `deliver` is called for each notification of each. */
async function audience(t: ExecutionContext, deliver: (payload: string, number: number) => void) {
  const { pool } = await openListener(t)
  const channel = uniqueChannel()
  const listeners = range(1, LISTENERS).map(() => pool.listener())
  let settling = 0
  for (const [number, listener] of listeners.entries()) {
    await listener.addCallback(channel, (_connection, payload) => {
      if (payload === 'settle') settling += 1
      else deliver(payload, number)
    })
  }
  await Promise.all(listeners.map((it) => it.startup()))
  for (const listener of listeners) listener.listen()
  for (const round of range(1, 5)) {
    await notify(channel, 'settle')
    await waitFor(() => settling === round * LISTENERS)
  }
  return { channel, listeners }
}

test.serial('a flood for many is delivered in slices', async (t) => {
  const heard = range(1, LISTENERS).map((): number[] => [])
  const watched: { turns?: Turns } = {}
  const { channel, listeners } = await audience(t, (payload, number) => {
    heard[number]!.push(Number(payload))
    watched.turns?.delivered()
  })
  const turns = new Turns(SLICE_MS / IN_SLICE)
  watched.turns = turns
  t.teardown(() => turns.end())
  await flood(channel, 1, COUNT)
  await Promise.all(listeners.map((it) => it.sync()))
  for (const numbers of heard) t.deepEqual(numbers, range(1, COUNT))
  t.log(`${turns.most} of ${LISTENERS * COUNT} in one of ${turns.count} turns`)
  t.true(turns.most <= 1.5 * IN_SLICE + 2 * STRIDE, `${turns.most}`)
  turns.end()
})

test.serial('callbacks of many that turn slow wait for timers soon', async (t) => {
  const watched: { slow?: Turns } = {}
  const { channel, listeners } = await audience(t, (payload) => {
    if (Number(payload) > COUNT / 2) watched.slow?.delivered()
  })
  const slow = new Turns(2.5 * SLICE_MS)
  watched.slow = slow
  t.teardown(() => slow.end())
  await flood(channel, 1, COUNT)
  await Promise.all(listeners.map((it) => it.sync()))
  t.log(`${slow.most} in a turn`)
  t.true(slow.most <= STRIDE + 2, `${slow.most}`)
  slow.end()
})
