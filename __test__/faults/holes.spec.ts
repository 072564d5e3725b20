// Holes in the network that swallow attempts to connect, at each stage of connecting: the listener is back soon after the hole.

import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { ConnectionPool, Gap, type SslMode } from 'pglisten'
import { Arena } from '../../lab/faults/arena.js'
import type { Conditions } from '../../lab/network/fault-passage.js'
import { DeafPort } from '../../lab/network/deaf-port.js'
import { FaultProxy } from '../../lab/network/fault-proxy.js'
import { TlsServer, makeAuthority } from '../../lab/tls/tls-server.js'
import { Stalls } from '../../lab/stalls.js'
import { uniqueName } from '../../lab/unique-name.js'
import { collect, waitFor, within } from '../../lab/wait.js'

/** How many attempts a hole swallows. */
const SWALLOWED = 3
/** Within which the listener is back after the end of a hole, on a machine that does not stall. */
const BACK_MS = 1500
/** What the server answers to the request for TLS. */
const OFFER_BYTES = 1
/** The header of a message of the server, and a part of its body. */
const PART_OF_A_MESSAGE = 6

const { issue } = makeAuthority()
let arena: Arena
let tls: TlsServer
let secure: FaultProxy

test.before(async () => {
  arena = await Arena.open()
  tls = await TlsServer.start()
  await tls.change({ certificate: issue() })
  secure = await FaultProxy.start(tls.server.port)
})

test.after.always(async () => {
  secure?.stop()
  await Promise.all([arena?.close(), tls?.stop()])
})

interface Stage {
  name: string
  /** What the network does with the connections that are made in the hole. */
  hole: Partial<Conditions>
  isEncrypted?: boolean
}

const STAGES: Stage[] = [
  { name: 'before the first answer', hole: { hang: true } },
  { name: 'in the TLS handshake', hole: { silentAfterBytes: OFFER_BYTES }, isEncrypted: true },
  { name: 'in authentication', hole: { silentAfterBytes: PART_OF_A_MESSAGE } },
  { name: 'after authentication', hole: { silentAfterRequest: 'set_config' } },
  { name: 'at the answer to LISTEN', hole: { silentAfterRequest: 'LISTEN' } },
]

/** A pool behind a network, and one past it. */
function open(t: ExecutionContext, dsn: string, direct: string, sslMode: SslMode = 'disable') {
  const applicationName = uniqueName('hole')
  const pool = new ConnectionPool({ dsn, sslMode, applicationName })
  t.teardown(() => pool.close())
  const beside = new ConnectionPool({ dsn: direct, sslMode: 'disable' })
  t.teardown(() => beside.close())
  return { pool, beside, applicationName }
}

interface Hole extends ReturnType<typeof open> {
  /** Breaks the session, and swallows every attempt from now on. */
  begin(): Promise<void> | void
  end(): void
}

/** A listener comes back from a hole, whole and in order. */
async function comesBack(t: ExecutionContext, hole: Hole): Promise<void> {
  const { pool, beside, applicationName } = hole
  const channel = uniqueName('channel')
  // A session is stable at once, so that the first attempt falls into the hole.
  const listener = pool.listener({ channels: [channel], reconnect: { stableAfterMs: 1 } })
  await listener.startup()
  const stream = listener.messages({ gaps: 'include' })
  await beside.notify(channel, 'before')
  t.like(await collect(stream, 1), [{ payload: 'before' }])

  const back = once(listener, 'reconnected')
  let begun = 0
  listener.on('reconnecting', ({ attempt }) => (begun = attempt))
  await hole.begin()
  // The next one is told of before it begins.
  await waitFor(() => begun > SWALLOWED, { what: 'attempts in the hole' })
  t.is(listener.state, 'reconnecting')
  using stalls = new Stalls()
  hole.end()
  const ended = performance.now()
  await within(back)
  await beside.notify(channel, 'after')
  const [gap, after] = await collect(stream, 2)
  const backMs = performance.now() - ended
  t.log(`back ${backMs.toFixed(0)} ms after the hole`)
  t.true(backMs <= BACK_MS || stalls.hasStalled, `${backMs} ms`)
  t.true(gap instanceof Gap && gap.attempts > SWALLOWED, 'the hole swallowed attempts')
  t.like(after, { payload: 'after' })

  // The other attempts are gone from the server too, and what it told them does not come a second time.
  await waitFor(async () => (await sessions(beside, applicationName)) === 1, {
    what: 'one session',
  })
  for (const payload of ['1', '2', '3']) await beside.notify(channel, payload)
  const last = await collect(stream, 3)
  t.like(last, [{ payload: '1' }, { payload: '2' }, { payload: '3' }])
}

/** How many sessions the server has of this name. */
async function sessions(beside: ConnectionPool, applicationName: string): Promise<number> {
  await using connection = await beside.connection()
  return connection.fetchVal<number>(
    'SELECT count(*)::int4 FROM pg_stat_activity WHERE application_name = $1',
    [applicationName],
  )
}

test.serial(
  'a hole in the TCP handshake keeps the listener away as long as it lasts',
  async (t) => {
    const port = await DeafPort.start(arena.server.port)
    t.teardown(() => port.stop())
    const dsn = new URL(arena.directDsn)
    dsn.hostname = '127.0.0.1'
    dsn.port = `${port.port}`
    const pools = open(t, dsn.href, arena.directDsn)
    await comesBack(t, { ...pools, begin: () => port.deafen(), end: () => port.hear() })
  },
)

for (const { name, hole, isEncrypted = false } of STAGES) {
  test.serial(`a hole ${name} keeps the listener away as long as it lasts`, async (t) => {
    const proxy = isEncrypted ? secure : arena.proxy
    const direct = isEncrypted ? tls.server.dsn : arena.directDsn
    const pools = open(t, proxy.dsn(direct), direct, isEncrypted ? 'require' : 'disable')
    await comesBack(t, {
      ...pools,
      begin() {
        proxy.set(hole)
        proxy.reset()
      },
      end: () => proxy.clear(),
    })
  })
}

test.serial('a startup that falls into a hole needs no second call', async (t) => {
  const { proxy } = arena
  t.teardown(() => proxy.clear())
  const { pool } = open(t, arena.dsn, arena.directDsn)
  const listener = pool.listener({ channels: [uniqueName('channel')] })
  proxy.set({ hang: true })
  const { connections } = proxy
  const started = listener.startup()
  await waitFor(() => proxy.connections - connections >= SWALLOWED, {
    what: 'attempts in the hole',
  })
  using stalls = new Stalls()
  proxy.clear()
  const ended = performance.now()
  await within(started)
  const tookMs = performance.now() - ended
  t.true(tookMs <= BACK_MS || stalls.hasStalled, `${tookMs} ms`)
})

test.serial('shutdown in a hole drops every attempt that is under way', async (t) => {
  const { proxy } = arena
  t.teardown(() => proxy.clear())
  const { pool } = open(t, arena.dsn, arena.directDsn)
  const listener = pool.listener({ reconnect: { stableAfterMs: 1 } })
  await listener.startup()
  const connections = proxy.connections
  proxy.set({ hang: true })
  proxy.reset()
  await waitFor(() => proxy.connections - connections >= SWALLOWED, { what: 'three attempts' })
  await within(listener.shutdown())
  await waitFor(() => proxy.open === 0, { what: 'no connection' })
  t.is(listener.state, 'closed')
})
