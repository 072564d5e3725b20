// The order of events, and the batches in which they come.

import test from 'ava'
import { DurableError } from 'pglisten'
import { waitFor, within } from '../../lab/wait.js'
import { openDatabase } from './database.js'
import { openScene, take } from './scene.js'

test('updates of one row come in their order, also where the later one had its transaction id first', async (t) => {
  const { pool, channel, name, run, witness } = await openScene(t)
  await witness.run(`
    CREATE TABLE ${name} (n int NOT NULL);
    INSERT INTO ${name} VALUES (0);
    CREATE FUNCTION ${name}() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN PERFORM pglisten.publish('${channel}', NEW.n::text); RETURN NEW; END $$;
    CREATE TRIGGER publish AFTER UPDATE ON ${name} FOR EACH ROW EXECUTE FUNCTION ${name}()`)
  t.teardown(() => witness.run(`DROP TABLE ${name}; DROP FUNCTION ${name}`))
  const connection = await pool.connection()
  const early = await connection.begin()
  await early.fetchVal('SELECT pg_current_xact_id()')
  await pool.execute(`UPDATE ${name} SET n = n + 1`)
  await early.execute(`UPDATE ${name} SET n = n + 1`)
  await early.commit()
  await connection.close()
  const got: string[] = []
  run((_, { payload }) => void got.push(payload))
  await waitFor(() => got.length === 2)
  t.deepEqual(got, ['1', '2'])
})

for (const batchSize of [1, 2, 100]) {
  test(`what a COMMIT had been answered for comes first, beside transactions that stay open (batches of ${batchSize})`, async (t) => {
    const { pool, channel, run } = await openScene(t, { batchSize })
    const connections = await Promise.all([1, 2, 3].map(() => pool.connection()))
    const open = await Promise.all(connections.map((connection) => connection.begin()))
    // Their ids are lower than those of what is committed before they publish.
    for (const tx of open) await tx.fetchVal('SELECT pg_current_xact_id()')
    const expected: string[] = []
    const got: string[] = []
    run((_, { payload }) => void got.push(payload))
    for (const [index, tx] of open.entries()) {
      for (const payload of [`${index} answered`, `${index} too`]) {
        await pool.publish(channel, payload)
        expected.push(payload)
      }
      await tx.publish(channel, `${index} open`)
      expected.push(`${index} open`)
      await tx.commit()
    }
    await waitFor(() => got.length === expected.length)
    t.deepEqual(got, expected)
    await Promise.all(connections.map((connection) => connection.close()))
  })
}

test('what was published in savepoints that were rolled back is nothing, and the rest keeps its order', async (t) => {
  const { pool, channel, run } = await openScene(t)
  const connection = await pool.connection()
  await connection.transaction(async (tx) => {
    for (let n = 1; n <= 80; n += 1) {
      await tx.executeBatch('SAVEPOINT s')
      await tx.publish(channel, String(n))
      await tx.executeBatch(n % 3 === 0 ? 'ROLLBACK TO s' : 'RELEASE s')
    }
  })
  await connection.close()
  const kept = Array.from({ length: 80 }, (_, n) => n + 1).filter((n) => n % 3 !== 0)
  const got: number[] = []
  run((_, { payload }) => void got.push(Number(payload)))
  await waitFor(() => got.length === kept.length)
  t.deepEqual(got, kept)
})

test('where many were walked to their end, what has come since is fetched by the same call', async (t) => {
  const { pool, channel, name, publish } = await openScene(t)
  await pool.fetchVal('SELECT pglisten.subscribe($1, ARRAY[$2::text], 1, true)', [name, channel])
  await publish('1', '2', '3', '4', '5', '6')
  const connection = await pool.connection()
  const next = () =>
    connection.transaction(async (tx) => {
      const taken = await take(tx, name, 3)
      if (taken.payloads.length > 0) await taken.advance()
      return taken.payloads
    })
  t.deepEqual(await next(), ['1', '2', '3'])
  t.deepEqual(await next(), ['4', '5', '6'])
  await publish('new')
  // None would mean that there is nothing to do, and a worker would fall asleep.
  t.deepEqual(await next(), ['new'])
  t.deepEqual(await next(), [])
  await connection.close()
})

test('a batch has no more bytes than 16 MiB, unless its first event alone has more', async (t) => {
  const { pool, channel, subscription } = await openScene(t)
  const mebibytes = [6, 6, 6, 0, 20, 0, 0, 10, 5, 6, 17, 16, 0]
  const publish =
    'SELECT pglisten.publish($1, repeat($3, n * 1024 * 1024)) FROM unnest($2::int[]) AS n'
  await pool.execute(publish, [channel, mebibytes, 'x'])
  const batches: number[][] = []
  for await (const { events, ack } of subscription({ batchSize: 4 }).batches()) {
    batches.push(events.map(({ payload }) => payload.length / 1024 / 1024))
    await ack()
    if (batches.flat().length === mebibytes.length) break
  }
  const expected = [[6, 6], [6, 0], [20], [0, 0, 10, 5], [6], [17], [16, 0]]
  t.deepEqual(batches.flat(), mebibytes)
  t.deepEqual(batches, expected)
})

test('an event that no string of JavaScript could hold is refused', async (t) => {
  const { pool, channel } = await openScene(t)
  const most = 2 ** 28
  const publish = "SELECT pglisten.publish($1, repeat('x', $2::int), repeat('x', $3::int))"
  for (const [payload, key] of [
    [most + 1, 0],
    [1, most],
  ] as const) {
    await t.throwsAsync(pool.fetchVal(publish, [channel, payload, key]), {
      message: /have at most 268435456 bytes/,
    })
  }
})

test('a sequence that gives ids in advance is refused, since they would be out of order', async (t) => {
  const { owner } = await openDatabase(t)
  await owner.durable.install()
  await owner.execute('ALTER TABLE pglisten.event ALTER COLUMN id SET CACHE 50')
  await t.throwsAsync(owner.durable.install(), {
    instanceOf: DurableError,
    message: /expected .*`pglisten.event`.* no cache, got a cache of 50/,
  })
  await owner.execute('ALTER TABLE pglisten.event ALTER COLUMN id SET CACHE 1')
  await owner.durable.install()
})

test('a batch has no more bytes than 16 MiB, also of payloads that are stored compressed', async (t) => {
  const { owner } = await openDatabase(t)
  await owner.durable.install()
  // Each takes less than 2 kB where it is stored.
  await owner.execute(
    "SELECT pglisten.publish('a', repeat('a', 120000)) FROM generate_series(1, 200)",
  )
  const subscription = owner.subscription('s', {
    channels: ['a'],
    from: 'beginning',
    batchSize: 200,
  })
  const batches = subscription.batches()
  t.teardown(() => batches.return())
  const sizes: number[] = []
  let left = 200
  while (left > 0) {
    const { events, ack } = (await within(batches.next())).value!
    sizes.push(events.length)
    left -= events.length
    await ack()
  }
  t.deepEqual(sizes, [139, 61])
})
