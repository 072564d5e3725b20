// What is trimmed, and above all what is not: nothing that any subscription has yet to do.

import test, { type ExecutionContext } from 'ava'
import type { SubscriptionOptions } from 'pglisten'
import { waitFor } from '../../lab/wait.js'
import { openScene, take } from './scene.js'

/** A scene without other subscriptions, which would keep events too. An open transaction of any database does: one test at a time. */
async function openAlone(t: ExecutionContext, options: Partial<SubscriptionOptions> = {}) {
  const scene = await openScene(t, options)
  await scene.witness.run('DELETE FROM pglisten.subscription; DELETE FROM pglisten.event')
  return scene
}

test.serial(
  'an event of a transaction that was open when the position moved is kept until it is done',
  async (t) => {
    const scene = await openAlone(t)
    const { pool, channel, run, publish } = scene
    const connection = await pool.connection()
    const open = await connection.begin()
    await open.publish(channel, 'late')
    await publish('1', '2')
    const got: string[] = []
    const first = run((_, { payload }) => void got.push(payload))
    await waitFor(() => got.length === 2)
    // The position is behind both, and the open transaction is in its list.
    await first.stop()
    await open.commit()
    await connection.close()
    await pool.durable.trim()
    run((_, { payload }) => void got.push(payload))
    await waitFor(() => got.length === 3)
    t.deepEqual(got, ['1', '2', 'late'])
  },
)

test.serial('in the middle of many events those that are not done are kept', async (t) => {
  const { pool, channel, name, run } = await openAlone(t, { batchSize: 10 })
  await pool.execute('SELECT pglisten.publish($1, n::text) FROM generate_series(1, 100) AS n', [
    channel,
  ])
  const got: string[] = []
  const first = run((_, { payload }) => {
    got.push(payload)
    if (got.length === 25) void first.stop().catch(() => {})
  })
  await waitFor(() => got.length === 25)
  await first.ended
  await pool.durable.trim()
  t.is(await pool.fetchVal('SELECT events::int4 FROM pglisten.lag($1)', [name]), 75)
  run((_, { payload }) => void got.push(payload))
  await waitFor(() => got.length === 100)
  t.deepEqual(
    got,
    Array.from({ length: 100 }, (_, n) => String(n + 1)),
  )
})

test.serial(
  'the slowest subscription decides, and of one with partitions the slowest part',
  async (t) => {
    const { pool, channel, name, witness, publish } = await openAlone(t)
    const count = () =>
      witness.ask<number>('SELECT count(*)::int FROM pglisten.event WHERE channel = $1', [channel])
    await pool.fetchVal('SELECT pglisten.subscribe($1, ARRAY[$2::text], 2, true)', [name, channel])
    const quick = `${name} quick`
    await pool.fetchVal('SELECT pglisten.subscribe($1, ARRAY[$2::text], 1, true)', [quick, channel])
    await publish('1', '2')
    const work = async (subscription: string, partition: number) => {
      const connection = await pool.connection()
      await connection.transaction(async (tx) => {
        const { payloads, advance } = await take(tx, subscription, 10, partition)
        if (payloads.length > 0) await advance()
      })
      await connection.close()
    }
    await work(quick, 0)
    await pool.durable.trim()
    t.is(await count(), 2)
    await work(name, 0)
    await work(name, 1)
    // The position of the part that has no event moves only now and then; a run does that, and so does the end of the subscription.
    await pool.durable.trim()
    t.is(await count(), 2)
    t.true(await pool.durable.drop(name))
    await publish('3')
    await pool.durable.trim()
    t.is(await count(), 1)
    await work(quick, 0)
    await pool.durable.trim()
    t.is(await count(), 0)
  },
)

test.serial(
  'what was given up is kept apart from events, and can be tried again when those are trimmed',
  async (t) => {
    const { pool, name, channel, run, publish, witness } = await openAlone(t, {
      maxAttempts: 1,
      onFailure: 'skip',
    })
    await publish('bad', 'good')
    let isMended = false
    const got: string[] = []
    const { subscription } = run((_, { payload }) => {
      if (payload === 'bad' && !isMended) throw new Error('no')
      got.push(payload)
    })
    await waitFor(async () => (await subscription.stats()).givenUp === 1 && got.includes('good'))
    await waitFor(async () => (await subscription.stats()).lag.events === 0)
    await witness.run(`DELETE FROM pglisten.event WHERE channel = '${channel}'`)
    isMended = true
    t.is(await pool.durable.retry(name), 1)
    await waitFor(() => got.includes('bad'))
    t.deepEqual(got, ['good', 'bad'])
  },
)

test.serial(
  'who drops a subscription waits for whoever works it, also where that gives an event up',
  async (t) => {
    const { pool, channel, name, publish, witness } = await openAlone(t)
    await pool.fetchVal('SELECT pglisten.subscribe($1, ARRAY[$2::text], 1, true)', [name, channel])
    await publish('bad')
    const connection = await pool.connection()
    const tx = await connection.begin()
    const { advance } = await take(tx, name)
    const dropping = pool.durable.drop(name)
    await waitFor(() => witness.ask('SELECT count(*)::int FROM pg_locks WHERE NOT granted'))
    await tx.execute('SELECT pglisten.give_up($1, 0, (SELECT max(id) FROM pglisten.event), $2)', [
      name,
      'no',
    ])
    await advance()
    await tx.commit()
    t.true(await dropping)
    await connection.close()
    t.deepEqual(await pool.durable.failed(name), [])
  },
)

test.serial('while a worker has taken events they are kept, also when it rolls back', async (t) => {
  const { pool, channel, name, run, publish } = await openAlone(t)
  await pool.fetchVal('SELECT pglisten.subscribe($1, ARRAY[$2::text], 1, true)', [name, channel])
  await publish('1', '2')
  const connection = await pool.connection()
  const tx = await connection.begin()
  const taken = await take(tx, name)
  await taken.advance()
  await pool.durable.trim()
  await tx.rollback()
  await connection.close()
  const got: string[] = []
  run((_, { payload }) => void got.push(payload))
  await waitFor(() => got.length === 2)
  t.deepEqual(got, ['1', '2'])
})
