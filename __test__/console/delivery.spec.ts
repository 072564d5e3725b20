// What pages are told: payloads as data, exact counts beside samples, outages, gaps, and sessions of the server.

import test, { type ExecutionContext } from 'ava'
import { FaultProxy } from '../../lab/network/fault-proxy.js'
import { serverDsn } from '../../lab/server/test-server.js'
import { uniqueName } from '../../lab/unique-name.js'
import { waitFor } from '../../lab/wait.js'
import { Store } from '../../packages/console/page/store.js'
import type { Activity, GapRecord, ServerState } from '../../packages/console/src/wire.js'
import { LISTENS, SERVED } from '../../bin/lib/sessions.js'
import { ask, notify, run, uniqueChannel, witness } from '../support/listener.js'
import { ConnectionPool } from 'pglisten'
import { openConsole, type TestConsole, type TestPage } from './console.js'

const HOSTILE = [
  '<img src=x onerror=alert(1)>',
  '</script><script>alert(1)</script>',
  'data: forged\n\nevent: server\ndata: {}\n\n',
  '\r\n\r\nHTTP/1.1 200 OK',
  '\u2028\u2029\u202E"\\\'`${1}',
  '{"a":',
]

/** Notifies so many times in one transaction. */
async function flood(channel: string, count: number, length = 10): Promise<void> {
  await run(
    `SELECT pg_notify('${channel}', lpad(i::text, ${length}, 'x')) FROM generate_series(1, ${count}) AS i`,
  )
}

test.serial(
  'a hostile payload is data: it comes as it was sent, and forges no event',
  async (t) => {
    const channel = uniqueChannel()
    const opened = await openConsole(t, { channels: [channel] })
    const page = await opened.page(t)
    for (const payload of HOSTILE) await notify(channel, payload)
    await waitFor(() => page.messages.length === HOSTILE.length, { what: 'the messages' })
    t.deepEqual(
      page.messages.map(({ payload }) => payload),
      HOSTILE,
    )
    t.false(page.all<ServerState>('server').some(({ state }) => state === undefined))
    // A page that is opened later gets them too.
    const later = await opened.page(t)
    t.deepEqual(
      later.snapshots[0]?.messages.map(({ payload }) => payload),
      HOSTILE,
    )
    t.deepEqual(opened.lines, ['listening'])
  },
)

test.serial(
  'of many messages a sample comes, of every channel, and the counts are exact',
  async (t) => {
    const [busy, quiet] = [uniqueChannel(), uniqueChannel()]
    const opened = await openConsole(t, { channels: [busy, quiet] })
    const page = await opened.page(t)
    const started = Date.now()
    for (let second = 0; second < 4; second += 1) {
      await flood(busy, 5000)
      await notify(quiet, `quiet ${second}`)
      await waitFor(() => page.messages.some(({ payload }) => payload === `quiet ${second}`), {
        what: 'the message of the quiet channel',
      })
    }
    await waitFor(() => page.total(busy) === 20_000, { what: 'the exact total' })
    t.is(page.total(quiet), 4)
    // What a second allows, and what was saved up before the first.
    const allowed = 50 * ((Date.now() - started) / 1000) + 50 + 2
    t.true(page.messages.length <= allowed, `${page.messages.length} of ${allowed}`)
    const sum = (part: 'shown' | 'seen') =>
      page.seconds.reduce((all, second) => all + second[part], 0)
    await waitFor(() => sum('seen') === 20_004, { what: 'the seconds to end' })
    t.is(sum('shown'), page.messages.length)
    const counted = page.seconds.flatMap(({ counts }) => counts).filter(([name]) => name === busy)
    t.is(
      counted.reduce((all, [, count]) => all + count, 0),
      20_000,
    )
    const ids = page.messages.map(({ id }) => id)
    t.deepEqual(
      ids,
      ids.toSorted((one, other) => one - other),
    )
  },
)

test.serial('few messages come all, in their order', async (t) => {
  const channel = uniqueChannel()
  const opened = await openConsole(t, { channels: [channel] })
  const page = await opened.page(t)
  await flood(channel, 50)
  await waitFor(() => page.messages.length === 50)
  t.deepEqual(
    page.messages.map(({ payload }) => Number(payload.replaceAll('x', ''))),
    Array.from({ length: 50 }, (_, index) => index + 1),
  )
})

/** Sends 42 MB of samples: more than the sockets on the way to a page that does not read them hold. */
async function sendMuch(t: ExecutionContext, opened: TestConsole, channel: string): Promise<void> {
  let endedAt = 0
  let total = (await opened.state(t)).channels[0]?.total ?? 0
  for (let round = 1; round <= 6; round += 1) {
    await flood(channel, 1000, 7000)
    total += 1000
    // A second later as many may be shown again.
    await waitFor(
      async () => {
        const { channels, secondEndedAt } = await opened.state(t)
        if (channels[0]?.total !== total || secondEndedAt < endedAt + 1000) return false
        endedAt = secondEndedAt
        return true
      },
      { what: `round ${round}` },
    )
  }
}

test.serial(
  'a page that does not read costs no memory, and is told everything later',
  async (t) => {
    const channel = uniqueChannel()
    const opened = await openConsole(t, { channels: [channel], rate: 1000 })
    const page = await opened.page(t)
    page.pause()
    global.gc!()
    const before = process.memoryUsage()
    // 40 MB of samples for a page that reads.
    await sendMuch(t, opened, channel)
    const grown = () => {
      global.gc!()
      const after = process.memoryUsage()
      return after.heapUsed + after.external - before.heapUsed - before.external
    }
    // The answers by which this test has followed the console go some turns later: each has 7 MB.
    await waitFor(() => grown() < 15_000_000, { what: 'less memory' })
    const known = page.snapshots.length
    page.resume()
    await waitFor(() => page.snapshots.length > known, { what: 'another snapshot' })
    t.is(page.snapshots.at(-1)?.channels[0]?.total, 6000)
  },
)

/** The list of a page that was told these events, from the oldest on. */
function listOf(page: TestPage, store = new Store()): string[] {
  const handlers: Record<string, (data: never) => void> = {
    snapshot: (data) => store.replace(data),
    messages: (data) => store.addMessages(data),
    second: (data) => store.endSecond(data),
    gap: (data) => store.addGap(data),
  }
  for (const { event, data } of page.events) handlers[event]?.(data as never)
  return store.items.map((item) =>
    item.kind === 'note' ? item.text : item.message.payload.slice(0, 6),
  )
}

test.serial(
  'a page that did not read, or comes back, has the gaps of that time at their places',
  async (t) => {
    const direct = await serverDsn()
    const proxy = await FaultProxy.start(Number(new URL(direct).port))
    t.teardown(() => proxy.stop())
    const channel = uniqueChannel()
    const dsn = proxy.dsn(direct)
    const opened = await openConsole(t, { channels: [channel], dsn, rate: 1000 })
    await opened.connected()
    const [slow, gone] = [await opened.page(t), await opened.page(t)]
    await notify(channel, 'before')
    await waitFor(() => slow.messages.length === 1 && gone.messages.length === 1)
    gone.close()
    const store = new Store()
    store.setLink(true)
    listOf(gone, store)
    slow.pause()
    await sendMuch(t, opened, channel)
    proxy.reset()
    await waitFor(async () => (await opened.state(t)).gaps.length === 1, { what: 'the gap' })
    await notify(channel, 'after1')
    await waitFor(async () => (await opened.state(t)).messages.at(-1)?.payload === 'after1')
    slow.resume()
    await waitFor(() => listOf(slow).at(-1) === 'after1', { what: 'the newest messages' })
    store.setLink(false)
    store.setLink(true)
    const again = await opened.page(t)
    for (const list of [listOf(slow), listOf(again, store)]) {
      t.regex(list.at(-2)!, /^Gap: /)
      t.is(list.at(-1), 'after1')
      t.is(list.filter((text) => text.startsWith('Gap: ')).length, 1)
      t.is(list.filter((text) => text.startsWith('Messages are left out here')).length, 1)
    }
    t.is(store.items[0]?.key.startsWith('m1/'), true)
    // What is told again stands there once.
    const before = store.items.length
    store.replace(again.snapshots[0]!)
    t.is(store.items.length, before)
  },
)

test.serial(
  'a page that comes back and has missed nothing is not told that messages are left out',
  async (t) => {
    const channel = uniqueChannel()
    const opened = await openConsole(t, { channels: [channel], rate: 1000 })
    const store = new Store()
    // Before the first message, and then with what follows the last one.
    for (const payloads of [['first1', 'first2'], ['later1']]) {
      const gone = await opened.page(t)
      listOf(gone, store)
      gone.close()
      for (const payload of payloads) await notify(channel, payload)
      await waitFor(
        async () => (await opened.state(t)).messages.at(-1)?.payload === payloads.at(-1),
      )
    }
    listOf(await opened.page(t), store)
    t.deepEqual(
      store.items.map((item) => (item.kind === 'note' ? item.text : item.message.payload)),
      ['first1', 'first2', 'later1'],
    )
  },
)

test.serial('a page that starts with much is told what follows', async (t) => {
  const channel = uniqueChannel()
  const opened = await openConsole(t, { channels: [channel], rate: 1000 })
  await flood(channel, 300, 7000)
  await waitFor(async () => (await opened.state(t)).messages.length === 200)
  const page = await opened.page(t)
  await notify(channel, 'next')
  await waitFor(() => page.messages.some(({ payload }) => payload === 'next'))
  await waitFor(() => page.seconds.length > 0)
  t.is(page.snapshots.length, 1)
})

test.serial('an outage is told with its moment and its reason, and the gap after it', async (t) => {
  const direct = await serverDsn()
  const proxy = await FaultProxy.start(Number(new URL(direct).port))
  t.teardown(() => proxy.stop())
  const channel = uniqueChannel()
  const opened = await openConsole(t, { channels: [channel], dsn: proxy.dsn(direct) })
  await opened.connected()
  const page = await opened.page(t)
  await notify(channel, 'before')
  await waitFor(() => page.messages.length === 1)
  const lost = Date.now()
  proxy.set({ refuse: true })
  proxy.reset()
  await waitFor(() => page.all<ServerState>('server').at(-1)?.state === 'away', { what: 'away' })
  const away = page.all<ServerState>('server').at(-1)!
  t.true(away.since >= lost && away.since <= Date.now())
  t.truthy(away.reason)
  const refused = await opened.act('/channels/add', { channel: uniqueChannel() })
  t.is(refused.status, 503)
  // A page that is opened meanwhile knows it too.
  t.is((await opened.page(t)).snapshots[0]?.server.state, 'away')
  proxy.clear()
  await waitFor(() => page.all<GapRecord>('gap').length === 1, { what: 'the gap' })
  const [gap] = page.all<GapRecord>('gap')
  t.is(gap?.reason, 'disconnect')
  t.is(gap?.after, 1)
  t.is(page.all<ServerState>('server').at(-1)?.state, 'connected')
  await notify(channel, 'after')
  await waitFor(() => page.messages.length === 2)
  const order = page.events
    .filter(({ event }) => event === 'gap' || event === 'messages')
    .map(({ event }) => event)
  t.deepEqual(order, ['messages', 'gap', 'messages'])
})

test.serial('a console that is too slow says how many messages it dropped', async (t) => {
  const channel = uniqueChannel()
  const opened = await openConsole(t, { channels: [channel] })
  const page = await opened.page(t)
  // Notifications wait for this process while it does nothing else.
  const flooded = flood(channel, 100_000)
  const until = performance.now() + 3000
  while (performance.now() < until);
  await flooded
  const other = await witness()
  await waitFor(
    async () => {
      await other.notify(channel, 'last')
      return page.messages.at(-1)?.payload === 'last'
    },
    { what: 'the last message' },
  )
  const dropped = page.all<GapRecord>('gap').reduce((sum, gap) => sum + (gap.dropped ?? 0), 0)
  t.true(page.total(channel) + dropped >= 100_000)
})

test.serial('sending is off unless it was asked for', async (t) => {
  const channel = uniqueChannel()
  const closed = await openConsole(t, { channels: [channel] })
  const page = await closed.page(t)
  const message = { channel, payload: 'sent' }
  t.is((await closed.act('/send', message)).status, 403)
  t.false(page.snapshots[0]!.settings.allowSend)
  const open = await openConsole(t, { allowSend: true })
  t.is((await open.act('/send', message)).status, 200)
  await waitFor(() => page.messages.length > 0)
  t.is(page.messages[0]?.payload, 'sent')
  for (const wrong of [
    { channel: 'x'.repeat(64), payload: '' },
    { channel, payload: 'x'.repeat(8000) },
    { channel, payload: 7 },
  ]) {
    t.is((await open.act('/send', wrong)).status, 400)
  }
})

test.serial(
  'sessions are told with what is known of them, and without their statements',
  async (t) => {
    const opened = await openConsole(t, { channels: [uniqueChannel()] })
    const name = uniqueName('app')
    const other = await openConsole(t, { channels: [] })
    t.truthy(other)
    const { Client } = (await import('pg')).default
    const dsn = await serverDsn()
    const listening = new Client({ connectionString: dsn, application_name: `${name}_listens` })
    const secret = new Client({ connectionString: dsn, application_name: `${name}_works` })
    for (const client of [listening, secret]) {
      await client.connect()
      t.teardown(() => client.end())
    }
    await listening.query('LISTEN somewhere')
    await secret.query("SELECT 'a secret'")
    const page = await opened.page(t)
    await waitFor(() => page.all<Activity>('activity').length > 0, { what: 'the sessions' })
    const { sessions, queueUsage, error } = page.all<Activity>('activity')[0]!
    const seen = (application: string) =>
      sessions.find((session) => session.application === application)?.seen
    t.is(error, null)
    t.is(seen(`${name}_listens`), 'listen')
    t.is(seen(`${name}_works`), 'unknown')
    t.is(sessions.filter((session) => session.seen === 'console').length, 1)
    t.is(typeof queueUsage, 'number')
    t.false(page.raw.includes('a secret'))
  },
)

test.serial('a user without rights sees the sessions of others by name', async (t) => {
  const role = uniqueName('role')
  await run(`CREATE ROLE ${role} LOGIN PASSWORD 'only for this test'`)
  t.teardown(() => run(`DROP ROLE ${role}`))
  const dsn = new URL(await serverDsn())
  dsn.username = role
  dsn.password = 'only for this test'
  const opened = await openConsole(t, { dsn: dsn.href })
  await opened.connected()
  const page = await opened.page(t)
  await waitFor(() => page.all<Activity>('activity').length > 0, { what: 'the sessions' })
  const { sessions, error } = page.all<Activity>('activity')[0]!
  t.is(error, null)
  t.is(sessions.filter(({ seen }) => seen === 'console').length, 1)
  const others = sessions.filter(({ user }) => user !== role)
  t.true(others.length > 0)
  t.true(others.every(({ seen, state }) => seen === 'unknown' && state === ''))
})

test.serial(
  'a session is seen as one of this package, whatever its listeners are called',
  async (t) => {
    const pool = new ConnectionPool({
      dsn: await serverDsn(),
      applicationName: uniqueName('named'),
    })
    t.teardown(() => pool.close())
    const listener = pool.listener({ name: 'orders; 7 listeners', channels: [uniqueChannel()] })
    await listener.startup()
    const opened = await openConsole(t)
    const page = await opened.page(t)
    const pid = listener.stats().session!.processId
    // Also behind the notification of a fence.
    for (let round = 0; round < 2; round += 1) {
      await listener.sync()
      const found = await ask(
        `SELECT ${SERVED} FROM pg_stat_activity AS a WHERE ${LISTENS} AND pid = $1`,
        [pid],
      )
      t.deepEqual(found, ['1', '1'])
    }
    const before = page.all<Activity>('activity').length
    await waitFor(() => page.all<Activity>('activity').length > before + 1, {
      what: 'the sessions',
    })
    const { sessions } = page.all<Activity>('activity').at(-1)!
    const seen = sessions.find(({ processId }) => processId === pid)
    t.like(seen, { seen: 'pglisten', serves: '1 listeners, 1 channels' })
  },
)
