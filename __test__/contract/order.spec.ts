// The delivery contract, "order": notifications come in the order of their commits, callbacks in that of registration.

import test from 'ava'
import { uniqueName } from '../../lab/unique-name.js'
import { flood, range } from '../support/flood.js'
import { ask, openListener, run, uniqueChannel, witness } from '../support/listener.js'
import { collect } from '../../lab/wait.js'

/** One transaction after the other, each with several notifications on several channels. */
async function write(
  channels: readonly string[],
  transactions: number,
  payload: (transaction: number, index: number) => string,
): Promise<void> {
  await using session = await (await witness()).session()
  for (let transaction = 0; transaction < transactions; transaction += 1) {
    const payloads = range(0, transaction % 4).map((index) => payload(transaction, index))
    const names = payloads.map((_, index) => channels[(transaction + index) % channels.length]!)
    await session.ask('SELECT pg_notify(c, p) FROM unnest($1::text[], $2::text[]) AS n (c, p)', [
      names,
      payloads,
    ])
  }
}

test('concurrent transactions on several channels arrive in the order of their commits', async (t) => {
  const WRITERS = 6
  const TRANSACTIONS = 150
  const channels = range(1, 4).map(uniqueChannel)
  const counter = uniqueName('commits')
  await run(`CREATE TABLE ${counter} (n int8); INSERT INTO ${counter} VALUES (0)`)
  t.teardown(() => run(`DROP TABLE ${counter}`))
  const { listener } = await openListener(t, { channels })
  await listener.startup()
  const messages = listener.messages()
  const called: number[] = []
  for (const channel of channels)
    await listener.addCallback(channel, (_, n) => called.push(Number(n)))
  listener.listen()

  // The row stays locked until the commit is done: its number is the place among the commits.
  const sql = `WITH next AS (UPDATE ${counter} SET n = n + 1 RETURNING n)
    SELECT pg_notify(($1::text[])[1 + n % ${channels.length}], n::text) FROM next`
  const writer = async () => {
    await using session = await (await witness()).session()
    for (let n = 0; n < TRANSACTIONS; n += 1) await session.ask(sql, [channels])
  }
  await Promise.all(range(1, WRITERS).map(writer))

  const total = WRITERS * TRANSACTIONS
  const received = await collect(messages, total)
  t.deepEqual(
    received.map(({ payload }) => Number(payload)),
    range(1, total),
  )
  t.true(
    received.every(
      ({ channel, payload }) => channel === channels[Number(payload) % channels.length],
    ),
  )
  await messages.return()
  await listener.sync()
  t.deepEqual(called, range(1, total))
})

test('listeners agree on one order, in which each writer comes in its own order', async (t) => {
  const WRITERS = 6
  const TRANSACTIONS = 150
  const channels = range(1, 5).map(uniqueChannel)
  const opened = await Promise.all(range(1, 2).map(() => openListener(t, { channels })))
  const orders: string[][] = []
  for (const { listener } of opened) {
    await listener.startup()
    const order: string[] = []
    orders.push(order)
    for (const channel of channels) {
      await listener.addCallback(channel, (_, payload) => {
        order.push(payload)
      })
    }
    listener.listen()
  }
  const sent: string[][] = range(1, WRITERS).map(() => [])
  const writers = sent.map((log, writer) =>
    write(channels, TRANSACTIONS, (transaction, index) => {
      const payload = `${writer}:${transaction}:${index}`
      log.push(payload)
      return payload
    }),
  )
  await Promise.all(writers)
  await Promise.all(opened.map(({ listener }) => listener.sync()))

  const [first, second] = orders
  t.deepEqual(first, second)
  t.is(first?.length, sent.flat().length)
  for (const [writer, log] of sent.entries()) {
    t.deepEqual(
      first?.filter((payload) => payload.startsWith(`${writer}:`)),
      log,
    )
  }
  // The notifications of a transaction come together.
  const transactions = first?.map((payload) => payload.slice(0, payload.lastIndexOf(':')))
  const changes = transactions?.filter((one, index) => one !== transactions[index - 1])
  t.is(changes?.length, WRITERS * TRANSACTIONS)
  t.true(new Set(transactions?.map((one) => one.split(':')[0])).size === WRITERS)
})

test('callbacks of a channel run in the order of their registration, each awaited', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  const log: string[] = []
  const asynchronous = (name: string) => async (_: unknown, payload: string) => {
    log.push(`${name}${payload} begins`)
    await ask('SELECT 1')
    log.push(`${name}${payload} ends`)
  }
  const twice = (_: unknown, payload: string) => log.push(`b${payload}`)
  await listener.addCallback(channel, asynchronous('a'))
  await listener.addCallback(channel, twice)
  await listener.startup()
  await listener.addCallback(channel, asynchronous('c'))
  await listener.addCallback(channel, twice)
  listener.listen()
  await flood(channel, 1, 3)
  await listener.sync()
  t.deepEqual(
    log,
    range(1, 3).flatMap((n) => [
      `a${n} begins`,
      `a${n} ends`,
      `b${n}`,
      `c${n} begins`,
      `c${n} ends`,
      `b${n}`,
    ]),
  )
})
