// How often an event is tried, when whoever works it begins anew after each failure: what counts is kept in the table, not in memory.

import test from 'ava'
import { once } from 'node:events'
import path from 'node:path'
import { SubscriptionStoppedError, type SubscriptionBatch } from 'pglisten'
import { forked } from '../../lab/child.js'
import { deferred, waitFor, within } from '../../lab/wait.js'
import { uniqueName } from '../../lab/unique-name.js'
import { root } from '../support/code-blocks.js'
import { ServerWitness } from '../../lab/witness.js'
import { retryDelay } from '../../src-ts/durable/wait.js'
import { openDatabase } from './database.js'
import { openPool, openScene, QUICK, server, take } from './scene.js'

/** More loops than any of these tests needs. */
const MOST_LOOPS = 12

/** What makes a loop end before its batch is done. */
const LEAVING: Record<string, (batch: SubscriptionBatch) => unknown> = {
  'an error': () => {
    throw new Error('no')
  },
  'an `ack()` that rejects': async ({ tx, ack }) => {
    await tx.execute('SELECT 1 / 0').catch(() => {})
    await ack()
  },
}

for (const [how, leave] of Object.entries(LEAVING)) {
  for (const batchSize of [1, 50]) {
    test(`an event by which each loop ends is given up in time: ${how}, batches of ${batchSize}`, async (t) => {
      const { publish, subscription, pool, name } = await openScene(t, {
        maxAttempts: 3,
        onFailure: 'skip',
        batchSize,
        retryDelayMs: 1,
      })
      await publish('1', 'bad', '3', 'bad too')
      const done: string[] = []
      const attempts: Record<string, number[]> = { bad: [], 'bad too': [] }
      for (let loops = 0; done.length < 2 && loops < MOST_LOOPS; loops += 1) {
        try {
          for await (const batch of subscription().batches()) {
            const payloads = batch.events.map(({ payload }) => payload)
            const [first] = batch.events
            if (batch.events.length === 1) attempts[first!.payload]?.push(first!.attempt)
            if (payloads.some((payload) => payload.startsWith('bad'))) await leave(batch)
            await batch.ack()
            done.push(...payloads)
            if (done.length === 2) break
          }
        } catch {
          // A service that begins anew.
        }
      }
      t.deepEqual(done, ['1', '3'])
      t.deepEqual(attempts['bad']!.at(-1), 3)
      const failed = async () => (await pool.durable.failed(name)).map(({ payload }) => payload)
      if (!(await failed()).includes('bad too')) {
        const running = subscription()
        const ending = new AbortController()
        const run = running.run(
          () => {
            throw new Error('no')
          },
          { signal: ending.signal },
        )
        await waitFor(async () => (await failed()).includes('bad too'))
        ending.abort()
        await within(run)
      }
      t.deepEqual(await failed(), ['bad', 'bad too'])
    })
  }
}

test('a loop that is left at its only event has it given up after as many attempts as it may have', async (t) => {
  const { publish, subscription, pool, name } = await openScene(t, {
    maxAttempts: 3,
    onFailure: 'skip',
    retryDelayMs: 1,
  })
  await publish('bad')
  const attempts: number[] = []
  for (let loops = 0; loops < 3; loops += 1) {
    for await (const { events } of subscription().batches()) {
      attempts.push(events[0]!.attempt)
      break
    }
  }
  t.deepEqual(attempts, [1, 2, 3])
  t.is((await pool.durable.failed(name)).length, 1)
})

test('a subscription that has stopped stops again after one attempt more', async (t) => {
  const { publish, run } = await openScene(t, { maxAttempts: 3, retryDelayMs: 1 })
  await publish('bad', '2')
  const attempts: [string, number][] = []
  for (let runs = 0; runs < 3; runs += 1) {
    const { ended } = run((_, { payload, attempt }) => {
      attempts.push([payload, attempt])
      throw new Error('no')
    })
    await within(t.throwsAsync(ended, { instanceOf: SubscriptionStoppedError }))
  }
  t.deepEqual(
    attempts,
    [1, 2, 3, 4, 5].map((attempt) => ['bad', attempt]),
  )
})

test('the wait after a failure doubles up to 30 s, and is never shorter than the first', (t) => {
  const waits = (firstMs: number, most: number) =>
    Array.from({ length: most }, (_, index) => retryDelay(firstMs, index + 1))
  t.deepEqual(waits(10_000, 4), [10_000, 20_000, 30_000, 30_000])
  t.deepEqual(waits(60_000, 3), [60_000, 60_000, 60_000])
  t.is(retryDelay(0, 2_147_483_647), 0)
  t.is(retryDelay(1, 2_147_483_647), 30_000)
})

test('attempts that a process has failed at are counted on when it was killed', async (t) => {
  const scene = await openScene(t, { maxAttempts: 6, retryDelayMs: 40, onFailure: 'skip' })
  const { publish, run, witness, channel, name } = scene
  const done = uniqueName('done')
  await witness.run(
    `CREATE TABLE ${done} (event bigint, payload text CHECK (payload <> 'bad'), key text, channel text, subscription text, worker int)`,
  )
  const options = { channels: [channel], from: 'beginning', maxAttempts: 6, retryDelayMs: 40 }
  // Whether the last failure was counted before is left to chance.
  const diesAt = 3
  const settings = { dsn: (await server()).dsn, name, applicationName: name, done, options, diesAt }
  const child = forked(path.join(root, 'lab', 'durable', 'subscriber.mjs'), settings)
  t.teardown(() => child.kill('SIGKILL'))
  const counted = () =>
    witness.ask<number>(
      'SELECT coalesce(max(attempts), 0) FROM pglisten.attempt WHERE subscription = $1',
      [name],
    )
  const exited = once(child, 'exit')
  await publish('good', 'bad')
  t.deepEqual(await within(exited), [null, 'SIGKILL'])
  // Its session has ended with all that it had sent.
  await waitFor(async () =>
    witness.ask<boolean>(
      'SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = $1)',
      [name],
    ),
  )
  const before = await counted()
  const attempts: number[] = []
  const { subscription } = run((_, { attempt }) => {
    attempts.push(attempt)
    throw new Error('no')
  })
  await waitFor(async () => (await subscription.stats()).givenUp === 1)
  t.true(before >= 2 && before <= 3, `${before}`)
  t.deepEqual(
    attempts,
    [1, 2, 3, 4, 5, 6].filter((attempt) => attempt > before),
  )
})

for (const isStopped of [false, true]) {
  const when = isStopped ? 'also when it is stopped meanwhile' : 'nor when that has done it'
  test(`a failure is not counted while another worker has the event, ${when}`, async (t) => {
    const scene = await openScene(t, { standbyPollMs: 10 })
    const { publish, run, pool, name, witness } = scene
    await publish('1')
    const [isHandling, goOn] = [deferred<number>(), deferred()]
    const applicationName = uniqueName('struck')
    const struck = run(
      async (tx) => {
        isHandling.resolve(await tx.fetchVal<number>('SELECT pg_backend_pid()'))
        await goOn.promise
      },
      {},
      await openPool(t, { applicationName }),
    )
    const failures: unknown[] = []
    struck.subscription.on('failure', ({ error }) => failures.push(error))
    // As of a process that was frozen, or cut off: the server has ended its session, and another one takes over.
    await witness.ask('SELECT pg_terminate_backend($1)', [await within(isHandling.promise)])
    const [hasTakenOver, goOnToo] = [deferred<number>(), deferred()]
    const heir = run(async (_, { attempt }) => {
      hasTakenOver.resolve(attempt)
      await goOnToo.promise
    })
    t.is(await within(hasTakenOver.promise), 1)
    goOn.resolve()
    await waitFor(() =>
      witness.ask<number>(
        `SELECT count(*)::int FROM pg_stat_activity WHERE application_name = $1 AND query LIKE '%count_attempt%' AND state = 'idle'`,
        [applicationName],
      ),
    )
    if (isStopped) await struck.stop()
    goOnToo.resolve()
    await waitFor(async () => (await heir.subscription.stats()).done === 1)
    await Promise.all([struck.stop(), heir.stop()])
    t.deepEqual(failures, [])
    // Who has done it counts it.
    t.is((await struck.subscription.stats()).done, 0)
    t.is(
      await witness.ask('SELECT count(*)::int FROM pglisten.attempt WHERE subscription = $1', [
        name,
      ]),
      0,
    )
    t.is((await pool.durable.subscriptions()).find((one) => one.name === name)!.failing, null)
  })
}

test('an attempt is counted when nobody is at work, and not before', async (t) => {
  const { publish, pool, channel, name, witness } = await openScene(t)
  await pool.fetchVal('SELECT pglisten.subscribe($1, ARRAY[$2::text], 1, true)', [name, channel])
  await publish('1')
  const id = await witness.ask<bigint>('SELECT max(id) FROM pglisten.event WHERE channel = $1', [
    channel,
  ])
  const count = () =>
    pool.fetchVal<number>('SELECT pglisten.count_attempt($1, 0, $2, $3, 60000)', [name, id, 'no'])
  t.is(await count(), 1)
  const connection = await pool.connection()
  await connection.transaction(async (tx) => {
    const { payloads, advance } = await take(tx, name)
    t.deepEqual(payloads, ['1'])
    await t.throwsAsync(count(), { message: /is worked elsewhere/ })
    await advance()
  })
  await connection.close()
  t.is(await count(), 0)
})

test('what one worker was to give up is an event like others, once another worker has had it', async (t) => {
  const { publish, subscription, run, pool, name, witness } = await openScene(t, {
    maxAttempts: 1,
    onFailure: 'skip',
  })
  await publish('bad')
  const batches = subscription().batches()
  t.teardown(() => batches.return())
  const next = async () => (await within(batches.next())).value!
  // The event is given up when the loop asks for the next one.
  await (await next()).nack()
  await waitFor(() =>
    witness.ask('SELECT count(*)::int FROM pglisten.attempt WHERE subscription = $1', [name]),
  )
  const other = run(
    () => {
      throw new Error('no')
    },
    { maxAttempts: 2 },
    await openPool(t),
  )
  await waitFor(async () => (await other.subscription.stats()).givenUp === 1)
  await other.stop()
  t.is(await pool.durable.retry(name), 1)
  const again = await next()
  t.deepEqual(
    again.events.map(({ payload, attempt }) => [payload, attempt]),
    [['bad', 3]],
  )
  await again.ack()
  t.deepEqual(await pool.durable.failed(name), [])
})

/** What strikes the transaction in which an event is given up. */
const STRIKES: Record<string, string> = {
  'a serialization failure': "RAISE EXCEPTION 'no' USING ERRCODE = '40001'",
  'a deadlock': "RAISE EXCEPTION 'no' USING ERRCODE = '40P01'",
  'the end of its session': 'PERFORM pg_terminate_backend(pg_backend_pid())',
  'an error': "RAISE EXCEPTION 'no'",
}

for (const [what, strike] of Object.entries(STRIKES)) {
  test(`an event that could not be given up at once was tried no more often: ${what}`, async (t) => {
    const { owner, ownerDsn } = await openDatabase(t)
    await owner.durable.install()
    // A sequence is not rolled back.
    const builder = new ServerWitness(ownerDsn)
    t.teardown(() => builder.close())
    await builder.run(`
      CREATE SEQUENCE tries;
      CREATE FUNCTION strike() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        IF nextval('public.tries') <= 2 THEN ${strike}; END IF;
        RETURN NEW;
      END $$;
      CREATE TRIGGER strike BEFORE INSERT ON pglisten.failed FOR EACH ROW EXECUTE FUNCTION strike()`)
    await owner.publish('a', 'bad')
    const options = { ...QUICK, maxAttempts: 2, onFailure: 'skip' } as const
    const subscription = owner.subscription('s', { channels: ['a'], from: 'beginning', ...options })
    const warnings: string[] = []
    subscription.on('warning', ({ message }) => warnings.push(message))
    const told: unknown[] = []
    subscription.on('givenUp', ({ event }) => told.push([event.payload, event.attempt]))
    const attempts: number[] = []
    const ending = new AbortController()
    const run = subscription.run(
      (_, { attempt }) => {
        attempts.push(attempt)
        throw new Error('bad')
      },
      { signal: ending.signal },
    )
    run.catch(() => {})
    t.teardown(() => ending.abort())
    await waitFor(() => told.length > 0, { what: 'an event that is given up' })
    t.deepEqual(attempts, [1, 2])
    t.deepEqual(told, [['bad', 2]])
    t.like(await subscription.stats(), { failures: 2, givenUp: 1 })
    t.deepEqual(
      (await owner.durable.failed('s')).map(({ attempt, error }) => [attempt, error]),
      [[2, 'Error: bad']],
    )
    t.true(warnings.some((message) => /could not be given up/.test(message)))
    ending.abort()
    await within(run)
  })
}

test('an event is told to be given up by the one who has done so', async (t) => {
  const { owner, as, ownerDsn } = await openDatabase(t)
  await owner.durable.install()
  const builder = new ServerWitness(ownerDsn)
  t.teardown(() => builder.close())
  await builder.run(`
    CREATE FUNCTION strike() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF current_setting('application_name') = 'struck' THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
      RETURN NEW;
    END $$;
    CREATE TRIGGER strike BEFORE INSERT ON pglisten.failed FOR EACH ROW EXECUTE FUNCTION strike()`)
  await owner.publish('a', 'bad')
  const role = new URL(ownerDsn).username
  const ending = new AbortController()
  const start = (applicationName: string) => {
    const pool = as(role, undefined, { applicationName })
    const options = { ...QUICK, standbyPollMs: 1, maxAttempts: 2, onFailure: 'skip' } as const
    const subscription = pool.subscription('s', { channels: ['a'], from: 'beginning', ...options })
    subscription.on('warning', () => {})
    const work = () => {
      throw new Error('bad')
    }
    const run = subscription.run(work, { signal: ending.signal })
    run.catch(() => {})
    t.teardown(() => ending.abort())
    return { subscription, run }
  }
  const struck = start('struck')
  await waitFor(
    async () => (await builder.ask<number>('SELECT max(attempts) FROM pglisten.attempt')) >= 2,
    { what: 'an event that cannot be given up' },
  )
  const heir = start('heir')
  await waitFor(async () => (await heir.subscription.stats()).givenUp === 1)
  await owner.publish('a', 'next')
  await waitFor(async () => (await owner.durable.failed('s')).length === 2)
  ending.abort()
  await within(Promise.all([struck.run, heir.run]))
  t.true((await owner.durable.failed('s'))[0]!.attempt >= 3)
  t.is((await struck.subscription.stats()).givenUp + (await heir.subscription.stats()).givenUp, 2)
})

test('an error of any kind is counted, and told as far as it has a text', async (t) => {
  const unreadable = Object.defineProperty(new Error('x'), 'message', {
    get() {
      throw new Error('no text')
    },
  })
  for (const [reason, told] of [
    // A character at each place of the cut.
    [new Error('😀'.repeat(1000)), /^Error: 😀+\uFFFD?$/u],
    [new Error(`x${'😀'.repeat(1000)}`), /^Error: x😀+\uFFFD?$/u],
    [new Error('a\0b\uD800c'), /^Error: ab\uFFFDc$/],
    [Object.create(null), /no text/],
    [unreadable, /no text/],
    [Symbol('odd'), /Symbol\(odd\)/],
    [undefined, /^undefined$/],
  ] as const) {
    const { publish, run, pool, name } = await openScene(t, { maxAttempts: 2, onFailure: 'skip' })
    await publish('bad', 'good')
    const got: string[] = []
    const { subscription } = run((_, { payload }) => {
      // oxlint-disable-next-line typescript/only-throw-error -- as a careless user does
      if (payload === 'bad') throw reason
      got.push(payload)
    })
    await waitFor(() => got.length > 0)
    t.is((await subscription.stats()).givenUp, 1)
    const [failed] = await pool.durable.failed(name)
    t.regex(failed!.error, told)
    t.true(failed!.error.length <= 2000)
  }
})

test('ids that are none are refused before the server is asked', async (t) => {
  const { pool, name } = await openScene(t)
  for (const ids of [['1'], [1], 'all', { length: 0 }]) {
    await t.throwsAsync(pool.durable.retry(name, ids as never), {
      code: 'ERR_PGLISTEN_ARGUMENT_TYPE',
    })
  }
  for (const ids of [[0n], [1n, 2n ** 63n]]) {
    await t.throwsAsync(pool.durable.retry(name, ids), { code: 'ERR_PGLISTEN_ARGUMENT_RANGE' })
  }
  t.is(await pool.durable.retry(name, [1n]), 0)
})
