// A server that takes connections and rejects LISTEN, or is not ready yet: never deafness, and back when it is promoted.

import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { DatabaseError, type Gap } from 'pglisten'
import type { DevServer } from '../../lab/server/dev-server.mjs'
import { Arena, promote } from '../../lab/faults/arena.js'
import { Witness } from '../../lab/faults/witness.js'
import { waitFor, within } from '../../lab/wait.js'

async function open(t: ExecutionContext, settings = {}): Promise<[Arena, DevServer]> {
  const arena = await Arena.open()
  t.teardown(() => arena.close())
  const standby = await arena.makeStandby(settings)
  t.teardown(() => standby.stop('immediate'))
  return [arena, standby]
}

/** The listener is on the promoted standby, whole, behind exactly one gap. */
async function isBack(t: ExecutionContext, witness: Witness, gap: Gap) {
  t.like(gap, { reason: 'disconnect', serverRestarted: true, dropped: null })
  t.is(gap.attempts, witness.attempts.length + 1)
  t.deepEqual((await witness.serverChannels()).sort(), [...witness.channels].sort())
  await witness.listener.connection.execute("SELECT pg_notify($1, '2')", [witness.channels[0]!])
  await witness.listener.sync()
  t.deepEqual(witness.iterated, [1, gap, 2])
  t.deepEqual(witness.called, [1, gap, 2])
}

test.serial(
  'a standby that rejects LISTEN is a failed attempt, until it is promoted',
  async (t) => {
    const [arena, standby] = await open(t)
    await standby.start()
    const witness = new Witness(arena.dsn, {}, 10)
    t.teardown(() => witness.stop())
    await witness.start()
    await arena.direct.notify(witness.channels[0]!, '1')
    await witness.listener.sync()
    const attempts: unknown[] = []
    witness.listener.on('warning', ({ error }) => attempts.push(error))
    const back = once(witness.listener, 'gap')
    await arena.server.kill()
    arena.proxy.retarget(standby.port)
    const isRefusal = (error: unknown) =>
      error instanceof DatabaseError && error.sqlState === '25006'
    await waitFor(() => attempts.filter(isRefusal).length >= 3)
    t.is(witness.listener.state, 'reconnecting')
    t.is(witness.events.filter((name) => name === 'connected').length, 1)
    // What was refused is not left on the server.
    const left = await waitFor(async () => (arena.proxy.open <= 1 ? 'few' : undefined))
    t.is(left, 'few')
    promote(standby)
    const [gap] = (await within(back)) as [Gap]
    await isBack(t, witness, gap)
  },
)

test.serial('a startup on a standby rejects with the reason, and leaves nothing', async (t) => {
  const [arena, standby] = await open(t)
  await standby.start()
  arena.proxy.retarget(standby.port)
  const witness = new Witness(arena.dsn, {}, 10)
  t.teardown(() => witness.pool.close())
  const error = await t.throwsAsync(witness.start(), { instanceOf: DatabaseError })
  t.is(error.sqlState, '25006')
  t.false(witness.listener.isStarted)
  await waitFor(() => arena.proxy.open === 0)
})

for (const attributes of ['read-write', 'any'] as const) {
  test.serial(
    `of several hosts the one that is the primary is found (targetSessionAttrs=${attributes})`,
    async (t) => {
      const [arena, standby] = await open(t)
      await standby.start()
      const url = new URL(arena.dsn)
      const { username, pathname } = url
      const hosts = `127.0.0.1:${standby.port},127.0.0.1:${arena.proxy.port}`
      const password = decodeURIComponent(url.password)
      const dsn = `postgres://${username}:${encodeURIComponent(password)}@${hosts}${pathname}`
      const witness = new Witness(`${dsn}?target_session_attrs=${attributes}`, {}, 10)
      t.teardown(() => witness.stop())
      // The first host is the standby.
      await witness.start()
      await arena.direct.notify(witness.channels[0]!, '1')
      await witness.listener.sync()
      const back = once(witness.listener, 'gap')
      await arena.server.kill()
      arena.proxy.set({ refuse: true })
      await waitFor(() => witness.attempts.length >= 2)
      promote(standby)
      const [gap] = (await within(back)) as [Gap]
      await isBack(t, witness, gap)
    },
  )
}

test.serial('a server that is starting up (57P03) is asked often', async (t) => {
  const [arena, standby] = await open(t, { hot_standby: false })
  // It answers 57P03 until it is promoted, and is ready only then.
  const started = standby.start()
  const witness = new Witness(arena.dsn, {
    reconnect: { initialDelayMs: 2000, maxDelayMs: 60_000 },
  })
  t.teardown(() => witness.stop())
  await witness.start()
  await arena.direct.notify(witness.channels[0]!, '1')
  await witness.listener.sync()
  const delays: number[] = []
  witness.listener.on('reconnecting', ({ delayMs, error }) => {
    if ((error as DatabaseError).sqlState === '57P03') delays.push(delayMs)
  })
  await waitFor(() => /entering standby mode/.test(standby.log()))
  const back = once(witness.listener, 'gap')
  arena.proxy.retarget(standby.port)
  await arena.server.halt('fast')
  await waitFor(() => delays.length >= 8, { what: '57P03, eight times' })
  // Other failures have delays of up to a minute.
  t.true(Math.max(...delays) <= 250, delays.join())
  promote(standby)
  const [gap] = (await within(back)) as [Gap]
  await started
  await isBack(t, witness, gap)
})
