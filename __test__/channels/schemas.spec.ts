// Typed channels: the schemas of a pool, with two libraries that implement Standard Schema.

import test from 'ava'
import { type as arktype } from 'arktype'
import {
  ArgumentRangeError,
  ArgumentTypeError,
  type ChannelSchema,
  ConnectionPool,
  ConnectionPoolConfigurationError,
  ListenerCallbackError,
  type PglistenError,
} from 'pglisten'
import { z } from 'zod'
import { serverDsn } from '../../lab/server/test-server.js'
import { collect, waitFor, within } from '../../lab/wait.js'
import { ask, notify, uniqueChannel } from '../support/listener.js'

const Order = z.object({ id: z.int(), at: z.iso.datetime().transform((text) => new Date(text)) })
const Job = arktype({ name: 'string > 0' })

async function open() {
  const [orders, jobs] = [uniqueChannel(), uniqueChannel()]
  const pool = new ConnectionPool({
    dsn: await serverDsn(),
    schemas: { [orders]: Order, [jobs]: Job },
  })
  return { pool, orders, jobs }
}

const AT = '2026-01-02T03:04:05.000Z'

test('a value is sent as its JSON, and received as what the schema makes of it', async (t) => {
  const { pool, orders, jobs } = await open()
  await using _ = pool
  const listener = pool.listener({ channels: [orders, jobs] })
  const text = pool.listener<Record<string, unknown>>({ channels: [orders], parse: String })
  await listener.startup()
  await text.startup()
  const [messages, texts] = [listener.messages(), text.messages()]
  await pool.notify(orders, { id: 1, at: AT })
  await pool.notifyMany(jobs, [{ name: 'a' }, { name: 'b' }])
  const got = await collect(messages, 3)
  t.deepEqual(
    got.map(({ payload }) => payload),
    [{ id: 1, at: new Date(AT) }, { name: 'a' }, { name: 'b' }],
  )
  // The schema of the pool comes before the listener's `parse`.
  t.deepEqual((await within(texts.next())).value?.payload, { id: 1, at: new Date(AT) })
})

test('what does not fit is refused before it is sent, and the error says where', async (t) => {
  const { pool, orders, jobs } = await open()
  await using _ = pool
  const wrong = { id: 'x', at: AT } as unknown as { id: number; at: string }
  const misfit = {
    instanceOf: ArgumentTypeError,
    message: new RegExp(`does not fit the schema of channel \`${orders}\`: at \`id\`: `),
  }
  await t.throwsAsync(pool.notify(orders, wrong), misfit)
  await t.throwsAsync(pool.notifyMany(orders, [{ id: 1, at: AT }, wrong]), misfit)
  await t.throwsAsync(pool.notify(jobs, { name: 'x'.repeat(8000) }), {
    instanceOf: ArgumentRangeError,
    message: /7999 bytes/,
  })
  t.is(pool.status().size, 0)
})

test('a payload that does not fit is an error event, and the next one is delivered', async (t) => {
  const { pool, orders } = await open()
  await using _ = pool
  const errors: PglistenError[] = []
  const listener = pool.listener()
  listener.on('error', (error) => errors.push(error))
  const called: unknown[] = []
  await listener.addCallback(orders, (_connection, order) => called.push(order))
  await listener.startup()
  listener.listen()
  for (const bad of ['', 'no json', '{"id":"x"}']) await notify(orders, bad)
  await notify(orders, JSON.stringify({ id: 2, at: AT }))
  await waitFor(() => called.length === 1)
  t.deepEqual(called, [{ id: 2, at: new Date(AT) }])
  t.true(errors.every((error) => error instanceof ListenerCallbackError))
  t.deepEqual(
    errors.map(({ message }) => message.replace(/: at .*/, ': at …')),
    [
      `the payload is empty, and channel \`${orders}\` has a schema`,
      `the payload is no JSON, and channel \`${orders}\` has a schema`,
      `the payload does not fit the schema of channel \`${orders}\`: at …`,
    ],
  )
})

test('channels without a schema carry text, or what the listener’s parse makes of it', async (t) => {
  const { pool } = await open()
  await using _ = pool
  const plain = uniqueChannel()
  const listener = pool.listener({ channels: [plain] })
  const parsing = pool.listener<Record<string, unknown>>({ channels: [plain], parse: Number })
  await listener.startup()
  await parsing.startup()
  const [messages, numbers] = [listener.messages(), parsing.messages()]
  await pool.notify(plain, '7' as never)
  t.is((await within(messages.next())).value?.payload as string | undefined, '7')
  t.is((await within(numbers.next())).value?.payload, 7)
})

test('a schema that is asynchronous is refused on both ways, and its rejection goes nowhere', async (t) => {
  const channel = uniqueChannel()
  const later: ChannelSchema<string> = {
    '~standard': {
      version: 1,
      vendor: 'none',
      validate: async () => Promise.reject(new Error('not here')),
    },
  }
  await using pool = new ConnectionPool({ dsn: await serverDsn(), schemas: { [channel]: later } })
  await t.throwsAsync(pool.notify(channel, 'text'), {
    instanceOf: ArgumentTypeError,
    message: /must be synchronous and must not throw, but it returned a promise/,
  })
  const listener = pool.listener({ channels: [channel] })
  const errors: PglistenError[] = []
  listener.on('error', (error) => errors.push(error))
  await listener.startup()
  const waiting = listener.messages().next()
  await ask('SELECT pg_notify($1, $2)', [channel, '"text"'])
  await waitFor(() => errors.length === 1)
  t.regex(errors[0]!.message, /must be synchronous and must not throw, but it returned a promise/)
  await listener.shutdown()
  t.true((await waiting).done)
})

test('values that are no JSON, and schemas that are none, are refused', async (t) => {
  const channel = uniqueChannel()
  const dsn = await serverDsn()
  await using pool = new ConnectionPool({ dsn, schemas: { [channel]: z.unknown() } })
  const circular: Record<string, unknown> = {}
  circular['self'] = circular
  for (const value of [() => {}, 1n, circular]) {
    await t.throwsAsync(pool.notify(channel, value), {
      instanceOf: ArgumentTypeError,
      message: /Expected `payload` to be a value of JSON/,
    })
  }
  for (const schemas of [
    null,
    { '': Job },
    { ['x'.repeat(64)]: Job },
    [],
    'x',
    { a: {} },
    { a: { '~standard': {} } },
    { a: 5 },
  ]) {
    t.throws(
      () => new ConnectionPool({ dsn, schemas: schemas as unknown as Record<string, typeof Job> }),
      {
        instanceOf: ConnectionPoolConfigurationError,
        message: /Expected `schemas/,
      },
    )
  }
})

test('a value is judged as its JSON, which is what the receivers get', async (t) => {
  const channel = uniqueChannel()
  const dsn = await serverDsn()
  const dates = z.object({ at: z.date() })
  await using pool = new ConnectionPool({ dsn, schemas: { [channel]: dates } })
  await t.throwsAsync(pool.notify(channel, { at: new Date() }), {
    instanceOf: ArgumentTypeError,
    message: /does not fit the schema of channel .*: at `at`: /,
  })
  await t.throwsAsync(pool.notify(channel, undefined as never), {
    instanceOf: ArgumentTypeError,
    message: /Expected `payload` to be a value of JSON, got `undefined`/,
  })
})

const FAULTY: [how: string, validate: () => unknown, message: RegExp][] = [
  [
    'throws',
    () => {
      throw new RangeError('here')
    },
    /^the schema of channel `\w+` threw$/,
  ],
  ['returns nothing', () => undefined, /must return a result, but it returned `undefined`$/],
  ['has no issues to show', () => ({ issues: [] }), /does not fit .*: it does not say why$/],
  ['has an empty issue', () => ({ issues: [{}] }), /does not fit .*: no reason given$/],
]
for (const [how, validate, message] of FAULTY) {
  test(`a schema that ${how} is told of on both ways`, async (t) => {
    const channel = uniqueChannel()
    const schema = { '~standard': { version: 1, vendor: 'none', validate } } as ChannelSchema
    await using pool = new ConnectionPool({
      dsn: await serverDsn(),
      schemas: { [channel]: schema },
    })
    await t.throwsAsync(pool.notify(channel, 1), { instanceOf: ArgumentTypeError, message })
    const listener = await pool.listen({ [channel]: () => t.fail() })
    const errors: PglistenError[] = []
    listener.on('error', (error) => errors.push(error))
    await notify(channel, '1')
    await listener.sync()
    t.is(errors.length, 1)
    t.regex(errors[0]!.message, message)
  })
}
