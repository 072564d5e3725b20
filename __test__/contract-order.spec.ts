// The delivery contract, "order": notifications come in commit order, and callbacks run as `concurrency` says.

import test from 'ava'
import type { ConnectionPool, Listener } from 'pglisten'
import { flood, range } from './support/flood.js'
import { ask, notify, openListener, otherPool, run, uniqueChannel } from './support/listener.js'
import { uniqueName } from './support/connect.js'
import { collect, deferred, type Deferred, waitFor } from './support/wait.js'

/** Everything sent to the listener so far has been seen by it, and callbacks had every chance to be started. */
async function settle(listener: Listener): Promise<void> {
  const marker = uniqueChannel()
  await listener.addChannel(marker)
  const markers = listener.messages({ channels: [marker] })
  for (let round = 0; round < 3; round += 1) {
    await notify(marker)
    await collect(markers, 1)
  }
  await markers.return()
}

/** Callbacks that wait until they are let go: what was started, and what is running. */
class Gates {
  readonly started: string[] = []
  readonly #gates = new Map<string, Deferred>()
  #isOpen = false

  readonly callback = (_: unknown, payload: string): Promise<void> => {
    const gate = deferred()
    this.started.push(payload)
    if (this.#isOpen) gate.resolve()
    else this.#gates.set(payload, gate)
    return gate.promise
  }

  get running(): string[] {
    return [...this.#gates.keys()]
  }

  async isStarted(payload: string): Promise<void> {
    await waitFor(() => this.started.includes(payload), { what: `the callback for ${payload}` })
  }

  finish(payload: string): void {
    this.#gates.get(payload)!.resolve()
    this.#gates.delete(payload)
  }

  /** Lets everything go, from now on. */
  open(): void {
    this.#isOpen = true
    for (const payload of this.running) this.finish(payload)
  }
}

/** One transaction after the other, each with several notifications on several channels. */
async function write(
  pool: ConnectionPool,
  channels: readonly string[],
  transactions: number,
  payload: (transaction: number, index: number) => string,
): Promise<void> {
  await using connection = await pool.connection()
  for (let transaction = 0; transaction < transactions; transaction += 1) {
    const payloads = range(0, transaction % 4).map((index) => payload(transaction, index))
    const names = payloads.map((_, index) => channels[(transaction + index) % channels.length]!)
    await connection.execute(
      'SELECT pg_notify(c, p) FROM unnest($1::text[], $2::text[]) AS n (c, p)',
      [names, payloads],
    )
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
  const pool = await otherPool()
  const writer = async () => {
    await using connection = await pool.connection()
    for (let n = 0; n < TRANSACTIONS; n += 1) await connection.execute(sql, [channels])
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
  const pool = await otherPool()
  const sent: string[][] = range(1, WRITERS).map(() => [])
  const writers = sent.map((log, writer) =>
    write(pool, channels, TRANSACTIONS, (transaction, index) => {
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

test('one notification at a time: the next callback starts after the last one settled', async (t) => {
  const { listener } = await openListener(t)
  const [one, other] = [uniqueChannel(), uniqueChannel()]
  const gates = new Gates()
  await listener.addCallback(one, gates.callback)
  await listener.addCallback(other, gates.callback)
  await listener.startup()
  listener.listen()
  for (const payload of ['1', '3']) {
    await notify(one, payload)
    await notify(other, String(Number(payload) + 1))
  }
  for (const n of range(1, 4)) {
    await gates.isStarted(String(n))
    await settle(listener)
    t.deepEqual(gates.started, range(1, n).map(String))
    gates.finish(String(n))
  }
  await listener.sync()
})

test('a callback that returns no promise is not awaited', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  const log: string[] = []
  await listener.addCallback(channel, () => {
    log.push('call')
    queueMicrotask(() => log.push('microtask'))
    return { not: 'a promise' }
  })
  await listener.startup()
  await flood(channel, 1, 1000)
  await waitFor(() => listener.stats().received === 1000)
  listener.listen()
  await listener.sync()
  const calls = log.filter((entry) => entry === 'call').length
  t.is(calls, 1000)
  // Awaited, each call would be followed by its microtask; only the end of a turn lets those through.
  const together = log.filter(
    (entry, index) => entry === 'call' && log[index - 1] === 'call',
  ).length
  t.true(together > 500, `only ${together} calls of 1000 came right after another one`)
})

test('with concurrency n, up to n channels have a callback running, one each', async (t) => {
  const { listener } = await openListener(t, { concurrency: 2 })
  const [a, b, c] = [uniqueChannel(), uniqueChannel(), uniqueChannel()]
  const gates = new Gates()
  for (const channel of [a, b, c]) await listener.addCallback(channel, gates.callback)
  await listener.startup()
  listener.listen()
  for (const payload of ['a1', 'a2', 'b1', 'c1', 'b2', 'a3']) {
    await notify({ a, b, c }[payload[0] as 'a' | 'b' | 'c'], payload)
  }
  await gates.isStarted('b1')
  await settle(listener)
  t.deepEqual(gates.running, ['a1', 'b1'])
  gates.finish('b1')
  await gates.isStarted('c1')
  await settle(listener)
  t.deepEqual(gates.running, ['a1', 'c1'])
  gates.finish('a1')
  await gates.isStarted('a2')
  await settle(listener)
  t.deepEqual(gates.running, ['c1', 'a2'])
  gates.finish('c1')
  await gates.isStarted('b2')
  gates.finish('a2')
  await gates.isStarted('a3')
  t.deepEqual(gates.running, ['b2', 'a3'])
  gates.finish('b2')
  gates.finish('a3')
  await listener.sync()
  for (const channel of ['a', 'b', 'c']) {
    const own = gates.started.filter((payload) => payload.startsWith(channel))
    t.deepEqual(own, own.toSorted())
  }
})

test('without `ordered`, a channel has up to n callbacks running', async (t) => {
  const { listener } = await openListener(t, { concurrency: 3, ordered: false })
  const channel = uniqueChannel()
  const gates = new Gates()
  await listener.addCallback(channel, gates.callback)
  await listener.startup()
  listener.listen()
  await flood(channel, 1, 5)
  await gates.isStarted('3')
  await settle(listener)
  t.deepEqual(gates.running, ['1', '2', '3'])
  gates.finish('2')
  await gates.isStarted('4')
  await settle(listener)
  t.deepEqual(gates.running, ['1', '3', '4'])
  for (const payload of ['4', '3', '1']) gates.finish(payload)
  await gates.isStarted('5')
  gates.finish('5')
  await listener.sync()
})

test('with concurrency n, a channel whose callback hangs does not stop the others', async (t) => {
  const { listener } = await openListener(t, { concurrency: 2 })
  const [slow, fast] = [uniqueChannel(), uniqueChannel()]
  const gates = new Gates()
  const received: number[] = []
  await listener.addCallback(slow, gates.callback)
  await listener.addCallback(fast, async (_, payload) => {
    await Promise.resolve()
    received.push(Number(payload))
  })
  await listener.startup()
  listener.listen()
  for (const burst of range(0, 4)) {
    await flood(slow, burst * 100 + 1, burst * 100 + 100)
    await flood(fast, burst * 100 + 1, burst * 100 + 100)
  }
  await waitFor(() => received.length === 500, { what: 'the other channel' })
  t.deepEqual(gates.started, ['1'])
  t.deepEqual(received, range(1, 500))
  gates.open()
  await listener.sync()
  t.deepEqual(gates.started, range(1, 500).map(String))
})
