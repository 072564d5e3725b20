// The position: what is done by it, whatever commits between two statements of the function that reads.

import test from 'ava'
import type { ConnectionPool, DurableEvent, SubscriptionOptions, Transaction } from 'pglisten'
import { waitFor, within } from '../../lab/wait.js'
import { openGates } from './gates.js'
import { QUICK, openScene, take } from './scene.js'
import type { ExecutionContext } from 'ava'

/** Runs subscription `s` of channel `a` until the test ends, and gives what it tells. */
function runs(
  t: ExecutionContext,
  pool: ConnectionPool,
  options: Partial<SubscriptionOptions> = {},
) {
  const got: string[] = []
  const warnings: string[] = []
  const ending = new AbortController()
  const subscription = pool.subscription('s', {
    channels: ['a'],
    from: 'beginning',
    ...QUICK,
    ...options,
  })
  subscription.on('warning', ({ message }) => warnings.push(message))
  const ended = subscription.run((_, { payload }) => void got.push(payload), {
    signal: ending.signal,
  })
  ended.catch(() => {})
  const stop = async () => {
    ending.abort()
    await within(ended)
  }
  t.teardown(() => stop().catch(() => {}))
  return { got, warnings, stop, subscription }
}

test('an event that is committed while others are read comes next', async (t) => {
  const { owner, ownerDsn, as, close } = await openGates(t)
  await owner.publish('a', '1')
  const gate = await close('slow', 'event')
  const role = new URL(ownerDsn).username
  const { got } = runs(t, as(role, undefined, { applicationName: 'slow' }))
  await gate.reached()
  await owner.publish('a', '2')
  await gate.open()
  await waitFor(() => got.length === 2)
  t.deepEqual(got, ['1', '2'])
})

test('a worker that waited while another one moved the position begins behind it', async (t) => {
  const { owner, ownerDsn, as, close, witness } = await openGates(t)
  await owner.fetchVal("SELECT pglisten.subscribe('s', '{a}', 1, true)")
  await owner.publish('a', '1')
  // The statement that looks for the position has its snapshot, and not yet the lock.
  const gate = await close('slow', 'position')
  const role = new URL(ownerDsn).username
  const slow = runs(t, as(role, undefined, { applicationName: 'slow' }))
  await gate.reached()
  await owner.publish('a', '2')
  const connection = await owner.connection()
  await connection.transaction(async (tx) => {
    const taken = await take(tx, 's')
    t.deepEqual(taken.payloads, ['1', '2'])
    await taken.advance()
  })
  await connection.close()
  await owner.publish('a', '3')
  await gate.open()
  await waitFor(() => slow.got.length > 0)
  await waitFor(async () => (await slow.subscription.stats()).lag.events === 0)
  t.deepEqual(slow.got, ['3'])
  t.deepEqual(slow.warnings, [])
  t.is(await witness.ask('SELECT count(*)::int FROM pglisten.attempt'), 0)
})

for (const when of ['before', 'after']) {
  for (const younger of [false, true]) {
    const also = younger ? ', although a younger transaction has ended' : ''
    test(`what a transaction publishes ${when} it takes events comes next${also}`, async (t) => {
      const { pool, channel, name, run } = await openScene(t)
      await pool.fetchVal('SELECT pglisten.subscribe($1, ARRAY[$2::text], 1, true)', [
        name,
        channel,
      ])
      await pool.publish(channel, 'first')
      const connection = await pool.connection()
      const expected = ['first']
      await connection.transaction(async (tx) => {
        if (when === 'before') await tx.publish(channel, 'own')
        // A transaction that has no id yet gets one before the younger one has its own.
        else await tx.fetchVal('SELECT pg_current_xact_id()')
        if (younger) {
          await pool.publish(channel, 'younger')
          expected.push('younger')
        }
        const taken = await take(tx, name)
        t.deepEqual(taken.payloads, expected)
        if (when === 'after') await tx.publish(channel, 'own')
        await taken.advance()
      })
      await connection.close()
      const got: string[] = []
      run((_: Transaction, { payload }: DurableEvent) => void got.push(payload))
      await waitFor(() => got.length === 1)
      t.deepEqual(got, ['own'])
    })
  }
}

test('what is fetched behind a savepoint that is rolled back is fetched again', async (t) => {
  const { pool, channel, name, publish } = await openScene(t)
  await pool.fetchVal('SELECT pglisten.subscribe($1, ARRAY[$2::text], 1, true)', [name, channel])
  await publish('1', '2')
  const connection = await pool.connection()
  await connection.transaction(async (tx) => {
    await tx.executeBatch('SAVEPOINT s')
    const taken = await take(tx, name)
    await taken.advance()
    await tx.executeBatch('ROLLBACK TO s')
    t.deepEqual((await take(tx, name)).payloads, taken.payloads)
    t.deepEqual(taken.payloads, ['1', '2'])
  })
  await connection.close()
})

test('a batch that is left half done goes on behind what is done, in the middle of many', async (t) => {
  const { pool, channel, run } = await openScene(t, { batchSize: 7 })
  await pool.execute('SELECT pglisten.publish($1, n::text) FROM generate_series(1, 50) AS n', [
    channel,
  ])
  const got: string[] = []
  // Each run ends within a batch, at another place of it.
  for (const most of [1, 5, 12, 20, 33, 50]) {
    const reached = { resolve: () => {} }
    const done = new Promise<void>((resolve) => (reached.resolve = resolve))
    const { stop } = run((_, { payload }) => {
      got.push(payload)
      if (got.length !== most) return
      reached.resolve()
      // The run is asked to end while this event is being handled.
      void stop().catch(() => {})
    })
    await within(done, { what: `${most} events` })
    await stop()
  }
  t.deepEqual(
    got,
    Array.from({ length: 50 }, (_, n) => String(n + 1)),
  )
})
