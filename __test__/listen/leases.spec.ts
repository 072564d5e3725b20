// The connection that a callback, or a message, comes with: leased at its first use, and not for longer than it lasts.

import test from 'ava'
import { AsyncLocalStorage } from 'node:async_hooks'
import {
  ConnectionClosedError,
  DatabaseError,
  type Connection,
  type Listener,
  type ListenerWarning,
} from 'pglisten'
import { uniqueName } from '../../lab/unique-name.js'
import {
  ask,
  backendOf,
  notify,
  openListener,
  run,
  terminate,
  uniqueChannel,
} from '../support/listener.js'
import { collect, deferred, waitFor } from '../../lab/wait.js'

test('a callback’s connection is leased at its first use, and goes back when it settles', async (t) => {
  const { listener, pool } = await openListener(t, {}, { maxDbPoolSize: 1 })
  const channel = uniqueChannel()
  const sizes: number[][] = []
  const note = () => sizes.push([pool.status().size, pool.status().available])
  await listener.addCallback(channel, async (connection, payload) => {
    note()
    if (payload === 'unused') return
    await connection.execute('SELECT 1')
    note()
  })
  await listener.startup()
  listener.listen()
  await notify(channel, 'unused')
  await notify(channel, 'used')
  await listener.sync()
  t.deepEqual(sizes, [
    [0, 0],
    [0, 0],
    [1, 0],
  ])
  t.like(pool.status(), { size: 1, available: 1 })
})

test('the next notification waits until the connection is back', async (t) => {
  const { listener, pool } = await openListener(t, {}, { maxDbPoolSize: 1 })
  const channel = uniqueChannel()
  const available: number[] = []
  await listener.addCallback(channel, async (connection) => {
    available.push(pool.status().available)
    // Still running when the callback settles.
    void connection.execute('SELECT pg_sleep(0.05)')
  })
  await listener.startup()
  listener.listen()
  for (let n = 0; n < 5; n += 1) await notify(channel, `${n}`)
  await listener.sync()
  t.deepEqual(available, [0, 1, 1, 1, 1])
})

test('each callback has a connection of its own, outside the listening session', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  const connections: Connection[] = []
  const backends: number[] = []
  for (let n = 0; n < 2; n += 1) {
    await listener.addCallback(channel, async (connection) => {
      connections.push(connection)
      backends.push(await connection.fetchVal<number>('SELECT pg_backend_pid()'))
    })
  }
  await listener.startup()
  listener.listen()
  await notify(channel)
  await listener.sync()
  t.not(connections[0], connections[1])
  t.false(backends.includes(await backendOf(listener)))
})

test('a callback’s connection that is used after the callback is refused', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  const kept: Connection[] = []
  await listener.addCallback(channel, (connection) => kept.push(connection))
  await listener.addCallback(channel, async (connection) => {
    kept.push(connection)
    await connection.execute('SELECT 1')
  })
  await listener.startup()
  listener.listen()
  await notify(channel)
  await listener.sync()
  t.is(kept.length, 2)
  for (const connection of kept) {
    t.true(connection.isClosed)
    await t.throwsAsync(connection.execute('SELECT 1'), { instanceOf: ConnectionClosedError })
    await t.throwsAsync(
      connection.transaction(async () => {}),
      { instanceOf: ConnectionClosedError },
    )
  }
})

test('a statement that a callback did not wait for is carried out all the same', async (t) => {
  const { listener } = await openListener(t)
  const table = uniqueName('unawaited')
  await run(`CREATE TABLE ${table} (n INT)`)
  t.teardown(() => run(`DROP TABLE ${table}`))
  const channel = uniqueChannel()
  await listener.addCallback(channel, (connection, payload) => {
    void connection.execute(`INSERT INTO ${table} VALUES ($1)`, [Number(payload)])
  })
  await listener.startup()
  listener.listen()
  for (const n of [1, 2, 3]) await notify(channel, `${n}`)
  await waitFor(async () => (await ask<bigint>(`SELECT sum(n) FROM ${table}`)) === 6n)
  t.pass()
})

for (const [how, leave] of Object.entries({
  settles: async () => {},
  rejects: async () => {
    throw new Error('on purpose')
  },
})) {
  test(`a transaction that is open when a callback ${how} is rolled back, with a warning`, async (t) => {
    const { listener, pool } = await openListener(t, {}, { maxDbPoolSize: 1 })
    const table = uniqueName('left_open')
    await run(`CREATE TABLE ${table} (n INT)`)
    t.teardown(() => run(`DROP TABLE ${table}`))
    const channel = uniqueChannel()
    const warnings: ListenerWarning[] = []
    listener.on('warning', (warning) => warnings.push(warning))
    listener.on('error', () => {})
    await listener.addCallback(channel, async (connection, payload) => {
      if (payload === 'open') await connection.execute('BEGIN')
      await connection.execute(`INSERT INTO ${table} VALUES ($1)`, [payload === 'open' ? 1 : 2])
      if (payload === 'open') await leave()
    })
    await listener.startup()
    listener.listen()
    await notify(channel, 'open')
    await notify(channel, 'next')
    await listener.sync()
    t.is(await ask(`SELECT string_agg(n::text, ',') FROM ${table}`), '2')
    t.is(warnings.length, 1)
    t.like(warnings[0], { channel })
    t.regex(warnings[0]!.message, /transaction/)
    t.like(pool.status(), { size: 1, available: 1 })
  })
}

test('a transaction that was ended leaves no warning', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  const warnings: ListenerWarning[] = []
  listener.on('warning', (warning) => warnings.push(warning))
  await listener.addCallback(channel, async (connection) => {
    await connection.execute('BEGIN')
    await connection.execute('COMMIT')
    await connection.transaction(async (tx) => void (await tx.execute('SELECT 1')))
  })
  await listener.startup()
  listener.listen()
  await notify(channel)
  await listener.sync()
  t.deepEqual(warnings, [])
})

test('a connection that dies in a callback is the callback’s error, and the next gets another', async (t) => {
  const { listener } = await openListener(t, {}, { maxDbPoolSize: 1 })
  const channel = uniqueChannel()
  const errors: unknown[] = []
  const done: string[] = []
  listener.on('error', (error) => errors.push(error.cause))
  await listener.addCallback(channel, async (connection, payload) => {
    const backend = await connection.fetchVal<number>('SELECT pg_backend_pid()')
    if (payload === 'die') await terminate(backend)
    await connection.execute('SELECT 1')
    done.push(payload)
  })
  await listener.startup()
  listener.listen()
  await notify(channel, 'die')
  await notify(channel, 'live')
  await listener.sync()
  t.deepEqual(done, ['live'])
  t.is(errors.length, 1)
  t.true(errors[0] instanceof ConnectionClosedError || errors[0] instanceof DatabaseError)
})

test('a message’s connection ends when the next message is asked for', async (t) => {
  const { listener, pool } = await openListener(t, {}, { maxDbPoolSize: 1 })
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  const kept: Connection[] = []
  const messages = []
  for (let n = 0; n < 3; n += 1) await notify(channel, `${n}`)
  for await (const message of listener) {
    messages.push(message)
    if (message.payload !== '1') {
      t.is(message.connection, message.connection)
      t.is(await message.connection.fetchVal('SELECT 1'), 1)
      kept.push(message.connection)
    }
    if (messages.length === 3) break
  }
  for (const connection of kept) {
    await t.throwsAsync(connection.execute('SELECT 1'), { instanceOf: ConnectionClosedError })
  }
  // Never used in time, and of no use later.
  await t.throwsAsync(messages[1]!.connection.execute('SELECT 1'), {
    instanceOf: ConnectionClosedError,
  })
  await waitFor(() => pool.status().available === 1)
  t.is(pool.status().size, 1)
})

test('the connections of a batch end when the next batch is asked for', async (t) => {
  const { listener, pool } = await openListener(t)
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  const batches = listener.batches({ maxSize: 2, maxWaitMs: 5000 })
  await notify(channel, '0')
  await notify(channel, '1')
  const [used, unused] = (await collect(batches, 1))[0]!
  await used!.connection.execute('SELECT 1')
  void batches.next()
  for (const message of [used, unused]) {
    await t.throwsAsync(message!.connection.execute('SELECT 1'), {
      instanceOf: ConnectionClosedError,
    })
  }
  await waitFor(() => pool.status().available === 1)
  await batches.return()
})

test('a callback runs in the asynchronous context in which it was registered', async (t) => {
  const storage = new AsyncLocalStorage<string>()
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  const seen: unknown[] = []
  const inContext = async (name: string) => {
    await listener.addCallback(channel, () => seen.push([name, storage.getStore()]))
    await listener.addCallback(channel, async (connection) => {
      await connection.execute('SELECT 1')
      seen.push([`${name}, later`, storage.getStore()])
    })
  }
  await storage.run('first', inContext, 'first')
  await storage.run('second', inContext, 'second')
  await inContext('none')
  const gapSeen = deferred<string | undefined>()
  storage.run('gap', () => listener.addGapCallback(() => gapSeen.resolve(storage.getStore())))
  await storage.run('startup', () => listener.startup())
  storage.run('listen', () => listener.listen())
  await notify(channel)
  await listener.sync()
  t.deepEqual(seen, [
    ['first', 'first'],
    ['first, later', 'first'],
    ['second', 'second'],
    ['second, later', 'second'],
    ['none', undefined],
    ['none, later', undefined],
  ])
  await terminate(await backendOf(listener))
  t.is(await gapSeen.promise, 'gap')
})

for (const [where, use] of Object.entries({
  'a callback': async (listener, channel, work) => {
    await listener.addCallback(channel, work)
    listener.listen()
    await notify(channel)
    await listener.sync()
  },
  'a loop': async (listener, channel, work) => {
    const messages = listener.messages()
    await notify(channel)
    const { value } = await messages.next()
    await work(value!.connection)
    await messages.return()
  },
} satisfies Record<
  string,
  (
    listener: Listener,
    channel: string,
    work: (connection: Connection) => Promise<unknown>,
  ) => Promise<void>
>)) {
  test(`a session that the server ends within a transaction of ${where} is no transaction left open`, async (t) => {
    const channel = uniqueChannel()
    const { listener, pool } = await openListener(t, { channels: [channel] })
    const warnings: ListenerWarning[] = []
    listener.on('warning', (warning) => warnings.push(warning))
    listener.on('error', () => {})
    await listener.startup()
    const failures: unknown[] = []
    await use(listener, channel, async (connection) => {
      const lost = connection.transaction(async (tx) => {
        await terminate(await tx.fetchVal<number>('SELECT pg_backend_pid()'))
        await tx.execute('SELECT pg_sleep(10)')
      })
      await lost.catch((error: unknown) => failures.push(error))
    })
    await waitFor(() => pool.status().available === pool.status().size)
    t.is(failures.length, 1)
    t.deepEqual(warnings, [])
  })
}
