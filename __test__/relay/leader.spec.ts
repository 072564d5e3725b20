// Two relays of one stream: one leads, and the other takes over, with a gap that tells the interval.

import { setTimeout as sleep } from 'node:timers/promises'
import type { ExecutionContext } from 'ava'
import type { RelayGapBody } from 'pglisten-relay-nats'
import { FaultProxy } from '../../lab/network/fault-proxy.js'
import { RelayProcess } from '../../lab/relay/relay-process.js'
import { asRead, counterFaults, type StoredMessage } from '../../lab/relay/stream-reading.js'
import { Stalls } from '../../lab/stalls.js'
import { waitFor } from '../../lab/wait.js'
import { ask, terminate } from '../support/listener.js'
import { leading, openScene, startRelay, stored, test, type Scene } from './scene.js'

/** Starts a relay in a process. The end of the test ends it. */
function start(t: ExecutionContext, { options }: Scene, more = {}): RelayProcess {
  const relay = new RelayProcess({ ...options, ...more })
  t.teardown(() => relay.kill())
  return relay
}

async function pair(t: ExecutionContext, scene: Scene, more = {}) {
  const first = start(t, scene, more)
  await first.becomes('leading')
  const second = start(t, scene, more)
  await second.becomes('standby')
  return { first, second }
}

const gaps = (messages: readonly StoredMessage[]) =>
  messages
    .filter(({ subject }) => subject.endsWith('.%gap'))
    .map(({ payload }) => JSON.parse(payload) as RelayGapBody)

/** Outside of gaps nothing is lost; nothing comes twice or in another order anywhere. */
async function judged(t: ExecutionContext, scene: Scene) {
  const last = scene.writer.last
  await waitFor(
    async () => (await scene.read()).some(({ payload }) => payload.startsWith(`${last}:`)),
    {
      what: 'the last row in the stream',
    },
  )
  const messages = await scene.read()
  t.deepEqual(counterFaults(messages), [])
  const verdict = scene.writer.judge(asRead(messages))
  if (verdict.lost.length > 0) t.log(scene.writer.times(verdict.lost), gaps(messages))
  t.like(verdict, { lost: [], doubled: [], reordered: [], alien: [] })
  return { messages, verdict, gaps: gaps(messages) }
}

/** The backend of the listening session of a stream's leader. */
const holder = (scene: Scene) =>
  ask<number>(
    `SELECT max(l.pid) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
      WHERE locktype = 'advisory' AND granted AND d.datname = $1`,
    [new URL(scene.dsn).pathname.slice(1)],
  )

test('when the leader is killed, the other one takes over within 2 s, with a gap', async (t) => {
  const scene = await openScene(t)
  const { first, second } = await pair(t, scene)
  await scene.writer.write(100)
  await stored(scene, 101)
  using stalls = new Stalls()
  const killedAt = Date.now()
  await first.kill()
  await second.becomes('leading')
  const took = Date.now() - killedAt
  t.log(`took over after ${took} ms`)
  t.true(took < 2000 || stalls.hasStalled, `${took}`)
  await scene.writer.write(100)
  const { gaps, verdict } = await judged(t, scene)
  t.deepEqual(
    gaps.map(({ reason }) => reason),
    ['relay-start', 'takeover'],
  )
  t.true(Date.parse(gaps[1]!.lostAt!) <= killedAt)
  t.true(Date.parse(gaps[1]!.resumedAt) >= killedAt)
  t.regex(gaps[1]!.previous!, /:101$/)
  t.is(verdict.delivered, 200)
})

test('rows that are committed while the leader dies are in the stream or in the gap', async (t) => {
  const scene = await openScene(t)
  let leader = start(t, scene)
  await leader.becomes('leading')
  for (let times = 0; times < 4; times += 1) {
    const other = start(t, scene)
    await other.becomes('standby')
    const writing = scene.writer.write(1500)
    await sleep(100)
    await leader.kill()
    await other.becomes('leading')
    await writing
    await scene.writer.write(10)
    leader = other
  }
  const { gaps } = await judged(t, scene)
  t.is(gaps.length, 5)
})

test('a leader that is frozen is thrown out, and what it sends later is refused', async (t) => {
  const scene = await openScene(t)
  const { first, second } = await pair(t, scene, { heartbeatMs: 300 })
  const writing = scene.writer.write(3000)
  await sleep(100)
  const frozenAt = Date.now()
  first.freeze()
  await second.becomes('leading')
  const took = Date.now() - frozenAt
  t.log(`took over after ${took} ms`)
  // Two heartbeats, and not earlier.
  t.true(took >= 500, `${took}`)
  t.true(second.lines.some(({ message }) => /was silent for \d+ ms and was ended/.test(message)))
  await scene.writer.write(50)
  first.thaw()
  await first.becomes('standby')
  await writing
  await scene.writer.write(50)
  const { gaps } = await judged(t, scene)
  t.true(gaps.length >= 2)
  t.is(second.role, 'leading')
})

test('a leader whose session is ended leads again or hands over at once', async (t) => {
  const scene = await openScene(t)
  await pair(t, scene)
  await scene.writer.write(10)
  await stored(scene, 11)
  const before = await scene.read()
  const pid = await holder(scene)
  using stalls = new Stalls()
  const endedAt = Date.now()
  await terminate(pid)
  const gap = await waitFor(async () => (await scene.read())[before.length])
  const took = Math.round(gap.storedAt - endedAt)
  t.log(`a gap after ${took} ms`)
  t.true(took < 1000 || stalls.hasStalled, `${took}`)
  await scene.writer.write(10)
  const { gaps, verdict } = await judged(t, scene)
  t.is(gaps.length, 2)
  const resumedMs = Date.parse(gaps[1]!.resumedAt) - endedAt
  t.true(resumedMs < 1000 || stalls.hasStalled, `${resumedMs}`)
  t.is(verdict.delivered, 20)
})

test('a relay that is ended stores what it has read, and the other one takes over', async (t) => {
  const scene = await openScene(t)
  const { first, second } = await pair(t, scene)
  await scene.writer.write(2000, { together: true })
  await first.kill('SIGTERM')
  t.is(first.ended, 0)
  await second.becomes('leading')
  await scene.writer.write(10)
  const { verdict } = await judged(t, scene)
  t.is(verdict.delivered + verdict.covered, 2010)
})

test('a relay that loses its session while NATS is away for it stores nothing that another one has stored meanwhile', async (t) => {
  const scene = await openScene(t)
  const before = startRelay(t, scene.options)
  await leading(before)
  const proxy = await FaultProxy.start(scene.nats.port)
  t.teardown(() => proxy.stop())
  const cut = startRelay(t, { ...scene.options, nats: { servers: `127.0.0.1:${proxy.port}` } })
  const stats = () => cut.relay.stats()
  await waitFor(() => stats().role === 'standby', { what: 'a relay that stands by' })
  proxy.beginHole()
  proxy.reset()
  await waitFor(() => !stats().isNatsConnected, { what: 'a relay without NATS' })
  await before.stop()
  // It has the lock, and listens, and asks where the stream ends.
  await waitFor(
    async () => {
      await scene.writer.write(1)
      return stats().backlog! > 0
    },
    { what: 'a relay that listens' },
  )
  const between = startRelay(t, scene.options)
  await waitFor(() => between.relay.stats().role === 'standby', { what: 'another relay' })
  await terminate(await holder(scene))
  await leading(between)
  // The session that has taken the place of the lost one hears what the other relay stores.
  await waitFor(() => cut.warnings.some((text) => text.startsWith('PostgreSQL is away')))
  await waitFor(() => stats().postgres === 'connected', { what: 'the next session' })
  const { backlog } = stats()
  await scene.writer.write(20)
  await waitFor(() => stats().backlog! >= backlog! + 20, { what: 'what both have heard' })
  await waitFor(
    async () =>
      (await scene.read()).some(({ payload }) => payload.startsWith(`${scene.writer.last}:`)),
    { what: 'the last row in the stream' },
  )
  await between.stop()
  proxy.endHole()
  await leading(cut)
  await scene.writer.write(5)
  await judged(t, scene)
})
