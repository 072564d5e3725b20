// A listener over TLS keeps every promise of one without: whole, in order, heard when it dies, gone when it is shut down.

import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import {
  ConnectionPool,
  type ConnectionPoolOptions,
  ConnectionTlsError,
  type Gap,
  type ListenerOptions,
} from 'pglisten'
import { uniqueName } from '../../lab/unique-name.js'
import { FaultProxy } from '../../lab/network/fault-proxy.js'
import { POOLER, startPooler } from '../../lab/server/pooler.js'
import { TlsServer, makeAuthority } from '../../lab/tls/tls-server.js'
import { collect, waitFor, within } from '../../lab/wait.js'

const { authority, issue } = makeAuthority()
const good = issue()
let tls: TlsServer
let admin: ConnectionPool
let secure: ConnectionPoolOptions

test.before(async () => {
  tls = await TlsServer.start()
  await tls.change({ certificate: good })
  admin = new ConnectionPool({ dsn: tls.server.dsn, sslMode: 'disable', maxDbPoolSize: 3 })
  secure = { dsn: tls.dsn, sslMode: 'verify-full', caFile: tls.file(authority.certificate) }
})

test.after.always(async () => {
  await admin?.close()
  await tls?.stop()
})

test.beforeEach(() => tls.change({ certificate: good }))

async function ask<Value>(sql: string, ...params: unknown[]): Promise<Value> {
  const connection = await admin.connection()
  const answer = await connection.fetchVal<Value>(sql, params as never)
  await connection.close()
  return answer
}

function open(
  t: ExecutionContext,
  options: ListenerOptions<string> = {},
  poolOptions: ConnectionPoolOptions = {},
) {
  const applicationName = uniqueName('secret')
  const channel = uniqueName('channel')
  const pool = new ConnectionPool({ ...secure, applicationName, ...poolOptions })
  t.teardown(() => pool.close())
  const listener = pool.listener({
    channels: [channel],
    reconnect: { initialDelayMs: 10, maxDelayMs: 200 },
    ...options,
  })
  return { pool, listener, channel, applicationName }
}

const isEncrypted = (processId: number) =>
  ask<boolean>('SELECT ssl FROM pg_stat_ssl WHERE pid = $1', processId)

test.serial('20,000 notifications of all sizes arrive whole and in order', async (t) => {
  const { listener, channel } = open(t)
  await listener.startup()
  const processId = await listener.connection.fetchVal<number>('SELECT pg_backend_pid()')
  t.true(await isEncrypted(processId))
  const count = 20_000
  // Every hundredth is as long as they can be, so that messages lie across the records of TLS in every way.
  const text = (n: number) => `${n} ${'x'.repeat(n % 100 === 0 ? 7990 - `${n}`.length : n % 97)}`
  const messages = collect(listener.messages(), count, { timeoutMs: 60_000 })
  const connection = await admin.connection()
  for (let from = 1; from <= count; from += 1000) {
    await connection.execute(
      `SELECT pg_notify($1, n || ' ' || repeat('x', CASE WHEN n % 100 = 0
         THEN 7990 - length(n::text) ELSE n % 97 END)) FROM generate_series($2::int, $3::int) AS n`,
      [channel, from, from + 999],
    )
  }
  await connection.close()
  for (const [index, { payload }] of (await messages).entries()) {
    if (payload !== text(index + 1)) {
      t.fail(`notification ${index + 1} is not itself`)
      return
    }
  }
  t.is(listener.stats().received, count)
})

test.serial('a session that is ended is followed by a gap, and by an encrypted one', async (t) => {
  const { listener, channel } = open(t)
  await listener.startup()
  const processId = await listener.connection.fetchVal<number>('SELECT pg_backend_pid()')
  const items = listener.messages({ gaps: 'include' })
  await admin.notify(channel, 'before')
  t.like(await collect(items, 1), [{ payload: 'before' }])
  const back = once(listener, 'gap') as Promise<[Gap]>
  await ask('SELECT pg_terminate_backend($1)', processId)
  const [gap] = await within(back)
  t.like(gap, { reason: 'disconnect', sqlState: '57P01', oldProcessId: processId })
  t.true(await isEncrypted(gap.newProcessId!))
  await admin.notify(channel, 'after')
  const [first, second] = await collect(items, 2)
  t.deepEqual(first as unknown, gap)
  t.like(second, { payload: 'after' })
})

test.serial('a network that swallows everything is noticed in time', async (t) => {
  const proxy = await FaultProxy.start(tls.server.port)
  t.teardown(() => proxy.stop())
  const dsn = tls.dsn.replace(/localhost:\d+/, `localhost:${proxy.port}`)
  const heartbeat = { intervalMs: 300, timeoutMs: 1000 }
  const { listener } = open(t, { heartbeat }, { dsn, connectTimeoutSec: 3 })
  await listener.startup()
  const lost = once(listener, 'disconnected')
  proxy.swallow('both')
  const [{ error }] = (await within(lost)) as [{ error: Error }]
  t.regex(error.message, /did not answer a heartbeat within 1 s/)
  const back = once(listener, 'reconnected')
  proxy.clear()
  await within(back)
})

test.serial(
  'a byte that was changed on the way ends the session, and is not delivered',
  async (t) => {
    const proxy = await FaultProxy.start(tls.server.port)
    t.teardown(() => proxy.stop())
    const dsn = tls.dsn.replace(/localhost:\d+/, `localhost:${proxy.port}`)
    const { listener, channel } = open(t, {}, { dsn })
    await listener.startup()
    const items = listener.messages({ gaps: 'include' })
    const told = once(listener, 'gap') as Promise<[Gap]>
    // Once: the next session is to be good.
    proxy.corruptNextMessage()
    await admin.notify(channel, 'x')
    const [gap] = await within(told)
    // It is the connection that broke: what was sent was readable.
    t.is(gap.reason, 'disconnect')
    t.regex(gap.message, /decrypt/)
    const [first] = await collect(items, 1)
    t.deepEqual(first, gap, 'what was changed is not delivered')
  },
)

test.serial('when a shutdown has resolved, the session is gone', async (t) => {
  const logged = tls.server.log().length
  for (let round = 0; round < 20; round += 1) {
    const { pool, listener, applicationName } = open(t)
    await listener.startup()
    await pool.notify('x')
    const sessions = () =>
      ask<number>(
        'SELECT count(*)::int FROM pg_stat_activity WHERE application_name = $1',
        applicationName,
      )
    t.is(await sessions(), 2)
    await listener.shutdown()
    t.is(await sessions(), 1)
    await pool.close()
    t.is(await sessions(), 0)
  }
  t.notRegex(tls.server.log().slice(logged), /SSL error|unexpected EOF/)
})

test.serial('a certificate that goes bad is an error event, until it is good again', async (t) => {
  const { listener } = open(t)
  await listener.startup()
  const processId = await listener.connection.fetchVal<number>('SELECT pg_backend_pid()')
  await tls.change({ certificate: issue({ validFrom: -20, validTo: -10 }) })
  const failed = once(listener, 'error')
  await ask('SELECT pg_terminate_backend($1)', processId)
  const [error] = (await within(failed)) as [Error]
  t.true(error instanceof ConnectionTlsError, String(error))
  t.regex(error.message, /certificate expired/)
  // Further attempts may fail before the good certificate is there: `events.once()` would reject with their errors.
  const back = new Promise((resolve) => listener.once('reconnected', resolve))
  await tls.change({ certificate: good })
  await within(back)
  t.is(listener.state, 'connected')
})

const pooled = POOLER ? test.serial : test.serial.skip

for (const mode of ['session', 'transaction'] as const) {
  pooled(`a pooler in ${mode} mode (PgBouncer) is known over TLS too`, async (t) => {
    const pooler = await startPooler(tls.server.dsn, mode, good)
    t.teardown(() => pooler.stop())
    const dsn = tls.dsn.replace(/localhost:\d+/, `localhost:${pooler.port}`)
    const { listener, channel } = open(t, {}, { dsn })
    if (mode === 'transaction') {
      await t.throwsAsync(listener.startup(), { message: /pooler.*session mode/s })
      return
    }
    await listener.startup()
    await admin.notify(channel, 'through')
    t.like(await collect(listener.messages(), 1), [{ payload: 'through' }])
  })
}

test.serial('the end of a backend without goodbye is the end of the session', async (t) => {
  const { listener } = open(t)
  await listener.startup()
  const processId = await listener.connection.fetchVal<number>('SELECT pg_backend_pid()')
  const lost = once(listener, 'disconnected')
  process.kill(processId, 'SIGKILL')
  const told = once(listener, 'gap') as Promise<[Gap]>
  await within(lost)
  const [gap] = await within(told)
  // Nothing was unreadable: the stream only ended.
  t.is(gap.reason, 'disconnect')
  await waitFor(() => listener.state === 'connected')
})
