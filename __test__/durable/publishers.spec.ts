// Publishers of each kind, and the bell that they ring: once for a transaction, never for what is undone, not at all where it cannot be.

import test from 'ava'
import { ConnectionPool, DatabaseError } from 'pglisten'
import { startServer } from '../../lab/server/test-server.js'
import { waitFor } from '../../lab/wait.js'
import { ServerWitness } from '../../lab/witness.js'
import { codeBlocks } from '../support/code-blocks.js'
import { asleep, openScene } from './scene.js'

test('a transaction rings once, however many events and savepoints it has', async (t) => {
  const scene = await openScene(t, { safetyNetMs: 60_000 })
  const { pool, channel, run } = scene
  const got: string[] = []
  run((_, { payload }) => void got.push(payload))
  await asleep(scene)
  const listener = await pool.listen({ pglisten_bell: () => {} })
  const bells: string[] = []
  await listener.addCallback('pglisten_bell', (_, payload) => {
    if (payload === channel) bells.push(payload)
  })
  const connection = await pool.connection()
  await connection.transaction(async (tx) => {
    for (let n = 0; n < 100; n += 1)
      await tx.transaction(async (nested) => void (await nested.publish(channel, String(n))))
  })
  await connection.close()
  await listener.sync()
  await waitFor(() => got.length === 100)
  t.deepEqual(bells, [channel])
})

test('what is published in a savepoint that is rolled back rings for nothing', async (t) => {
  const scene = await openScene(t, { safetyNetMs: 60_000 })
  const { pool, channel, run } = scene
  const got: string[] = []
  run((_, { payload }) => void got.push(payload))
  await asleep(scene)
  const bells: string[] = []
  const listener = await pool.listen({
    pglisten_bell: (_, payload) => void (payload === channel && bells.push(payload)),
  })
  const connection = await pool.connection()
  await connection.transaction(async (tx) => {
    await tx.createSavepoint('s')
    await tx.publish(channel, 'undone')
    await tx.rollbackToSavepoint('s')
  })
  await listener.sync()
  t.deepEqual(bells, [])
  await connection.transaction(async (tx) => void (await tx.publish(channel, 'done')))
  await connection.close()
  await waitFor(() => got.length === 1)
  t.deepEqual(got, ['done'])
})

for (const isolationLevel of ['repeatableRead', 'serializable'] as const) {
  test(`a publisher that is ${isolationLevel} rings, since it may not see who sleeps`, async (t) => {
    const scene = await openScene(t, { safetyNetMs: 60_000 })
    const { pool, channel, run } = scene
    const got: string[] = []
    const connection = await pool.connection()
    const open = await connection.begin({ isolationLevel })
    await open.fetchVal('SELECT count(*) FROM pglisten.sleeper')
    run((_, { payload }) => void got.push(payload))
    await asleep(scene)
    await open.publish(channel, isolationLevel)
    await open.commit()
    await connection.close()
    await waitFor(() => got.length === 1)
    t.deepEqual(got, [isolationLevel])
  })
}

test('a transaction in two phases cannot ring: without a bell it is found by the safety net', async (t) => {
  const scene = await openScene(t, { safetyNetMs: 200 })
  const { pool, channel, name, run } = scene
  const got: string[] = []
  run((_, { payload }) => void got.push(payload))
  await asleep(scene)
  const connection = await pool.connection()
  await connection.execute('BEGIN')
  await connection.fetchVal('SELECT pglisten.publish($1, $2)', [channel, 'with a bell'])
  await t.throwsAsync(connection.execute(`PREPARE TRANSACTION '${name}'`), {
    instanceOf: DatabaseError,
    message: /LISTEN, UNLISTEN, or NOTIFY/,
  })
  await connection.execute('BEGIN')
  await connection.fetchVal('SELECT pglisten.publish($1, $2, NULL, false)', [channel, 'without'])
  await connection.execute(`PREPARE TRANSACTION '${name}'`)
  await pool.publish(channel, 'meanwhile')
  await waitFor(() => got.length === 1)
  await connection.execute(`COMMIT PREPARED '${name}'`)
  await connection.close()
  await waitFor(() => got.length === 2)
  t.deepEqual(got, ['meanwhile', 'without'])
})

test('a publisher in a transaction that may only read is told so', async (t) => {
  const { pool, channel } = await openScene(t)
  const connection = await pool.connection()
  await t.throwsAsync(
    connection.transaction((tx) => tx.publish(channel, 'x'), { readOnly: true }),
    { message: /read-only/ },
  )
  await connection.close()
})

test('events that are replicated logically are worked where they come to, and ring there', async (t) => {
  const settings = { wal_level: 'logical' }
  await using first = await startServer({ settings })
  await using second = await startServer({ settings })
  await using there = new ConnectionPool(first.dsn)
  await using here = new ConnectionPool(second.dsn)
  const [from, to] = [first, second].map(({ dsn }) => new ServerWitness(dsn)) as [
    ServerWitness,
    ServerWitness,
  ]
  t.teardown(() => Promise.all([from.close(), to.close()]))
  // Its transaction ids are higher than those of the other one will be.
  await from.run(
    'DO $$ BEGIN FOR n IN 1..5000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$',
  )
  await there.durable.install()
  await here.durable.install()
  const documented = codeBlocks('docs/durable.md').find(({ code }) => code.includes('PUBLICATION'))
  const [published, worked] = documented!.code.split('-- where they are worked')
  await from.run(published!)
  await to.run(`--${worked}`)
  await to.run(`CREATE SUBSCRIPTION events CONNECTION '${first.dsn}' PUBLICATION events`)
  const got: string[] = []
  const ending = new AbortController()
  const subscription = here.subscription('s', {
    channels: ['c'],
    from: 'beginning',
    safetyNetMs: 60_000,
  })
  const ended = subscription.run((_, { payload }) => void got.push(payload), {
    signal: ending.signal,
  })
  for (let n = 0; n < 5; n += 1) {
    // It sleeps: nothing but a bell wakes it within the deadline.
    await waitFor(() => to.ask<number>('SELECT count(*)::int FROM pglisten.sleeper'))
    await there.publish('c', String(n))
    await waitFor(() => got.length === n + 1)
  }
  // What was published first is committed last.
  const connection = await there.connection()
  const open = await connection.begin()
  await open.publish('c', 'late')
  await there.publish('c', 'early')
  await waitFor(() => got.length === 6)
  await open.commit()
  await connection.close()
  await waitFor(() => got.length === 7)
  t.deepEqual(got, ['0', '1', '2', '3', '4', 'early', 'late'])
  ending.abort()
  await ended
})
