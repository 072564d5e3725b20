// What a relay sends that leads no more: the stream refuses all of it, however much is under way.

import type { ExecutionContext } from 'ava'
import { jetstreamManager } from '@nats-io/jetstream'
import { gapItem, type Item } from '../../packages/relay-nats/src/nats/item.js'
import { Link } from '../../packages/relay-nats/src/nats/link.js'
import { Outlet, TermEnded } from '../../packages/relay-nats/src/nats/outlet.js'
import { StreamReader } from '../../packages/relay-nats/src/nats/stream.js'
import { resolveNats } from '../../packages/relay-nats/src/options/options.js'
import { Counters } from '../../packages/relay-nats/src/wire/counters.js'
import { ownGap } from '../../packages/relay-nats/src/wire/gaps.js'
import { natsBinaries } from '../../lab/relay/nats-binaries.js'
import { openScene, test, type Scene } from './scene.js'

const never = new AbortController().signal
const quiet = { onConnected() {}, onDisconnected() {}, onWarning() {} }

/** An outlet of an epoch of its own, which believes that the stream ends where it ends now. */
async function openOutlet(t: ExecutionContext, scene: Scene, batchFrom = Infinity) {
  const link = await Link.open(resolveNats({ servers: scene.nats.url }), quiet, never)
  t.teardown(() => link.close())
  const reader = new StreamReader(link, scene.stream, 2000)
  const gapSubject = `pg.${scene.stream}.%gap`
  const outlet = new Outlet(
    link,
    reader,
    new Counters(),
    await reader.end(),
    gapSubject,
    { window: 1000, batchFrom, timeoutMs: 2000 },
    { onFailure() {}, onUnpublishable() {}, onGap() {}, onStored() {} },
  )
  return { outlet, gapSubject }
}

const items = (scene: Scene, count: number): Item[] =>
  Array.from({ length: count }, (_, index) => ({
    subject: `pg.${scene.stream}.orders`,
    payload: `${index}`,
    channel: 'orders',
    headers: {},
  }))

const now = new Date().toISOString()
const takeover = ownGap({ reason: 'takeover', lostAt: null, resumedAt: now })

for (const [what, batchFrom] of [
  ['a window', Infinity],
  ['a batch', 2],
] as const) {
  test(`${what} of a relay that was replaced is refused as a whole`, async (t) => {
    const hasBatches =
      (natsBinaries()[0]?.version ?? '0').localeCompare('2.12', 'en', { numeric: true }) >= 0
    const scene = await openScene(t)
    const old = await openOutlet(t, scene, hasBatches ? batchFrom : Infinity)
    await old.outlet.store(items(scene, 5), never)
    const next = await openOutlet(t, scene)
    await next.outlet.store([gapItem(next.gapSubject, takeover)], never)
    await t.throwsAsync(old.outlet.store(items(scene, 1000), never), { instanceOf: TermEnded })
    await next.outlet.store(items(scene, 3), never)
    const messages = await scene.read()
    t.deepEqual(
      messages.map(({ headers }) => headers['Pg-Seq']),
      [
        ...[1, 2, 3, 4, 5].map((n) => `${old.outlet.counters.epoch}:${n}`),
        ...[1, 2, 3, 4].map((n) => `${next.outlet.counters.epoch}:${n}`),
      ],
    )
  })
}

test('atomic batches are stored where they are asked for, and counted on', async (t) => {
  const scene = await openScene(t)
  const jsm = await jetstreamManager(scene.nc)
  const { config } = await jsm.streams.info(scene.stream)
  if (!(config as { allow_atomic?: boolean }).allow_atomic) {
    t.pass('this server has no batches')
    return
  }
  const { outlet } = await openOutlet(t, scene, 10)
  for (const count of [9, 10, 2500, 1]) await outlet.store(items(scene, count), never)
  const messages = await scene.read()
  t.is(messages.length, 2520)
  t.is(messages.filter(({ headers }) => 'Nats-Batch-Id' in headers).length, 2510)
  t.deepEqual(
    messages.map(({ headers }) => headers['Pg-Channel-Seq']),
    messages.map((_, index) => `${outlet.counters.epoch}:${index + 1}`),
  )
})
