// A cluster of three nats-servers, with three copies of the stream: its leader changes while the relay writes.

import { setPriority } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { NatsServer } from '../../lab/relay/nats-server.js'
import { OracleWriter } from '../../lab/relay/oracle.js'
import { asRead, counterFaults, readStream } from '../../lab/relay/stream-reading.js'
import { freePort } from '../../lab/server/ports.mjs'
import { serverDsn } from '../../lab/server/test-server.js'
import { uniqueName } from '../../lab/unique-name.js'
import { waitFor } from '../../lab/wait.js'
import { createDatabase } from '../support/database.js'
import { leading, startRelay, test } from './scene.js'

// Its processes would take the processors from tests that run beside it and measure time. They inherit it.
setPriority(10)

test('a stream with three copies whose leader is killed loses, doubles and reorders nothing', async (t) => {
  t.timeout(170_000)
  const ports = await Promise.all([freePort(), freePort(), freePort()])
  const routes = ports.map((port) => `nats://127.0.0.1:${port}`).join(', ')
  const servers = await Promise.all(
    ports.map((port, index) =>
      NatsServer.start({
        config: `
          server_name: n${index}
          cluster { name: C, listen: "127.0.0.1:${port}", routes: [${routes}] }`,
      }),
    ),
  )
  t.teardown(() => Promise.all(servers.map((server) => server.stop())))
  const addresses = servers.map(({ url }) => url)
  const nc = await connect({
    servers: addresses,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 50,
    ignoreClusterUpdates: true,
  })
  t.teardown(() => nc.close())
  const jsm = await jetstreamManager(nc, { checkAPI: false, timeout: 3000 })
  const name = uniqueName('R3')
  await waitFor(
    () =>
      jsm.streams
        .add({ name, subjects: [`pg.${name}.>`], num_replicas: 3, duplicate_window: 1e9 })
        .catch(() => false),
    { timeoutMs: 60_000, what: 'the cluster to make a stream' },
  )
  const url = new URL(await serverDsn())
  url.pathname = `/${await createDatabase(t)}`
  const writer = new OracleWriter(url.href)
  t.teardown(() => writer.close())
  const running = startRelay(t, {
    stream: name,
    database: name,
    channels: writer.channels,
    postgres: url.href,
    nats: { servers: addresses },
  })
  await leading(running)
  const over = new AbortController()
  const writing = (async () => {
    while (!over.signal.aborted) {
      await writer.write(20)
      await writer.write(300, { together: true })
      await sleep(20)
      // What waits at the end has to be stored within the time of the test.
      while ((running.relay.stats().backlog ?? 0) > 20_000) await sleep(20)
    }
  })()
  let changes = 0
  for (let times = 0; times < 4; times += 1) {
    await sleep(500)
    const info = await waitFor(() => jsm.streams.info(name).catch(() => undefined), {
      timeoutMs: 30_000,
    })
    const leader = servers[Number(info.cluster?.leader?.slice(1))]
    if (!leader) continue
    changes += 1
    if (times % 2 === 0) {
      await leader.kill()
      await sleep(300)
      await leader.start()
    } else {
      leader.freeze()
      await sleep(3000)
      leader.thaw()
    }
    // A cluster that has two of three again before it loses another one.
    await waitFor(
      async () => {
        const { cluster } = await jsm.streams.info(name).catch(() => ({ cluster: undefined }))
        return (
          cluster?.leader &&
          cluster.replicas?.length === 2 &&
          cluster.replicas.every(({ current, offline }) => current && !offline)
        )
      },
      { timeoutMs: 60_000, what: 'the copies to catch up' },
    )
  }
  over.abort()
  await writing
  const wanted = writer.count + running.relay.stats().gaps
  await waitFor(async () => (await jsm.streams.info(name)).state.last_seq >= wanted, {
    timeoutMs: 60_000,
    what: 'every row in the stream',
  })
  const messages = await readStream(nc, name)
  t.deepEqual(counterFaults(messages), [])
  const verdict = writer.judge(asRead(messages))
  t.log(`${changes} leaders lost, ${JSON.stringify({ ...verdict, lost: verdict.lost.length })}`)
  t.like(verdict, { lost: [], doubled: [], reordered: [], alien: [] })
  t.true(changes >= 3)
})
