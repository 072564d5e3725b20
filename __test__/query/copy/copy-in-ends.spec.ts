// Every end of a COPY FROM STDIN but the good one, in each of its phases: the right error, nothing stored, nothing hanging.

import test, { type ExecutionContext } from 'ava'
import { getEventListeners } from 'node:events'
import { createReadStream } from 'node:fs'
import { Readable } from 'node:stream'
import { setImmediate as immediate } from 'node:timers/promises'
import { ReadableStream } from 'node:stream/web'
import {
  ConnectionClosedError,
  ConnectionTimeoutError,
  DatabaseError,
  TransactionClosedError,
  TransactionCommitError,
  type CallOptions,
} from 'pglisten'
import { copyScene, lockTable, sleepAfterData, type Scene } from '../../support/copying.js'
import { openListener, uniqueChannel } from '../../support/listener.js'
import { deferred, waitFor, within } from '../../../lab/wait.js'

const ROWS = '1\tone\n2\ttwo\n'

/** A source that gives two rows and then nothing, and tells what becomes of it. */
function stuck() {
  const state = { isAsked: false, isReturned: false }
  const source: AsyncIterable<string> = {
    [Symbol.asyncIterator]() {
      let given = false
      return {
        next() {
          if (given) {
            state.isAsked = true
            return new Promise(() => {})
          }
          given = true
          return Promise.resolve({ done: false, value: ROWS.repeat(40_000) })
        },
        return() {
          state.isReturned = true
          return new Promise(() => {})
        },
      }
    },
  }
  return { source, state }
}

interface Running {
  outcome: Promise<number>
  /** Resolves when the phase is reached. */
  reached: Promise<unknown>
}

/** Starts a COPY that stays in a phase. */
type Phase = (
  t: ExecutionContext,
  scene: Scene,
  run: (source: AsyncIterable<string> | string) => Promise<number>,
) => Promise<Running>

const PHASES: Record<string, Phase> = {
  'before the server asks for data': async (t, scene, run) => {
    await lockTable(t, scene)
    return { outcome: run(ROWS), reached: scene.waits('relation') }
  },
  'in the middle': async (_, scene, run) => {
    const { source, state } = stuck()
    const outcome = run(source)
    const reached = Promise.all([waitFor(() => state.isAsked), scene.waits('ClientRead')])
    return { outcome, reached }
  },
  'after the data': async (_, scene, run) => {
    await sleepAfterData(scene)
    return { outcome: run(ROWS), reached: scene.waits('PgSleep') }
  },
}

for (const [name, begin] of Object.entries(PHASES)) {
  const start = (t: ExecutionContext, scene: Scene, options?: CallOptions) =>
    begin(t, scene, (source) => {
      const outcome = scene.connection.copyFrom(`COPY ${scene.table} FROM STDIN`, source, options)
      outcome.catch(() => {})
      return outcome
    })

  test.serial(`${name} a signal ends it with its reason, and the connection goes on`, async (t) => {
    const scene = await copyScene(t)
    const abort = new AbortController()
    const reason = new Error('no longer wanted')
    const { outcome, reached } = await start(t, scene, { signal: abort.signal })
    await reached
    abort.abort(reason)
    t.is(await t.throwsAsync(within(outcome)), reason)
    t.is(getEventListeners(abort.signal, 'abort').length, 0)
    t.is(await scene.connection.fetchVal('SELECT pg_backend_pid()'), scene.processId)
  })

  test.serial(`${name} its time ends it, and the connection goes on`, async (t) => {
    const scene = await copyScene(t)
    const { outcome, reached } = await start(t, scene, { timeoutMs: 500 })
    await Promise.race([reached, outcome.catch(() => {})])
    const error = await t.throwsAsync(within(outcome), { instanceOf: ConnectionTimeoutError })
    t.is(error.message, 'the statement took longer than 500 ms')
    t.is(await scene.connection.fetchVal('SELECT pg_backend_pid()'), scene.processId)
    t.is(scene.connection.transactionStatus, 'idle')
  })

  test.serial(`${name} the death of its backend ends it`, async (t) => {
    const scene = await copyScene(t)
    const { outcome, reached } = await start(t, scene)
    await reached
    await scene.witness.terminate(scene.processId)
    const error = await t.throwsAsync(within(outcome))
    t.true(
      error instanceof ConnectionClosedError ||
        (error instanceof DatabaseError && error.sqlState === '57P01'),
      String(error),
    )
    await t.throwsAsync(scene.connection.execute('SELECT 1'), { instanceOf: ConnectionClosedError })
  })

  test.serial(`${name} the end of its connection ends it`, async (t) => {
    const scene = await copyScene(t)
    const { outcome, reached } = await start(t, scene)
    await reached
    await within(scene.connection.close())
    await t.throwsAsync(within(outcome), { instanceOf: ConnectionClosedError })
    await using next = await scene.pool.connection()
    t.is(await next.fetchVal('SELECT pg_backend_pid()'), scene.processId)
  })

  test.serial(`${name} the end of its pool ends it`, async (t) => {
    const scene = await copyScene(t)
    const { outcome, reached } = await start(t, scene)
    await reached
    await within(scene.pool.close({ timeoutMs: 100 }))
    await t.throwsAsync(within(outcome), { instanceOf: ConnectionClosedError })
  })

  test.serial(`${name} the rollback of its transaction ends it`, async (t) => {
    const scene = await copyScene(t)
    const tx = await scene.connection.begin()
    const { outcome, reached } = await begin(t, scene, (source) => {
      const outcome = tx.copyFrom(`COPY ${scene.table} FROM STDIN`, source)
      outcome.catch(() => {})
      return outcome
    })
    await reached
    await within(tx.rollback())
    await t.throwsAsync(within(outcome), { instanceOf: TransactionClosedError })
    t.is(await scene.connection.fetchVal('SELECT pg_backend_pid()'), scene.processId)
  })
}

test.serial('after any of these ends nothing is stored, and the source is ended', async (t) => {
  const scene = await copyScene(t)
  const { source, state } = stuck()
  const copy = scene.connection.copyFrom(`COPY ${scene.table} FROM STDIN`, source, {
    timeoutMs: 300,
  })
  await t.throwsAsync(within(copy), { instanceOf: ConnectionTimeoutError })
  t.true(state.isReturned)
  t.is(await scene.stored(), 0n)
  t.is(await scene.connection.copyFrom(`COPY ${scene.table} FROM STDIN`, ROWS), 2)
  t.is(await scene.stored(), 2n)
})

test.serial(
  'a COPY that waits for its turn is not begun once its bound is reached, and its source is not read',
  async (t) => {
    const scene = await copyScene(t)
    const running = scene.connection.execute('SELECT pg_sleep(0.4)')
    const source = {
      [Symbol.iterator](): Iterator<string> {
        return { next: () => t.fail('the source was read') }
      },
    }
    const copy = scene.connection.copyFrom(`COPY ${scene.table} FROM STDIN`, source, {
      timeoutMs: 50,
    })
    const error = await t.throwsAsync(copy, { instanceOf: ConnectionTimeoutError })
    t.regex(error.message, /waiting for its turn/)
    await running
    t.is(await scene.connection.fetchVal('SELECT 1'), 1)
  },
)

test.serial('a table that is not there costs the source nothing', async (t) => {
  const scene = await copyScene(t)
  let isReturned = false
  const source = {
    [Symbol.iterator](): Iterator<string> {
      return {
        next: () => t.fail('the source was read'),
        return: () => {
          isReturned = true
          return { done: true, value: undefined }
        },
      }
    },
  }
  const error = await t.throwsAsync(
    scene.connection.copyFrom('COPY no_such_table FROM STDIN', source),
    { instanceOf: DatabaseError },
  )
  t.is(error.sqlState, '42P01')
  t.true(isReturned)
  t.is(await scene.connection.fetchVal('SELECT 1'), 1)
})

const FAILURES: Record<string, (error: Error) => Iterable<string> | AsyncIterable<string>> = {
  'throws at once': (error) => ({
    [Symbol.iterator]: () => ({
      next() {
        throw error
      },
    }),
  }),
  'throws in the middle': function* (error) {
    yield ROWS.repeat(100_000)
    throw error
  },
  'rejects in the middle': async function* (error) {
    yield ROWS
    await immediate()
    throw error
  },
  'is a stream that is destroyed': (error) => {
    const stream = new Readable({ read() {} })
    stream.push(ROWS)
    stream.once('resume', () => stream.destroy(error)).once('readable', () => stream.destroy(error))
    return stream
  },
  'is a stream that fails before it is read': (error) => new Readable({ read() {} }).destroy(error),
  'is a stream of the web that fails': (error) =>
    new ReadableStream<string>({
      start: (controller) => controller.enqueue(ROWS),
      pull: (controller) => controller.error(error),
    }),
}

for (const [name, make] of Object.entries(FAILURES)) {
  test.serial(`a source that ${name} is the error, and nothing of it is stored`, async (t) => {
    const scene = await copyScene(t)
    const error = new Error('of the source')
    const copy = scene.connection.copyFrom(`COPY ${scene.table} FROM STDIN`, make(error))
    t.is(await t.throwsAsync(within(copy)), error)
    t.is(await scene.stored(), 0n)
    t.is(await scene.connection.fetchVal('SELECT pg_backend_pid()'), scene.processId)
    t.is(await scene.connection.copyFrom(`COPY ${scene.table} FROM STDIN`, ROWS), 2)
  })
}

test.serial('a failing file is the error, and no uncaught one', async (t) => {
  const scene = await copyScene(t)
  const copy = scene.connection.copyFrom(
    `COPY ${scene.table} FROM STDIN`,
    createReadStream('/no/such/file'),
  )
  await t.throwsAsync(within(copy), { code: 'ENOENT' })
  t.is(await scene.connection.fetchVal('SELECT 1'), 1)
})

test.serial('a call that is refused leaves its source as it was', async (t) => {
  const scene = await copyScene(t)
  const sql = `COPY ${scene.table} FROM STDIN`
  const { source } = stuck()
  const abort = new AbortController()
  const open = scene.connection.copyFrom(sql, source, { signal: abort.signal })
  const stream = ReadableStream.from([ROWS])
  await t.throwsAsync(scene.connection.copyFrom(sql, stream), { message: /A COPY is open/ })
  await t.throwsAsync(scene.connection.copyFrom(sql, stream, { timeoutMs: -1 }))
  abort.abort()
  await t.throwsAsync(within(open), { any: true, name: 'AbortError' })
  t.is(await scene.connection.copyFrom(sql, stream), 2)
})

test.serial(
  'data that the server refuses is its error, with the line, and the source is ended',
  async (t) => {
    const scene = await copyScene(t)
    let yielded = 0
    let isEnded = false
    const source = (function* () {
      try {
        for (;;) {
          yield yielded === 50_000 ? 'nonsense\n' : `${yielded}\tx\n`
          yielded += 1
        }
      } finally {
        isEnded = true
      }
    })()
    const copy = scene.connection.copyFrom(`COPY ${scene.table} FROM STDIN`, source)
    const error = await t.throwsAsync(within(copy), { instanceOf: DatabaseError })
    t.is(error.sqlState, '22P02')
    t.regex(error.context!, /line 50001/)
    t.true(isEnded)
    t.is(await scene.stored(), 0n)
    t.is(await scene.connection.fetchVal('SELECT pg_backend_pid()'), scene.processId)
  },
)

test.serial(
  'a stream that feeds it is destroyed when the server refuses, although it gives nothing more',
  async (t) => {
    const scene = await copyScene(t)
    const stream = new Readable({ read() {} })
    stream.push('nonsense\n'.repeat(20_000))
    const copy = scene.connection.copyFrom(`COPY ${scene.table} FROM STDIN`, stream)
    await t.throwsAsync(within(copy), { instanceOf: DatabaseError })
    await waitFor(() => stream.destroyed, { what: 'the end of the stream' })
    const cancelled = deferred<unknown>()
    const web = new ReadableStream<string>({
      start: (controller) => controller.enqueue('nonsense\n'.repeat(20_000)),
      cancel: cancelled.resolve,
    })
    await t.throwsAsync(within(scene.connection.copyFrom(`COPY ${scene.table} FROM STDIN`, web)), {
      instanceOf: DatabaseError,
    })
    await within(cancelled.promise)
  },
)

test.serial('within a transaction it is part of it, and its failure fails it', async (t) => {
  const scene = await copyScene(t)
  const { connection, table } = scene
  const sql = `COPY ${table} FROM STDIN`
  await t.throwsAsync(
    connection.transaction(async (tx) => {
      t.is(await tx.copyFrom(sql, ROWS), 2)
      throw new Error('undone')
    }),
    { message: 'undone' },
  )
  t.is(await scene.stored(), 0n)
  await connection.transaction(async (tx) => {
    await tx.copyFrom(sql, ROWS)
    await t.throwsAsync(
      tx.transaction((inner) => inner.copyFrom(sql, 'nonsense\n')),
      { instanceOf: DatabaseError },
    )
    await tx.binaryCopyToTable(
      table,
      Buffer.from('PGCOPY\n\xFF\r\n\0\0\0\0\0\0\0\0\0\xFF\xFF', 'latin1'),
    )
  })
  t.is(await scene.stored(), 2n)
  await t.throwsAsync(
    connection.transaction(async (tx) => {
      await tx.copyFrom(sql, 'nonsense\n').catch(() => {})
    }),
    { instanceOf: TransactionCommitError },
  )
  t.is(await scene.stored(), 2n)
})

test.serial(
  'a transaction does not commit half of a COPY that its work did not await',
  async (t) => {
    const scene = await copyScene(t)
    const { source } = stuck()
    let copy: Promise<number> | undefined
    const committed = scene.connection.transaction((tx) => {
      copy = tx.copyFrom(`COPY ${scene.table} FROM STDIN`, source)
      copy.catch(() => {})
    })
    await t.throwsAsync(within(committed), { instanceOf: TransactionCommitError })
    await t.throwsAsync(within(copy!), { instanceOf: TransactionCommitError })
    t.is(await scene.stored(), 0n)
  },
)

test.serial('a bound of the transaction ends the COPY in it', async (t) => {
  const scene = await copyScene(t)
  const { source } = stuck()
  const outcome = scene.connection.transaction(
    (tx) => tx.copyFrom(`COPY ${scene.table} FROM STDIN`, source),
    { timeoutMs: 300 },
  )
  await t.throwsAsync(within(outcome), { instanceOf: ConnectionTimeoutError })
  t.is(await scene.connection.fetchVal('SELECT pg_backend_pid()'), scene.processId)
  t.is(await scene.stored(), 0n)
})

test.serial(
  'a callback that leaves a COPY open gives its connection back all the same',
  async (t) => {
    const scene = await copyScene(t)
    const { listener, pool } = await openListener(t, {}, { maxDbPoolSize: 1 })
    const channel = uniqueChannel()
    const { source, state } = stuck()
    let copy: Promise<number> | undefined
    await listener.addCallback(channel, async (connection) => {
      copy = connection.copyFrom(`COPY ${scene.table} FROM STDIN`, source)
      copy.catch(() => {})
      await waitFor(() => state.isAsked)
    })
    await listener.startup()
    listener.listen()
    await scene.witness.notify(channel)
    await waitFor(() => copy !== undefined, { what: 'the callback' })
    await t.throwsAsync(within(copy!), { instanceOf: ConnectionClosedError })
    t.is(await pool.fetchVal('SELECT 1'), 1)
    t.is(await scene.stored(), 0n)
  },
)
