// What psqlpy's own tests ask of a listener, asked of this one: who ports a listener finds it unchanged.

import test, { type ExecutionContext } from 'ava'
import { type Listener, type ListenerCallback, ListenerStartError } from 'pglisten'
import { uniqueName } from '../../lab/unique-name.js'
import { ask, notify, openListener, run, uniqueChannel } from '../support/listener.js'
import { waitFor, within } from '../../lab/wait.js'

const PAYLOAD = 'test_payload'

interface Row {
  payload: string
  channel: string
  process_id: number
}

/** A table, and a callback that inserts into it what it is called with, through the connection it is handed. */
async function recorder(t: ExecutionContext) {
  const table = uniqueName('recorded')
  await run(
    `CREATE TABLE ${table} (id SERIAL, payload VARCHAR(255), channel VARCHAR(255), process_id INT)`,
  )
  t.teardown(() => run(`DROP TABLE ${table}`))
  const insert: ListenerCallback = async (connection, payload, channel, processId) => {
    await connection.execute(
      `INSERT INTO ${table} (payload, channel, process_id) VALUES ($1, $2, $3)`,
      [payload, channel, processId],
    )
  }
  const rows = () => ask<Row[]>(`SELECT coalesce(json_agg(r ORDER BY id), '[]') FROM ${table} AS r`)
  return { insert, rows, clear: () => run(`DELETE FROM ${table}`) }
}

/** Passes when nothing that was sent before the call has led, or can still lead, to a row. */
async function expectNoRows(
  t: ExecutionContext,
  listener: Listener,
  rows: () => Promise<Row[]>,
): Promise<void> {
  // A channel that is delivered for certain: what was sent before its notification has been dealt with by then.
  const marker = uniqueChannel()
  const marked = new Promise<void>((resolve) => {
    void listener.addCallback(marker, () => resolve()).then(() => notify(marker))
  })
  await within(marked)
  t.deepEqual(await rows(), [])
}

test('a callback inserts what it is called with through the connection it is handed', async (t) => {
  const { insert, rows } = await recorder(t)
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  await listener.addCallback(channel, insert)
  await listener.startup()
  listener.listen()
  await notify(channel, PAYLOAD)
  const [row] = await waitFor(async () => {
    const all = await rows()
    return all.length > 0 && all
  })
  t.like(row, { payload: PAYLOAD, channel })
})

test('an iterator yields what callbacks are subscribed to', async (t) => {
  const { insert } = await recorder(t)
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  await listener.addCallback(channel, insert)
  await listener.startup()
  const sending = notify(channel, PAYLOAD)
  let yielded = 0
  for await (const message of listener) {
    t.is(message.channel, channel)
    t.is(message.payload, PAYLOAD)
    yielded += 1
    break
  }
  t.is(yielded, 1)
  await sending
  await listener.shutdown()
})

test('after shutdown nothing is recorded any more', async (t) => {
  const { insert, rows, clear } = await recorder(t)
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  await listener.addCallback(channel, insert)
  await listener.startup()
  listener.listen()
  await notify(channel, PAYLOAD)
  await waitFor(async () => (await rows()).length === 1)

  await listener.shutdown()
  await clear()
  await notify(channel, PAYLOAD)
  // The next run hears only what is sent during it.
  await listener.startup()
  listener.listen()
  await expectNoRows(t, listener, rows)
})

test('listening before startup is refused', async (t) => {
  const { insert } = await recorder(t)
  const { listener } = await openListener(t)
  await listener.addCallback(uniqueChannel(), insert)
  t.throws(() => listener.listen(), { instanceOf: ListenerStartError })
})

test('starting twice is refused', async (t) => {
  const { insert } = await recorder(t)
  const { listener } = await openListener(t)
  await listener.addCallback(uniqueChannel(), insert)
  await listener.startup()
  await t.throwsAsync(listener.startup(), { instanceOf: ListenerStartError })
})

test('two channels with a callback each are both recorded', async (t) => {
  const { insert, rows } = await recorder(t)
  const { listener } = await openListener(t)
  const first = uniqueChannel()
  const second = uniqueChannel()
  await listener.addCallback(first, insert)
  await listener.addCallback(second, insert)
  await listener.startup()
  listener.listen()
  await notify(first, PAYLOAD)
  await notify(second, PAYLOAD)
  await waitFor(async () => (await rows()).length === 2)
  t.deepEqual(
    (await rows()).map(({ channel }) => channel),
    [first, second],
  )
})

test('a channel whose callbacks were cleared is not recorded', async (t) => {
  const { insert, rows } = await recorder(t)
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  await listener.addCallback(channel, insert)
  await listener.startup()
  listener.listen()
  await listener.clearChannelCallbacks(channel)
  await notify(channel, PAYLOAD)
  await expectNoRows(t, listener, rows)
})

test('no channel is recorded once all were cleared', async (t) => {
  const { insert, rows } = await recorder(t)
  const { listener } = await openListener(t)
  const channels = [uniqueChannel(), uniqueChannel()]
  for (const channel of channels) await listener.addCallback(channel, insert)
  await listener.startup()
  listener.listen()
  await listener.clearAllChannels()
  for (const channel of channels) await notify(channel, PAYLOAD)
  await expectNoRows(t, listener, rows)
})
