// Faults of NATS, caused on a real server: what is stored is what was committed, once and in order, or there is a gap.

import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ExecutionContext } from 'ava'
import type { RelayGapBody } from 'pglisten-relay-nats'
import { jetstreamManager } from '@nats-io/jetstream'
import { nkeys } from '@nats-io/transport-node'
import { FaultProxy } from '../../lab/network/fault-proxy.js'
import { asRead, counterFaults, makeStream } from '../../lab/relay/stream-reading.js'
import { waitFor } from '../../lab/wait.js'
import { leading, openScene, startRelay, stored, test, type Scene } from './scene.js'

/** Nothing is lost, doubled or out of order, and there is no other gap than that of the start. */
async function flawless(t: ExecutionContext, scene: Scene): Promise<void> {
  await stored(scene, scene.writer.count + 1)
  const messages = await scene.read()
  t.deepEqual(counterFaults(messages), [])
  const verdict = scene.writer.judge(asRead(messages))
  t.like(verdict, { lost: [], covered: 0, doubled: [], reordered: [], alien: [] })
  t.is(verdict.delivered, scene.writer.count)
  t.deepEqual(gapsOf(scene, messages), ['relay-start'])
}

const gapsOf = (scene: Scene, messages: Awaited<ReturnType<Scene['read']>>) =>
  messages
    .filter(({ subject }) => subject === `pg.${scene.stream}.%gap`)
    .map(({ payload }) => (JSON.parse(payload) as { reason: string }).reason)

/** Writes in the background, in transactions of one and of many, until it is told to stop. */
function writing({ writer }: Scene) {
  const over = new AbortController()
  const done = (async () => {
    while (!over.signal.aborted) {
      await writer.write(20)
      await writer.write(700, { together: true })
      await sleep(10)
    }
  })()
  return async () => {
    over.abort()
    await done
  }
}

test('a nats-server that is killed and comes back costs nothing but time', async (t) => {
  const scene = await openScene(t)
  const running = startRelay(t, scene.options)
  await leading(running)
  const end = writing(scene)
  for (let times = 0; times < 3; times += 1) {
    await sleep(300)
    await scene.nats.kill()
    await sleep(200)
    await scene.nats.start()
  }
  await end()
  await flawless(t, scene)
})

test('a network that is cut while the server lives costs nothing but time', async (t) => {
  const scene = await openScene(t)
  const proxy = await FaultProxy.start(scene.nats.port)
  t.teardown(() => proxy.stop())
  const running = startRelay(t, {
    ...scene.options,
    nats: { servers: `127.0.0.1:${proxy.port}` },
  })
  await leading(running)
  const end = writing(scene)
  for (let times = 0; times < 10; times += 1) {
    await sleep(100)
    proxy.reset()
  }
  await end()
  await flawless(t, scene)
  t.true(running.warnings.includes('the connection to NATS was lost'))
})

test('answers that are swallowed do not double what was stored', async (t) => {
  const scene = await openScene(t)
  const proxy = await FaultProxy.start(scene.nats.port)
  t.teardown(() => proxy.stop())
  const running = startRelay(t, {
    ...scene.options,
    nats: { servers: `127.0.0.1:${proxy.port}` },
    publishTimeoutMs: 200,
  })
  await leading(running)
  const end = writing(scene)
  for (let times = 0; times < 3; times += 1) {
    await sleep(100)
    proxy.swallow('toClient')
    await sleep(500)
    proxy.clear()
    proxy.reset()
  }
  await end()
  await flawless(t, scene)
})

test('a nats-server that is frozen costs nothing but time', async (t) => {
  const scene = await openScene(t)
  const running = startRelay(t, { ...scene.options, publishTimeoutMs: 300 })
  await leading(running)
  const end = writing(scene)
  for (let times = 0; times < 2; times += 1) {
    await sleep(200)
    scene.nats.freeze()
    await sleep(1000)
    scene.nats.thaw()
  }
  await end()
  await flawless(t, scene)
})

test('a stream that is purged goes on with the next number', async (t) => {
  const scene = await openScene(t)
  const running = startRelay(t, scene.options)
  await leading(running)
  await scene.writer.write(50)
  await stored(scene, 51)
  await (await jetstreamManager(scene.nc)).streams.purge(scene.stream)
  await scene.writer.write(50)
  await stored(scene, 101)
  const messages = await scene.read()
  t.is(messages.length, 50)
  t.regex(messages[0]!.headers['Pg-Seq']!, /:52$/)
  t.is(running.relay.stats().terms, 1)
})

test('a stream that is deleted and made again begins with a gap', async (t) => {
  const scene = await openScene(t)
  const running = startRelay(t, scene.options)
  await leading(running)
  await scene.writer.write(50)
  await stored(scene, 51)
  await (await jetstreamManager(scene.nc)).streams.delete(scene.stream)
  await scene.writer.write(1)
  await waitFor(() => running.relay.stats().failures > 0)
  await makeStream(scene.nats.url, scene.stream)
  await waitFor(() => running.relay.stats().terms === 2, { what: 'a second term' })
  await scene.writer.write(20)
  await stored(scene, 21)
  const messages = await scene.read()
  t.deepEqual(gapsOf(scene, messages), ['stream-reset'])
  t.like(JSON.parse(messages[0]!.payload), { lostAt: null, dropped: null })
  t.deepEqual(counterFaults(messages), [])
  const verdict = scene.writer.judge(asRead(messages))
  t.like(verdict, { lost: [], doubled: [], reordered: [], alien: [] })
  t.true(verdict.delivered >= 20)
})

test('a relay that has lost the lead often does not wait longer than at first', async (t) => {
  const scene = await openScene(t)
  const running = startRelay(t, scene.options)
  await leading(running)
  const { streams } = await jetstreamManager(scene.nc)
  const took: number[] = []
  for (let term = 2; term <= 9; term += 1) {
    await streams.delete(scene.stream)
    await makeStream(scene.nats.url, scene.stream)
    const begunAt = performance.now()
    await scene.writer.write(1)
    await waitFor(() => running.relay.stats().terms === term, { what: `term ${term}` })
    took.push(Math.round(performance.now() - begunAt))
  }
  t.log(took)
  // Delays that double would be 500 ms or more by then, each of them.
  t.true(Math.min(...took.slice(-3)) < 500, took.join(', '))
})

test('a stream that is full is waited for', async (t) => {
  const scene = await openScene(t, { stream: { max_msgs: 100, discard: 'new' as never } })
  const running = startRelay(t, scene.options)
  await leading(running)
  await scene.writer.write(300)
  await waitFor(() => running.relay.stats().failures >= 2)
  t.true(running.warnings.some((text) => text.includes('10077')))
  const jsm = await jetstreamManager(scene.nc)
  await jsm.streams.update(scene.stream, { max_msgs: -1 })
  await flawless(t, scene)
})

test('a right that is taken away is waited for', async (t) => {
  const users = (allowed: string) => `
    accounts { A { jetstream: enabled, users: [
      { user: relay, password: r, permissions: {
          publish: [${allowed} "$JS.API.STREAM.INFO.*", "$JS.API.STREAM.MSG.GET.*"], subscribe: ["_INBOX_relay.>"] } },
      { user: admin, password: a } ] } }
    no_auth_user: admin`
  const scene = await openScene(t, { config: users('"pg.>",') })
  const running = startRelay(t, {
    ...scene.options,
    nats: { servers: scene.nats.url, user: 'relay', password: 'r' },
  })
  await leading(running)
  await scene.writer.write(100)
  await stored(scene, 101)
  scene.nats.configure(users(''))
  scene.nats.reload()
  await waitFor(() => /Reloaded/.test(scene.nats.log()))
  await scene.writer.write(100)
  await waitFor(() => running.relay.stats().failures >= 2)
  t.true(running.warnings.some((text) => /permissions violation/i.test(text)))
  scene.nats.configure(users('"pg.>",'))
  scene.nats.reload()
  await flawless(t, scene)
})

test('a file of credentials is read again at each connection, and may be renewed meanwhile', async (t) => {
  const [old, young] = [nkeys.createUser(), nkeys.createUser()]
  const users = (relay: ReturnType<typeof nkeys.createUser>) => `
    accounts { A { jetstream: enabled, users: [{ nkey: ${relay.getPublicKey()} }, { user: admin, password: a }] } }
    no_auth_user: admin`
  const scene = await openScene(t, { config: users(old) })
  const nkeyFile = path.join(scene.nats.folder, 'relay.nk')
  writeFileSync(nkeyFile, old.getSeed())
  const running = startRelay(t, {
    ...scene.options,
    nats: { servers: scene.nats.url, nkeyFile },
  })
  await leading(running)
  // Whoever renews it has just begun to.
  writeFileSync(nkeyFile, '')
  await scene.nats.kill()
  await scene.nats.start()
  await waitFor(() => running.relay.stats().isNatsConnected)
  await scene.writer.write(10)
  await stored(scene, 11)
  scene.nats.configure(users(young))
  scene.nats.reload()
  await waitFor(() => !running.relay.stats().isNatsConnected)
  await scene.writer.write(10)
  writeFileSync(nkeyFile, young.getSeed())
  await flawless(t, scene)
})

test('what the stream or the server never takes is a gap in its place', async (t) => {
  for (const [options, size] of [
    [{ stream: { max_msg_size: 4096 } }, 5000],
    [{ config: 'max_payload: 4096' }, 5000],
  ] as const) {
    const scene = await openScene(t, { ...options, padding: size })
    const small = await openWriterOn(scene)
    const running = startRelay(t, {
      ...scene.options,
      channels: [...scene.writer.channels, ...small.channels],
    })
    await leading(running)
    await small.write(10, { together: true })
    await scene.writer.write(1)
    await small.write(10, { together: true })
    await scene.writer.write(2, { together: true })
    await small.write(10)
    await stored(scene, 34)
    const messages = await scene.read()
    t.deepEqual(counterFaults(messages), [])
    const gaps = messages.filter(({ subject }) => subject.endsWith('.%gap'))
    t.deepEqual(
      gaps.map(({ sequence }) => sequence),
      [1, 12, 23, 24],
    )
    const bodies = gaps.map(({ payload }) => JSON.parse(payload) as RelayGapBody)
    t.deepEqual(
      bodies.map(({ reason, dropped }) => `${reason} ${dropped}`),
      ['relay-start null', ...Array.from({ length: 3 }, () => 'unpublishable 1')],
    )
    t.like(bodies[1], { channel: scene.writer.channels[1], size: 5002 })
    t.like(small.judge(asRead(messages)), {
      ...{ delivered: 30, lost: [], covered: 0, doubled: [], reordered: [], alien: [] },
    })
    t.is(running.relay.stats().unpublishable, 3)
    await running.stop()
  }
})

test('a stream that does not even take a gap is waited for, now and then', async (t) => {
  const scene = await openScene(t, { stream: { max_msg_size: 200 } })
  const running = startRelay(t, scene.options)
  await waitFor(() => running.relay.stats().failures >= 2, { what: 'failures that are told' })
  await sleep(1000)
  const { failures, role } = running.relay.stats()
  t.true(failures < 20, `${failures}`)
  t.is(role, 'connecting')
  t.true(running.warnings.some((text) => text.includes('10054')))
  const { streams } = await jetstreamManager(scene.nc)
  await streams.update(scene.stream, { max_msg_size: -1 })
  await leading(running)
  await scene.writer.write(10)
  await flawless(t, scene)
})

test('messages that others write to the subjects are passed over', async (t) => {
  const scene = await openScene(t)
  const running = startRelay(t, scene.options)
  await leading(running)
  const end = writing(scene)
  for (let times = 0; times < 10; times += 1) {
    await sleep(30)
    scene.nc.publish(`pg.${scene.stream}.alien`, 'not a relay')
  }
  await end()
  await stored(scene, scene.writer.count + 11)
  const all = await scene.read()
  const own = all.filter(({ headers }) => 'Pg-Seq' in headers)
  t.is(all.length - own.length, 10)
  t.deepEqual(counterFaults(own), [])
  const verdict = scene.writer.judge(asRead(own))
  t.like(verdict, { lost: [], covered: 0, doubled: [], reordered: [], alien: [] })
  t.is(verdict.delivered, scene.writer.count)
})

test('what does not fit into the buffer while NATS is away is a gap with its number', async (t) => {
  const scene = await openScene(t)
  const running = startRelay(t, { ...scene.options, buffer: { maxMessages: 200 } })
  await leading(running)
  await scene.nats.kill()
  await scene.writer.write(2000)
  await scene.nats.start()
  await waitFor(() => running.relay.stats().gaps === 2)
  await waitFor(() => running.relay.stats().backlog === 0)
  await scene.writer.write(10)
  await waitFor(async () => (await scene.read()).at(-1)?.payload === '2010:')
  const messages = await scene.read()
  t.deepEqual(counterFaults(messages), [])
  const gap = JSON.parse(
    messages.findLast(({ subject }) => subject.endsWith('.%gap'))!.payload,
  ) as { reason: string; dropped: number }
  t.is(gap.reason, 'overflow')
  const verdict = scene.writer.judge(asRead(messages))
  t.like(verdict, { lost: [], covered: gap.dropped, doubled: [], reordered: [], alien: [] })
  t.is(verdict.delivered + gap.dropped, 2010)
})

test('a stream that is not there yet is waited for', async (t) => {
  const scene = await openScene(t)
  const jsm = await jetstreamManager(scene.nc)
  await jsm.streams.delete(scene.stream)
  const running = startRelay(t, scene.options)
  await waitFor(() => running.relay.stats().failures > 0)
  await makeStream(scene.nats.url, scene.stream)
  await leading(running)
  await scene.writer.write(10)
  await flawless(t, scene)
})

/** A second writer with small payloads, in the same database. */
async function openWriterOn(scene: Scene) {
  const { OracleWriter } = await import('../../lab/relay/oracle.js')
  return new OracleWriter(scene.dsn)
}
