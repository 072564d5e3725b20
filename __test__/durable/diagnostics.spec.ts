// What diagnostics channels and loggers tell of durable subscriptions.

import test from 'ava'
import { inspect } from 'node:util'
import type { HandlerContext, SubscriptionMessage } from 'pglisten'
import { waitFor } from '../../lab/wait.js'
import { moments, told } from '../support/told.js'
import { openPool, openScene } from './scene.js'

const SECRET = 'zqj7secret'

/** What was told of a subscription so far, each moment with what it has. */
const said = (messages: SubscriptionMessage[], name: string) =>
  messages
    .filter(({ subscription }) => subscription === name)
    .map((message) =>
      Object.fromEntries(
        Object.entries(message).filter(
          ([key, value]) => value !== undefined && key !== 'subscription',
        ),
      ),
    )

test('the life of a subscription is told, without payloads and texts of errors', async (t) => {
  const messages = told<SubscriptionMessage>(t, 'pglisten:subscription')
  const scene = await openScene(t, { maxAttempts: 2, onFailure: 'skip' })
  const { run, publish, name, channel } = scene
  await publish('1', SECRET)
  const logged: [string, object, string][] = []
  const levels = ['debug', 'info', 'warn', 'error'] as const
  const logger = Object.fromEntries(
    levels.map((level) => [
      level,
      (fields: object, text: string) => void logged.push([level, fields, text]),
    ]),
  )
  const pool = await openPool(t, { logger })
  const { stop } = run(
    (_, { payload }) => {
      if (payload === SECRET) throw new RangeError('no')
    },
    {},
    pool,
  )
  // The server has the flag of a worker that sleeps before the worker has heard of it.
  await waitFor(() => said(messages, name).some(({ event }) => event === 'asleep'))
  await stop()
  const all = said(messages, name)
  const uid = all.find((one) => 'uid' in one)!['uid']
  const about = { partition: 0, channel, uid }
  t.deepEqual(all, [
    { event: 'started' },
    { event: 'working', partition: 0 },
    { event: 'failure', ...about, attempt: 1 },
    { event: 'done', partition: 0, count: 1 },
    { event: 'failure', ...about, attempt: 2 },
    { event: 'givenUp', ...about, attempt: 2 },
    { event: 'asleep', partition: 0 },
    { event: 'awake', partition: 0 },
    { event: 'ended' },
  ])
  t.false(inspect(messages, { depth: Infinity }).includes(SECRET))
  t.deepEqual(
    logged
      .filter(([, , text]) => text.startsWith('subscription '))
      .map(([level, , text]) => [level, text.replace(/event \S+,/, 'event,')]),
    [
      ['info', `subscription ${name}: started`],
      ['info', `subscription ${name}: works`],
      ['warn', `subscription ${name}: failure: event, attempt 1`],
      ['warn', `subscription ${name}: failure: event, attempt 2`],
      ['error', `subscription ${name}: given up: event, attempt 2`],
      ['debug', `subscription ${name}: asleep`],
      ['debug', `subscription ${name}: awake`],
      ['info', `subscription ${name}: ended`],
    ],
  )
  t.false(inspect(logged, { depth: Infinity }).includes(SECRET))
})

test('a takeover is told, and the error that ends a run', async (t) => {
  const messages = told<SubscriptionMessage>(t, 'pglisten:subscription')
  const { run, publish, name } = await openScene(t, { maxAttempts: 1 })
  await publish('1')
  let finish!: () => void
  const busy = new Promise<void>((resolve) => (finish = resolve))
  const first = run(() => busy)
  await waitFor(() => said(messages, name).some(({ event }) => event === 'working'))
  const second = run(() => {
    throw new Error('no')
  })
  await waitFor(() => said(messages, name).some(({ event }) => event === 'standingBy'))
  finish()
  await first.stop()
  await publish('2')
  await t.throwsAsync(second.ended)
  const moments = said(messages, name).map(({ event }) => event)
  t.is(moments.filter((event) => event === 'takeover').length, 1)
  t.is(moments.filter((event) => event === 'standingBy').length, 1)
  t.deepEqual(said(messages, name).at(-1), {
    event: 'ended',
    code: 'ERR_PGLISTEN_SUBSCRIPTION_STOPPED',
  })
})

test('calls of handlers are traced, with payloads where that is wanted', async (t) => {
  for (const payloads of [false, true]) {
    const calls = moments<HandlerContext>(t, 'pglisten:handler')
    const { run, publish, name, channel } = await openScene(t)
    const pool = await openPool(t, { diagnostics: { payloads } })
    await publish('1')
    const error = new RangeError('no')
    const { subscription, stop } = run(
      async (_, { attempt }) => {
        await Promise.resolve()
        if (attempt === 1) throw error
      },
      {},
      pool,
    )
    await waitFor(async () => (await subscription.stats()).done === 1)
    await stop()
    const own = calls.filter(({ context }) => context.subscription === name)
    t.deepEqual(
      own.map(({ moment }) => moment),
      [
        ...['start', 'end', 'error', 'asyncStart', 'asyncEnd'],
        ...['start', 'end', 'asyncStart', 'asyncEnd'],
      ],
    )
    t.like(own[0]!.context, {
      partition: 0,
      channel,
      attempt: 1,
      payload: payloads ? '1' : undefined,
    })
    t.deepEqual(
      own[2]!.context.error,
      payloads ? error : { name: 'RangeError', code: undefined, sqlState: undefined },
    )
  }
})
