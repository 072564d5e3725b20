// What a consumer of some channels knows to be missing when one epoch ends and the next one begins.

import test from 'ava'
import { Tracker, type Seen } from '../../packages/relay-nats/src/consume/tracker.js'
import { ownGap, type RelayGapBody } from '../../packages/relay-nats/src/wire/gaps.js'

const ORDERS = 'pg.shop.orders'
const JOBS = 'pg.shop.jobs'
const GAPS = 'pg.shop.%gap'

/** A message of an epoch, by its number among all and that among those of its subject. */
const message = (epoch: string, n: number, subject: string, channelN: number): Seen => ({
  subject,
  number: { epoch, n },
  channelNumber: { epoch, n: channelN },
  gap: undefined,
})

/** The beginning of an epoch of a durable source. */
const beginning = (epoch: string, more: Partial<RelayGapBody> = {}): Seen => {
  const at = new Date(0).toISOString()
  const gap = ownGap({ reason: 'takeover', lostAt: at, resumedAt: at, dropped: 0, ...more })
  return { ...message(epoch, 1, GAPS, 1), gap }
}

const ofJobs = () => new Tracker([JOBS, GAPS])

test('all messages of a channel may be missing at the end of an epoch', (t) => {
  const tracker = ofJobs()
  t.is(tracker.see(beginning('A')), 0)
  const next = beginning('B', { previous: 'A:6', previousOf: { jobs: 'A:2', orders: 'A:3' } })
  t.is(tracker.see(next), 2)
  t.is(tracker.see(message('B', 2, JOBS, 1)), 0)
  t.is(tracker.see(beginning('C', { previous: 'B:2', previousOf: { jobs: 'B:1' } })), 0)
})

test('channels that the consumer does not want miss nothing', (t) => {
  const tracker = ofJobs()
  tracker.see(beginning('A'))
  tracker.see(message('A', 2, JOBS, 1))
  const next = beginning('B', { previous: 'A:9', previousOf: { jobs: 'A:1', orders: 'A:7' } })
  t.is(tracker.see(next), 0)
})

test('of an epoch that was not followed from its beginning only channels that were seen are counted', (t) => {
  const tracker = new Tracker([ORDERS, JOBS, GAPS])
  t.is(tracker.see(message('A', 8, ORDERS, 5)), 0)
  const next = beginning('B', { previous: 'A:12', previousOf: { jobs: 'A:4', orders: 'A:7' } })
  t.is(tracker.see(next), 2)
})

test('without the numbers of the channels the number is unknown, unless the beginning is a gap itself', (t) => {
  for (const [dropped, missing] of [
    [0, null],
    [null, 0],
  ] as const) {
    const tracker = ofJobs()
    tracker.see(beginning('A'))
    t.is(tracker.see(beginning('B', { previous: 'A:6', dropped })), missing)
  }
  const ofAll = new Tracker(undefined)
  ofAll.see(beginning('A'))
  t.is(ofAll.see(beginning('B', { previous: 'A:6' })), 5)
})
