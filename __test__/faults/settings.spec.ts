// What the listening session asks of the server, so that neither harms the other.

import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { ConnectionPool, type Gap } from 'pglisten'
import { Arena } from '../../lab/faults/arena.js'
import { uniqueName } from '../../lab/unique-name.js'
import { FaultProxy } from '../../lab/network/fault-proxy.js'
import { POOLER, startPooler } from '../../lab/server/pooler.js'
import { Numbers, Witness } from '../../lab/faults/witness.js'
import { collect, waitFor, within } from '../../lab/wait.js'

let arena: Arena

test.before(async () => {
  arena = await Arena.open()
})

test.after.always(() => arena?.close())

async function start(t: ExecutionContext, dsn = arena.dsn): Promise<Witness> {
  const witness = new Witness(dsn, { heartbeat: false }, 10)
  t.teardown(() => witness.stop())
  await witness.start()
  return witness
}

test.serial(
  'the session is named, never idle for too long, and given up when we freeze',
  async (t) => {
    const witness = await start(t)
    const settings = async () =>
      Object.fromEntries(
        (
          await witness.listener.connection.execute<{ name: string; setting: string }>(
            `SELECT name, setting FROM pg_settings WHERE name IN
           ('application_name', 'idle_session_timeout', 'tcp_user_timeout')`,
          )
        ).map(({ name, setting }) => [name, setting]),
      )
    const expected = {
      application_name: witness.applicationName,
      idle_session_timeout: '0',
      tcp_user_timeout: '30000',
    }
    t.deepEqual(await settings(), expected)
    const back = new Promise((resolve) => witness.listener.once('reconnected', resolve))
    await arena.terminate(await witness.processId())
    await within(back)
    t.deepEqual(await settings(), expected)
  },
)

test.serial(
  'a role’s idle_session_timeout ends other sessions, not the listening one',
  async (t) => {
    // Longer than a busy machine takes between two steps of a session's start.
    await arena.setForRole('idle_session_timeout', '2s')
    t.teardown(() => arena.setForRole('idle_session_timeout', undefined))
    const witness = await start(t)
    const processId = await witness.processId()
    const control = new ConnectionPool({ dsn: arena.dsn })
    t.teardown(() => control.close())
    // Both are idle from now on; the control's end shows that the time was up.
    await arena.isGone(await control.fetchVal<number>('SELECT pg_backend_pid()'))
    t.is(await witness.processId(), processId)
    t.deepEqual(witness.events, ['connected'])
  },
)

test.serial('another way to write dates makes no restart of a server', async (t) => {
  const witness = await start(t)
  const settings = { timezone: 'Asia/Tokyo', datestyle: 'German' }
  for (const [name, value] of Object.entries(settings)) await arena.setForRole(name, value)
  t.teardown(async () => {
    for (const name of Object.keys(settings)) await arena.setForRole(name, undefined)
  })
  const told = once(witness.listener, 'gap') as Promise<[Gap]>
  await arena.terminate(await witness.processId())
  const [gap] = await within(told)
  t.false(gap.serverRestarted)
})

for (const [setting, value] of [
  ['statement_timeout', '500ms'],
  ['idle_in_transaction_session_timeout', '500ms'],
  ['default_transaction_read_only', 'on'],
  ['default_transaction_isolation', 'serializable'],
  ['default_transaction_deferrable', 'on'],
  ['client_min_messages', 'debug5'],
  ['standard_conforming_strings', 'off'],
  ['DateStyle', 'SQL, DMY'],
] as const) {
  test.serial(`a role’s ${setting} = ${value} does not disturb listening`, async (t) => {
    await arena.setForRole(setting, value)
    t.teardown(() => arena.setForRole(setting, undefined))
    const witness = await start(t)
    await arena.direct.notify(witness.channels[0]!, '1')
    const back = new Promise((resolve) => witness.listener.once('reconnected', resolve))
    await arena.terminate(await witness.processId())
    await within(back)
    await arena.direct.notify(witness.channels[1]!, '2')
    await witness.listener.sync()
    t.is(witness.iterated.at(-1), 2)
    t.is(witness.called.at(-1), 2)
  })
}

const pooled = POOLER ? test.serial : test.serial.skip

async function poolerDsn(t: ExecutionContext, mode: 'session' | 'transaction' | 'statement') {
  const pooler = await startPooler(arena.directDsn, mode)
  const proxy = await FaultProxy.start(pooler.port)
  t.teardown(() => {
    proxy.stop()
    pooler.stop()
  })
  return { pooler, proxy, dsn: proxy.dsn(arena.directDsn) }
}

pooled('a pooler in session mode (PgBouncer) is no obstacle', async (t) => {
  const { proxy, dsn } = await poolerDsn(t, 'session')
  const witness = await start(t, dsn)
  await arena.direct.notify(witness.channels[0]!, '1')
  await witness.listener.sync()
  t.deepEqual(witness.called, [1])
  const back = new Promise((resolve) => witness.listener.once('reconnected', resolve))
  proxy.reset()
  await within(back)
  await arena.direct.notify(witness.channels[2]!, '2')
  await witness.listener.sync()
  t.is(witness.called.at(-1), 2)
})

for (const mode of ['transaction', 'statement'] as const) {
  pooled(`a pooler in ${mode} mode (PgBouncer) is refused with the reason`, async (t) => {
    const { dsn, proxy } = await poolerDsn(t, mode)
    const pool = new ConnectionPool({ dsn })
    t.teardown(() => pool.close())
    const listener = pool.listener({ channels: [uniqueName('channel')] })
    const error = await within(
      t.throwsAsync(listener.startup(), { code: 'ERR_PGLISTEN_CONNECTION_FAILED' }),
    )
    t.regex(error.message, /pooler/)
    t.regex(error.message, /session mode/)
    t.false(listener.isStarted)
    await waitFor(() => proxy.open === 0)
  })
}

pooled(
  'a pooler that comes to be in transaction mode is failed attempts, not deafness',
  async (t) => {
    const { proxy, dsn } = await poolerDsn(t, 'session')
    const other = await startPooler(arena.directDsn, 'transaction')
    t.teardown(() => other.stop())
    const witness = await start(t, dsn)
    const session = proxy.target
    proxy.retarget(other.port)
    proxy.reset()
    await waitFor(() => witness.attempts.some((message) => /session mode/.test(message)))
    t.is(witness.listener.state, 'reconnecting')
    t.deepEqual(witness.iterated, [])
    proxy.retarget(session)
    proxy.reset()
    await waitFor(() => witness.listener.state === 'connected')
    const messages = witness.listener.messages()
    await arena.direct.notify(witness.channels[0]!, '3')
    await collect(messages, 1)
    t.is(witness.listener.stats().reconnects, 1)
  },
)

pooled('a consumer that has no room does not hide what a pooler passes on', async (t) => {
  const { dsn } = await poolerDsn(t, 'session')
  const pool = new ConnectionPool({ dsn, maxDbPoolSize: 1 })
  t.teardown(() => pool.close())
  const channel = uniqueName('channel')
  const listener = pool.listener({
    channels: [channel],
    // Full with the first few, and a new session after each pause.
    buffer: { maxMessages: 4, overflow: 'pause', maxPauseMs: 100 },
    reconnect: { initialDelayMs: 10, maxDelayMs: 10 },
  })
  const failed: string[] = []
  listener.on('error', (error) => failed.push(error.message))
  listener.on('warning', ({ error }) => error && failed.push(error.message))
  await listener.startup()
  const messages = listener.messages()
  const numbers = new Numbers(arena.direct, [channel])
  await waitFor(() => listener.stats().reconnects >= 10, { what: 'sessions, one after the other' })
  await numbers.stop()
  t.deepEqual(failed, [])
  await messages.return?.()
})
