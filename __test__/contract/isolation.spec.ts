// The delivery contract, "isolation": nothing that goes wrong in a callback, or that the server says, stops a delivery.

import test from 'ava'
import {
  ListenerCallbackError,
  type Listener,
  type ListenerStats,
  type ListenerWarning,
  type PglistenError,
} from 'pglisten'
import { runFixture } from '../support/child.js'
import { flood, range } from '../support/flood.js'
import { ask, notify, openListener, terminate, uniqueChannel } from '../support/listener.js'
import { collect, waitFor } from '../../lab/wait.js'

interface Outcome {
  calls: number
  after: number
  burst: number
  burstTime: number
  warnings: { message: string; name: string; code: string; at: number }[]
  uncaught: string[]
  stats: ListenerStats
}

const run = async (way: string) =>
  (await runFixture('failing-callbacks.mjs', [way, uniqueChannel()])) as Outcome

const FAILURES: Record<string, (cause: Error) => unknown> = {
  throws: (cause) => {
    throw cause
  },
  rejects: async (cause) => {
    await ask('SELECT 1')
    throw cause
  },
  'rejects at once': (cause) => Promise.reject(cause),
  'returns a promise-like that throws': (cause) => ({
    // oxlint-disable-next-line no-thenable
    then: () => {
      throw cause
    },
  }),
  'returns what throws when it is looked at': (cause) => ({
    // oxlint-disable-next-line no-thenable
    get then() {
      throw cause
    },
  }),
  'returns a promise whose constructor throws': (cause) =>
    Object.defineProperty(Promise.resolve(), 'constructor', {
      get() {
        throw cause
      },
    }),
}

/** A promise with a `then()` of its own, which `await` would not call. */
const withThen = (then: (...args: (() => void)[]) => unknown) =>
  // oxlint-disable-next-line no-thenable
  Object.assign(Promise.resolve(), { then })

for (const how of ['throws', 'is no text']) {
  test(`an error whose stack ${how} is a warning where nobody handles errors`, async (t) => {
    const { warnings, uncaught, after } = await run(`a stack that ${how}`)
    t.deepEqual(uncaught, [])
    t.true(after > 1000)
    t.regex(warnings[0]!.message, /a callback/)
  })
}

const OWN_THENS: Record<string, () => unknown> = {
  throws: () =>
    withThen(() => {
      throw new Error('own then')
    }),
  'calls nobody': () => withThen(() => {}),
  'calls twice': () =>
    withThen((resolve) => {
      resolve?.()
      resolve?.()
    }),
  'calls both': () =>
    withThen((resolve, reject) => {
      resolve?.()
      reject?.()
    }),
}

for (const [how, fail] of Object.entries(FAILURES)) {
  test(`a callback that ${how} is reported, and everything else goes on`, async (t) => {
    const { listener } = await openListener(t)
    const [channel, other] = [uniqueChannel(), uniqueChannel()]
    const log: string[] = []
    const causes: Error[] = []
    const errors: PglistenError[] = []
    listener.on('error', (error) => errors.push(error))
    await listener.addCallback(channel, (_, payload) => log.push(`before ${payload}`))
    await listener.addCallback(channel, (_, payload) => {
      if (payload === '2') return log.push('fine 2')
      const cause = new Error(`failed at ${payload}`)
      causes.push(cause)
      return fail(cause)
    })
    await listener.addCallback(channel, async (_, payload) => log.push(`after ${payload}`))
    await listener.addCallback(other, (_, payload) => log.push(`other ${payload}`))
    await listener.startup()
    const messages = listener.messages()
    listener.listen()
    await flood(channel, 1, 3)
    await notify(other, '4')
    t.is((await collect(messages, 4)).length, 4)
    await messages.return()
    await listener.sync()

    t.deepEqual(log, [
      ...['before 1', 'after 1', 'before 2', 'fine 2', 'after 2', 'before 3', 'after 3'],
      'other 4',
    ])
    t.is(errors.length, 2)
    for (const [index, error] of errors.entries()) {
      t.true(error instanceof ListenerCallbackError)
      t.is(error.cause, causes[index])
      t.like(error, {
        code: 'ERR_PGLISTEN_LISTENER_CALLBACK',
        channel,
        payload: index === 0 ? '1' : '3',
      })
      t.true((error as ListenerCallbackError).processId! > 0)
    }
    t.is(listener.stats().callbackErrors, 2)
    t.true(listener.isStarted)
  })
}

for (const [how, fail] of Object.entries(FAILURES)) {
  test(`the only callback of a channel that ${how} is reported, and called for what follows`, async (t) => {
    const { listener } = await openListener(t)
    const channel = uniqueChannel()
    const log: string[] = []
    const causes: Error[] = []
    const errors: PglistenError[] = []
    listener.on('error', (error) => errors.push(error))
    await listener.addCallback(channel, (_, payload) => {
      log.push(payload)
      if (payload === '2') return undefined
      const cause = new Error(`failed at ${payload}`)
      causes.push(cause)
      return fail(cause)
    })
    await listener.startup()
    listener.listen()
    await flood(channel, 1, 3)
    await listener.sync()
    t.deepEqual(log, ['1', '2', '3'])
    t.deepEqual(
      errors.map(({ cause }) => cause),
      causes,
    )
    t.is(listener.stats().callbackErrors, 2)
    t.is(listener.health().callbacksInFlight, 0)
  })
}

for (const [what, make] of Object.entries(OWN_THENS)) {
  test(`a promise whose own then() ${what} is waited for as by await`, async (t) => {
    const { listener } = await openListener(t)
    const channel = uniqueChannel()
    const log: string[] = []
    const errors: PglistenError[] = []
    listener.on('error', (error) => errors.push(error))
    await listener.addCallback(channel, (_, payload) => {
      log.push(payload)
      return make()
    })
    await listener.startup()
    listener.listen()
    await flood(channel, 1, 20)
    await listener.sync()
    t.deepEqual(log, range(1, 20).map(String))
    t.deepEqual(errors, [])
    t.is(listener.health().callbacksInFlight, 0)
  })
}

test('the error of a callback names the backend that notified', async (t) => {
  const { listener, pool } = await openListener(t)
  const channel = uniqueChannel()
  const errors: ListenerCallbackError[] = []
  listener.on('error', (error) => errors.push(error as ListenerCallbackError))
  await listener.addCallback(channel, () => {
    // oxlint-disable-next-line no-throw-literal, only-throw-error
    throw 'not even an Error'
  })
  await listener.startup()
  listener.listen()
  await using connection = await pool.connection()
  const processId = await connection.fetchVal<number>('SELECT pg_backend_pid()')
  await connection.execute('SELECT pg_notify($1, $2)', [channel, 'payload'])
  await listener.sync()
  t.is(errors.length, 1)
  t.like(errors[0], { processId, channel, payload: 'payload', cause: 'not even an Error' })
})

test('with several callbacks at a time, failures do not stop any of them', async (t) => {
  const { listener } = await openListener(t, { concurrency: 4 })
  const channels = range(1, 8).map(uniqueChannel)
  let errors = 0
  let calls = 0
  listener.on('error', () => (errors += 1))
  for (const channel of channels) {
    await listener.addCallback(channel, async (_, payload) => {
      calls += 1
      if (Number(payload) % 3 === 0) throw new Error(payload)
      await Promise.resolve()
      if (Number(payload) % 3 === 1) throw new Error(payload)
    })
  }
  await listener.startup()
  listener.listen()
  for (const channel of channels) await flood(channel, 1, 90)
  await listener.sync()
  t.is(calls, 8 * 90)
  t.is(errors, 8 * 60)
})

test('a payload that cannot be parsed is reported with its text, and the next ones come', async (t) => {
  const { listener } = await openListener<Record<string, { n: number }>>(t, { parse: JSON.parse })
  const channel = uniqueChannel()
  const errors: ListenerCallbackError[] = []
  const called: number[] = []
  listener.on('error', (error) => errors.push(error as ListenerCallbackError))
  await listener.addCallback(channel, (_, { n }) => called.push(n))
  await listener.startup()
  listener.listen()
  const messages = listener.messages()
  for (const payload of ['{"n":1}', '{"n":', '', '{"n":2}']) await notify(channel, payload)
  t.deepEqual(
    (await collect(messages, 2)).map(({ payload }) => payload),
    [{ n: 1 }, { n: 2 }],
  )
  await messages.return()
  await listener.sync()
  t.deepEqual(called, [1, 2])
  // Once for each of the two consumers.
  t.deepEqual(errors.map(({ payload }) => String(payload)).toSorted(), ['', '', '{"n":', '{"n":'])
  for (const error of errors) {
    t.true(error instanceof ListenerCallbackError)
    t.true(error.cause instanceof SyntaxError)
    t.is(error.channel, channel)
    t.true(error.processId! > 0)
  }
})

test('a callback whose connection dies under it is reported, and the next gets another', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  const errors: PglistenError[] = []
  const processIds = new Set<number>()
  listener.on('error', (error) => errors.push(error))
  await listener.addCallback(channel, async (connection) => {
    const processId = await connection.fetchVal<number>('SELECT pg_backend_pid()')
    processIds.add(processId)
    await terminate(processId)
    await connection.execute('SELECT pg_sleep(60)')
  })
  await listener.startup()
  listener.listen()
  await flood(channel, 1, 3)
  await listener.sync()
  t.is(errors.length, 3)
  t.is(processIds.size, 3)
})

test('notices and warnings of the server become events, and listening goes on', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  const warnings: ListenerWarning[] = []
  const errors: unknown[] = []
  const called: number[] = []
  listener.on('warning', (warning) => warnings.push(warning))
  listener.on('error', (error) => errors.push(error))
  await listener.addCallback(channel, (_, n) => called.push(Number(n)))
  await listener.startup()
  listener.listen()
  await listener.connection.executeBatch(`DO $$ BEGIN
    RAISE NOTICE 'a notice' USING ERRCODE = '01234', HINT = 'a hint';
    PERFORM pg_notify('${channel}', '1');
    RAISE WARNING 'a warning' USING DETAIL = 'a detail';
    PERFORM pg_notify('${channel}', '2');
    RAISE INFO 'an info';
    FOR n IN 1 .. 500 LOOP RAISE NOTICE 'notice %', n; END LOOP;
  END $$`)
  await flood(channel, 3, 10)
  await listener.sync()
  t.deepEqual(called, range(1, 10))
  await waitFor(() => warnings.length === 503)
  t.like(warnings[0], {
    message: 'a notice',
    notice: { severity: 'NOTICE', sqlState: '01234', message: 'a notice', hint: 'a hint' },
  })
  t.like(warnings[1]?.notice, { severity: 'WARNING', message: 'a warning', detail: 'a detail' })
  t.like(warnings[2]?.notice, { severity: 'INFO', message: 'an info' })
  t.is(warnings.at(-1)?.message, 'notice 500')
  t.deepEqual(errors, [])
  t.like(listener.stats(), { reconnects: 0, callbackErrors: 0 })
})

test('failures that nobody listens to are warnings of the process, at most one each second', async (t) => {
  const result = await run('unheard')
  t.deepEqual(result.uncaught, [])
  t.true(result.calls > 1000)
  t.is(result.after, result.calls)
  t.is(result.stats.callbackErrors, result.calls + 1)
  t.true(result.burst >= 1 && result.burst <= 1 + result.burstTime / 1000)
  const [first, ...later] = result.warnings
  t.like(first, { name: 'PglistenWarning', code: 'ERR_PGLISTEN_LISTENER_CALLBACK' })
  t.regex(first!.message, /a callback .*channel.*call 1/)
  t.true(later.length > 0)
  for (const [index, { message, at }] of later.entries()) {
    // The first is told a slice of the flood later than it was noted.
    t.true(at - result.warnings[index]!.at > 800)
    t.regex(message, /and \d+ more/)
  }
})

test('event handlers that throw are uncaught exceptions, and the delivery goes on', async (t) => {
  const result = await run('throwing handlers')
  t.like(result, { calls: 5, after: 5, warnings: [] })
  t.deepEqual(result.uncaught, [
    ...range(1, 5).map((n) => `handler of Error: call ${n}`),
    'handler of SyntaxError: cannot be parsed',
    'handler of a notice',
  ])
})

test('event handlers that reject are unhandled rejections, and the delivery goes on', async (t) => {
  const result = await run('rejecting handlers')
  t.like(result, { calls: 5, after: 5, warnings: [] })
  const rejections = [
    ...range(1, 5).map((n) => `handler of Error: call ${n}`),
    'handler of SyntaxError: cannot be parsed',
    'handler of a notice',
  ]
  t.deepEqual(
    result.uncaught,
    rejections.map((text) => `rejection: Error: ${text}`),
  )
})

test('the error of a callback that ends its own listener has the payload', async (t) => {
  for (const fail of [
    async (listener: Listener) => {
      await listener.shutdown()
      throw new Error('no')
    },
    (listener: Listener) => {
      void listener.shutdown()
      throw new Error('no')
    },
  ]) {
    const { listener } = await openListener(t)
    const channel = uniqueChannel()
    const errors: ListenerCallbackError[] = []
    listener.on('error', (error) => errors.push(error as ListenerCallbackError))
    await listener.addCallback(channel, () => fail(listener))
    await listener.startup()
    listener.listen()
    await notify(channel, 'the payload')
    await waitFor(() => errors.length === 1)
    t.like(errors[0], { channel, payload: 'the payload' })
  }
})
