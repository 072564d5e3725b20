// `pglisten doctor`: each thing that it looks for is made on purpose and found, with its remedy; a healthy server has none of them.

import test, { type ExecutionContext } from 'ava'
import type { Socket } from 'node:net'
import { Client } from 'pg'
import { Arena } from '../../lab/faults/arena.js'
import { startIdleProxy } from '../../lab/network/idle-proxy.js'
import { MessageProxy } from '../../lab/network/message-proxy.mjs'
import { startServer } from '../../lab/server/dev-server.mjs'
import { HAS_PGLITE, startPglite } from '../../lab/server/pglite.js'
import { POOLER, startPooler } from '../../lab/server/pooler.js'
import { serverDsn, useOwnServer } from '../../lab/server/test-server.js'
import { uniqueName } from '../../lab/unique-name.js'
import { waitFor } from '../../lab/wait.js'
import { ServerWitness } from '../../lab/witness.js'
import { pglisten } from './command.js'
import { createDatabase } from '../support/database.js'
import { ask, run } from '../support/listener.js'

// Whoever holds the queue of a common server would be found.
useOwnServer()

const pooled = POOLER ? test.serial : test.serial.skip
const withPglite = HAS_PGLITE ? test.serial : test.serial.skip

interface Result {
  code: unknown
  ok: boolean
  versions: Record<string, string>
  facts: Record<string, unknown>
  findings: { check: string; title: string; detail: string; remedy: string }[]
  notChecked: { check: string; reason: string }[]
  error?: { message: string; remedy: string | null; sqlState: string | null }
}

async function doctor(
  t: ExecutionContext,
  dsn?: string,
  args: readonly string[] = ['--idle', '0'],
): Promise<Result> {
  const command = await pglisten(t, ['doctor', '--json', ...args], dsn === undefined ? {} : { dsn })
  const code = await command.ended(60_000)
  return { code, ...JSON.parse(command.out) }
}

const checks = ({ findings }: Result) => findings.map(({ check }) => check)

/** The DSN of the test server, for another user. */
async function dsnOf(user: string, password: string): Promise<string> {
  const url = new URL(await serverDsn())
  url.username = user
  url.password = password
  return url.href
}

test.serial('a healthy server has no findings', async (t) => {
  const result = await doctor(t, undefined, ['--idle', '1'])
  t.deepEqual(result.findings, [])
  t.deepEqual(result.notChecked, [])
  t.is(result.code, 0)
  t.true(result.ok)
  t.like(result.facts, {
    ...{ listen: true, behindAnotherPort: false, standby: false, role: 'postgres', queueUsage: 0 },
    idleProbeSec: 1,
  })
  t.regex(String(result.facts['server']), /^PostgreSQL \d+/)
  t.is(result.versions['node'], process.versions.node)
})

test.serial('findings are for people too, each with its remedy', async (t) => {
  const role = uniqueName('role')
  await run(
    `CREATE ROLE ${role} LOGIN PASSWORD 'x'; ALTER ROLE ${role} SET idle_session_timeout = '90s'`,
  )
  t.teardown(() => run(`DROP ROLE ${role}`))
  const dsn = await dsnOf(role, 'x')
  const command = await pglisten(t, ['doctor', '--idle', '0'], { dsn })
  t.is(await command.ended(), 1)
  t.regex(command.out, /^! idle_session_timeout is (90s|1min 30s|90000)/m)
  t.regex(command.out, /^ {2}remedy: ALTER ROLE/m)
  t.regex(command.out, /\n1 finding\n$/)
  t.deepEqual(checks(await doctor(t, dsn)), ['idle-session-timeout'])
})

test.serial(
  'a role without rights: what it may not do is found, what it cannot see is said',
  async (t) => {
    const database = await createDatabase(t)
    const role = uniqueName('role')
    const url = new URL(await dsnOf(role, 'x'))
    url.pathname = `/${database}`
    const admin = new URL(await serverDsn())
    admin.pathname = url.pathname
    const outside = new ServerWitness(admin.href)
    t.teardown(async () => {
      await outside.close()
      await run(`DROP DATABASE ${database} WITH (FORCE)`)
      await run(`DROP ROLE ${role}`)
    })
    await outside.run(`CREATE ROLE ${role} LOGIN PASSWORD 'x'`)
    // An ordinary role is no finding.
    const ordinary = await doctor(t, url.href)
    t.deepEqual([ordinary.findings, ordinary.code], [[], 0])
    t.deepEqual(
      ordinary.notChecked.map(({ check }) => check),
      ['other-sessions'],
    )
    await outside.run('REVOKE EXECUTE ON FUNCTION pg_notify(text, text) FROM PUBLIC')
    const mute = await doctor(t, url.href)
    t.deepEqual(checks(mute), ['permissions'])
    t.deepEqual(
      mute.notChecked.map(({ check }) => check),
      ['other-sessions', 'delivery'],
    )
    const silenced = await doctor(t, url.href, [])
    t.deepEqual(
      silenced.notChecked.map(({ check }) => check),
      ['other-sessions', 'delivery', 'idle'],
    )
    t.regex(mute.findings[0]!.remedy, new RegExp(`^GRANT EXECUTE .*pg_notify.* TO "${role}"$`))
    await outside.run(`GRANT EXECUTE ON FUNCTION pg_notify(text, text) TO ${role};
    REVOKE EXECUTE ON FUNCTION pg_listening_channels() FROM PUBLIC;
    REVOKE EXECUTE ON FUNCTION pg_notification_queue_usage() FROM PUBLIC`)
    const blind = await doctor(t, url.href)
    t.deepEqual(checks(blind), ['permissions'])
    t.regex(blind.findings[0]!.title, /pg_listening_channels/)
    t.false(blind.facts['listen'])
    t.deepEqual(
      blind.notChecked.map(({ check }) => check),
      ['queue', 'other-sessions'],
    )
    await run(`REVOKE CONNECT ON DATABASE ${database} FROM PUBLIC`)
    const refused = await doctor(t, url.href)
    t.is(refused.code, 2)
    t.regex(refused.error!.remedy!, /GRANT CONNECT/)
  },
)

test.serial('a queue that is held back is found, with the session that holds it', async (t) => {
  const server = await startServer()
  const [holder, bystander] = ['holder', 'bystander'].map(
    (application_name) => new Client({ connectionString: server.dsn, application_name }),
  ) as [Client, Client]
  const outside = new ServerWitness(server.dsn)
  t.teardown(async () => {
    await Promise.all([holder.end(), bystander.end(), outside.close()])
    await server.stop('immediate')
  })
  await Promise.all([holder.connect(), bystander.connect()])
  await holder.query('LISTEN held')
  await holder.query('BEGIN')
  const pid = (await holder.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0]!.pid
  await outside.flood('held', 1, 100, { width: 7000 })
  await waitFor(() => outside.ask('SELECT pg_notification_queue_usage() > 0'))
  const held = await doctor(t, server.dsn)
  t.deepEqual(checks(held), ['queue'])
  t.is(held.code, 1)
  // 100 times 7,000 bytes, a page each.
  t.regex(held.findings[0]!.title, /: (79\d|80\d|81\d) kB wait, 0\.0\d+ % /)
  t.regex(
    held.findings[0]!.detail,
    new RegExp(
      `process ${pid} \\(holder, role postgres, database postgres\\), idle in transaction for`,
    ),
  )
  t.notRegex(held.findings[0]!.detail, /bystander/)
  t.true(held.findings[0]!.remedy.includes(`pg_terminate_backend(${pid})`))
  await holder.query('COMMIT')
  t.deepEqual(checks(await doctor(t, server.dsn)), [])
  // Who does not listen holds nothing, however long its transaction is.
  await bystander.query('BEGIN')
  await outside.flood('held', 1, 100, { width: 7000 })
  t.deepEqual(checks(await doctor(t, server.dsn)), [])
})

test.serial('a full queue is found, and so is that nobody can notify', async (t) => {
  // Before PostgreSQL 17 it has always room for 8 GB.
  if ((await ask<number>("SELECT current_setting('server_version_num')::int4")) < 170_000)
    return t.pass()
  const server = await startServer({ settings: { max_notify_queue_pages: 64 } })
  const holder = new Client({ connectionString: server.dsn })
  const outside = new ServerWitness(server.dsn)
  t.teardown(async () => {
    await Promise.all([holder.end(), outside.close()])
    await server.stop('immediate')
  })
  await holder.connect()
  await holder.query('LISTEN held')
  await holder.query('BEGIN')
  await t.throwsAsync(
    async () => {
      for (;;) await outside.flood('held', 1, 10, { width: 7000 })
    },
    { code: '54000' },
  )
  const full = await doctor(t, server.dsn, [])
  t.is(full.code, 1)
  t.deepEqual(checks(full), ['queue', 'delivery'])
  t.regex(full.findings[1]!.detail, /54000/)
  t.deepEqual(
    full.notChecked.map(({ check }) => check),
    ['idle'],
  )
  return undefined
})

test.serial('a server without a connection for the third step is reported on', async (t) => {
  for (const limit of [1, 2]) {
    const role = uniqueName('role')
    await run(`CREATE ROLE ${role} LOGIN PASSWORD 'x' CONNECTION LIMIT ${limit}`)
    t.teardown(() => run(`DROP ROLE ${role}`))
    const result = await doctor(t, await dsnOf(role, 'x'))
    t.is(result.code, 1)
    t.deepEqual(checks(result), [limit === 1 ? 'listen' : 'delivery'])
    t.regex(result.findings[0]!.detail, /53300/)
    t.is(result.facts['role'], role)
  }
})

test.serial('what cannot be examined is a finding of its own', async (t) => {
  const url = new URL(await serverDsn())
  url.pathname = `/${await createDatabase(t)}`
  const outside = new ServerWitness(url.href)
  t.teardown(() => outside.close())
  const role = uniqueName('role')
  await outside.run(`CREATE ROLE ${role} LOGIN PASSWORD 'x';
    REVOKE SELECT ON pg_catalog.pg_stat_activity FROM PUBLIC`)
  t.teardown(() => run(`DROP ROLE ${role}`))
  url.username = role
  url.password = 'x'
  const result = await doctor(t, url.href)
  t.is(result.code, 1)
  t.deepEqual(checks(result), ['examination'])
  t.regex(result.findings[0]!.detail, /pg_stat_activity.*42501/)
  t.notRegex(result.findings[0]!.remedy, /GRANT CONNECT/)
})

test.serial(
  'a client that listens and takes nothing is found as who holds the queue',
  async (t) => {
    const server = await startServer()
    const frozen = new Client({ connectionString: server.dsn, application_name: 'frozen' })
    frozen.on('error', () => {})
    const outside = new ServerWitness(server.dsn)
    t.teardown(async () => {
      await outside.close()
      await server.stop('immediate')
    })
    await frozen.connect()
    await frozen.query('LISTEN held')
    const { stream } = (frozen as unknown as { connection: { stream: Socket } }).connection
    stream.pause()
    // More than the buffers of both sockets hold.
    await outside.flood('held', 1, 3000, { width: 7000 })
    await waitFor(() =>
      outside.ask(`SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'ClientWrite'`),
    )
    const held = await doctor(t, server.dsn)
    t.deepEqual(checks(held), ['queue'])
    t.regex(
      held.findings[0]!.detail,
      /first: process \d+ \(frozen, .*\), whose client takes nothing/,
    )
    stream.destroy()
  },
)

test.serial(
  '500 sessions that listen are counted, and what each NOTIFY costs is said',
  async (t) => {
    const server = await startServer({ settings: { max_connections: 520 } })
    const clients = Array.from({ length: 500 }, () => new Client({ connectionString: server.dsn }))
    t.teardown(async () => {
      await Promise.all(clients.map((client) => client.end()))
      await server.stop('immediate')
    })
    for (let at = 0; at < clients.length; at += 50) {
      await Promise.all(
        clients.slice(at, at + 50).map(async (client, n) => {
          await client.connect()
          await client.query(`LISTEN channel_${at + n}`)
        }),
      )
      // Few are no finding.
      if (at === 0) t.deepEqual(checks(await doctor(t, server.dsn)), [])
    }
    const result = await doctor(t, server.dsn)
    t.is(result.facts['listeningSessions'], 500)
    if (Number(/\d+/.exec(String(result.facts['server']))![0]) >= 19) {
      t.deepEqual(checks(result), ['server-version'])
      return
    }
    t.deepEqual(checks(result), ['wakes'])
    t.regex(result.findings[0]!.title, /wakes 500 sessions/)
    t.regex(result.findings[0]!.detail, /One took \d+\.\d ms/)
  },
)

test.serial('a standby is found, and nothing else is said of it', async (t) => {
  const arena = await Arena.open()
  t.teardown(() => arena.close())
  const standby = await arena.makeStandby()
  t.teardown(() => standby.stop('immediate'))
  await standby.start()
  const url = new URL(arena.server.dsn)
  url.port = `${standby.port}`
  const result = await doctor(t, url.href, [])
  t.deepEqual(checks(result), ['standby'])
  t.regex(result.findings[0]!.remedy, /target_session_attrs=read-write/)
  t.is(result.code, 1)
})

pooled('PgBouncer in session mode is no finding; in transaction mode it is', async (t) => {
  const direct = await serverDsn()
  const through = (port: number) => {
    const url = new URL(direct)
    url.hostname = '127.0.0.1'
    url.port = `${port}`
    return url.href
  }
  const session = await startPooler(direct, 'session')
  t.teardown(() => session.stop())
  const good = await doctor(t, through(session.port))
  t.deepEqual([good.findings, good.code], [[], 0])
  t.like(good.facts, { behindAnotherPort: true, listen: true })
  const transaction = await startPooler(direct, 'transaction')
  t.teardown(() => transaction.stop())
  const deaf = await doctor(t, through(transaction.port))
  t.deepEqual(checks(deaf), ['pooler'])
  t.like(deaf.facts, { behindAnotherPort: true, listen: false })
  t.regex(deaf.findings[0]!.remedy, /listenDsn/)
})

withPglite('PGlite is found', async (t) => {
  for (const most of [10, 1]) {
    const pglite = await startPglite('pglite-socket', most)
    t.teardown(() => pglite.stop())
    const result = await doctor(t, pglite.dsn, [])
    t.deepEqual(checks(result), ['single-user'], `${most}`)
  }
})

test.serial(
  'what ends idle connections is found by a silence that is longer, and not by a shorter one',
  async (t) => {
    const short = await startIdleProxy(t, 3000)
    const began = performance.now()
    const command = await pglisten(t, ['doctor', '--json', '--idle', '60'], { dsn: short.dsn })
    await command.says(/listening in silence for 60 s/)
    const silentBy = performance.now()
    // The rest of the silence is not waited for.
    t.is(await command.ended(), 1)
    const tookMs = performance.now() - began
    const found = JSON.parse(command.out) as Result
    t.deepEqual(checks(found), ['idle'])
    const [, seconds] = /idle for about (\d+\.\d) s/.exec(found.findings[0]!.title) ?? []
    const [, below] = /below (\d+)\.$/.exec(found.findings[0]!.remedy) ?? []
    // The doctor was silent before the test heard of it, and noticed the end after the proxy had made it.
    const least = Math.min(...short.ended.map(({ at }) => at)) - silentBy
    t.true(least > 0 && Number(below) >= least - 1, `${below}, ${least}`)
    t.true(Number(below) < tookMs, `${below}, ${tookMs}`)
    t.true(Math.abs(Number(seconds) * 1000 - Number(below)) <= 51, `${seconds}, ${below}`)
    const long = await startIdleProxy(t, 30_000)
    t.deepEqual(checks(await doctor(t, long.dsn, ['--idle', '1'])), [])
  },
)

const NOTIFICATION = 'A'.charCodeAt(0)
const NOTHING = Buffer.alloc(0)

test.serial('what forgets idle connections in silence is found', async (t) => {
  // The connection that has brought the notification before the silence brings nothing any more.
  const proxy = new MessageProxy(await serverDsn(), () => {
    let isForgotten = false
    return (message) => {
      if (isForgotten) return NOTHING
      isForgotten = message[0] === NOTIFICATION && message.includes('pglisten_doctor_')
      return message
    }
  })
  t.teardown(() => proxy.stop())
  const result = await doctor(t, await proxy.start(), [])
  t.is(result.code, 1)
  t.deepEqual(checks(result), ['delivery'])
  t.regex(result.findings[0]!.title, /after 5 s of silence/)
})

test.serial('a database that does not check text is found', async (t) => {
  const url = new URL(await serverDsn())
  url.pathname = `/${await createDatabase(t, `ENCODING 'SQL_ASCII' LOCALE 'C'`)}`
  t.deepEqual(checks(await doctor(t, url.href)), ['encoding'])
})

test.serial(
  'without a connection the exit code is 2, and the remedy fits the reason',
  async (t) => {
    const nowhere = await doctor(t, 'postgres://postgres@127.0.0.1:1/postgres')
    t.like(nowhere, { code: 2, ok: false })
    t.regex(nowhere.error!.message, /Connection refused/i)
    t.regex(nowhere.error!.remedy!, /host and port/)
    const wrong = await doctor(t, await dsnOf('postgres', 'not-it'))
    t.like(wrong, { code: 2, error: { sqlState: '28P01' } })
    t.regex(wrong.error!.remedy!, /PGPASSWORD/)
    t.notRegex(JSON.stringify(wrong), /not-it/)
    const url = new URL(await serverDsn())
    url.pathname = '/no_such_database'
    t.like(await doctor(t, url.href), { code: 2, error: { sqlState: '3D000' } })
    const usage = await pglisten(t, ['doctor', 'now'])
    t.is(await usage.ended(), 2)
  },
)
