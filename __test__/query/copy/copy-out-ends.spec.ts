// Every end of a COPY TO STDOUT but the good one, in each of its phases: the right error, and a connection that goes on.

import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import {
  ConnectionClosedError,
  ConnectionExecuteError,
  ConnectionTimeoutError,
  DatabaseError,
  TransactionClosedError,
  TransactionCommitError,
  type CallOptions,
  type CopyStream,
} from 'pglisten'
import {
  ALL_HERE,
  ALL_SENT,
  copyScene,
  ENDLESS,
  lockTable,
  PAUSING,
  type Scene,
} from '../../support/copying.js'
import { openListener, uniqueChannel } from '../../support/listener.js'
import { waitFor, within } from '../../../lab/wait.js'

/** A statement, and how the reader comes to its phase. `reach` resolves there, with the read that is under way, if one is. */
interface Phase {
  sql(scene: Scene): string
  /** Whether nothing is missing of what the server has sent, so that its death takes nothing away. */
  isSent?: true
  reach(
    t: ExecutionContext,
    scene: Scene,
    chunks: AsyncIterator<Uint8Array>,
  ): Promise<{ read: Promise<IteratorResult<Uint8Array>> | undefined }>
}

async function untilSent(_: ExecutionContext, scene: Scene, chunks: AsyncIterator<Uint8Array>) {
  await chunks.next()
  await scene.waits('ClientRead')
  return { read: undefined }
}

const PHASES: Record<string, Phase> = {
  'before the server gives data': {
    sql: ({ table }) => `COPY ${table} TO STDOUT`,
    async reach(t, scene, chunks) {
      await lockTable(t, scene)
      const read = chunks.next()
      read.catch(() => {})
      await scene.waits('relation')
      return { read }
    },
  },
  'while the reader does not read': {
    sql: () => ENDLESS,
    async reach(_, scene, chunks) {
      await chunks.next()
      await scene.waits('ClientWrite')
      return { read: undefined }
    },
  },
  'while the server pauses': {
    sql: () => PAUSING,
    async reach(_, scene, chunks) {
      await chunks.next()
      const read = chunks.next()
      read.catch(() => {})
      await scene.waits('PgSleep')
      return { read }
    },
  },
  'when the server has sent everything': {
    sql: () => ALL_SENT,
    isSent: true,
    reach: untilSent,
  },
  'when all but the last chunk is on the way to the reader': {
    sql: () => ALL_HERE,
    isSent: true,
    reach: untilSent,
  },
}

/** How long a `COPY` may take that is ended by its time. */
const TIMEOUT_MS = 3000

/** Reads to the end, or to an error, which it rejects with. */
async function drain(chunks: AsyncIterator<Uint8Array>, read = chunks.next()): Promise<void> {
  while (!(await within(read)).done) read = chunks.next()
}

/** Reads what came before the end. A stream of Node.js that is destroyed fails whoever reads it. */
async function readOn(
  chunks: AsyncIterator<Uint8Array>,
  read: Promise<IteratorResult<Uint8Array>>,
) {
  const { done } = await within(read.catch(() => ({ done: true })))
  if (!done) await readOn(chunks, chunks.next())
}

async function goesOn(t: ExecutionContext, scene: Scene) {
  t.is(await within(scene.connection.fetchVal('SELECT pg_backend_pid()')), scene.processId)
  t.is(scene.connection.transactionStatus, 'idle')
}

const EARLY_ENDS: Record<
  string,
  (stream: CopyStream) => [AsyncIterator<Uint8Array>, () => Promise<unknown>]
> = {
  'the end of a loop': (stream) => {
    const chunks = stream[Symbol.asyncIterator]()
    return [chunks, () => chunks.return!()]
  },
  'close()': (stream) => [stream[Symbol.asyncIterator](), () => stream.close()],
  'destroy()': (stream) => {
    const readable = stream.readable()
    const closed = once(readable, 'close')
    return [
      readable[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>,
      () => {
        readable.destroy()
        return closed
      },
    ]
  },
  'cancel()': (stream) => {
    const reader = stream.stream.getReader()
    const chunks = { next: () => reader.read() as Promise<IteratorResult<Uint8Array>> }
    return [chunks, () => reader.cancel('enough')]
  },
}

for (const [name, phase] of Object.entries(PHASES)) {
  for (const [way, open] of Object.entries(EARLY_ENDS)) {
    test.serial(`${name} ${way} ends it, and the connection goes on`, async (t) => {
      const scene = await copyScene(t)
      const stream = scene.connection.copyTo(phase.sql(scene))
      const [chunks, end] = open(stream)
      const { read } = await phase.reach(t, scene, chunks)
      await within(end())
      await goesOn(t, scene)
      // The read that was under way may have been given what the server had sent before it paused.
      if (read) await t.notThrowsAsync(readOn(chunks, read))
      // A stream of Node.js reads a chunk ahead, which may be the last one.
      if (way !== 'destroy()' || phase.sql(scene) !== ALL_HERE) t.is(stream.rowCount, undefined)
    })

    test.serial(`${name} ${way} ends it, and its transaction goes on`, async (t) => {
      const scene = await copyScene(t)
      await scene.connection.execute('CREATE TEMPORARY TABLE kept (n int4)')
      await scene.connection.transaction(async (tx) => {
        await tx.execute('INSERT INTO kept VALUES (1)')
        const [chunks, end] = open(tx.copyTo(phase.sql(scene)))
        await phase.reach(t, scene, chunks)
        await within(end())
        t.is(await within(tx.fetchVal('SELECT n FROM kept')), 1)
        await tx.transaction((inner) => inner.execute('INSERT INTO kept VALUES (2)'))
      })
      t.is(await scene.connection.fetchVal('SELECT count(*) FROM kept'), 2n)
    })
  }

  const bounded: Record<
    string,
    () => {
      options: CallOptions
      expire: () => Promise<void> | void
      check: (t: ExecutionContext, error: unknown) => void
    }
  > = {
    'a signal': () => {
      const abort = new AbortController()
      const reason = new Error('no longer wanted')
      return {
        options: { signal: abort.signal },
        expire: () => abort.abort(reason),
        check: (t, error) => t.is(error, reason),
      }
    },
    'its time': () => ({
      // It begins before the phase is reached.
      options: { timeoutMs: TIMEOUT_MS },
      expire: () => sleep(TIMEOUT_MS),
      check: (t, error) => t.true(error instanceof ConnectionTimeoutError, String(error)),
    }),
  }
  for (const [bound, make] of Object.entries(bounded)) {
    test.serial(
      `${name} ${bound} ends it with its error, and the connection goes on`,
      async (t) => {
        const scene = await copyScene(t)
        const { options, expire, check } = make()
        const chunks = scene.connection.copyTo(phase.sql(scene), options)[Symbol.asyncIterator]()
        const reached = await phase.reach(t, scene, chunks)
        await expire()
        check(t, await t.throwsAsync(drain(chunks, reached.read)))
        await goesOn(t, scene)
        t.deepEqual(await chunks.next(), { done: true, value: undefined })
      },
    )
  }

  test.serial(`${name} the end of its connection ends it`, async (t) => {
    const scene = await copyScene(t)
    const chunks = scene.connection.copyTo(phase.sql(scene))[Symbol.asyncIterator]()
    const { read } = await phase.reach(t, scene, chunks)
    await within(scene.connection.close())
    await t.throwsAsync(drain(chunks, read), { instanceOf: ConnectionClosedError })
    await using next = await scene.pool.connection()
    t.is(await next.fetchVal('SELECT pg_backend_pid()'), scene.processId)
  })

  test.serial(`${name} the end of its transaction ends it`, async (t) => {
    const scene = await copyScene(t)
    const tx = await scene.connection.begin()
    const chunks = tx.copyTo(phase.sql(scene))[Symbol.asyncIterator]()
    const { read } = await phase.reach(t, scene, chunks)
    await t.throwsAsync(tx.commit(), {
      instanceOf: ConnectionExecuteError,
      message: /A COPY is open/,
    })
    await within(tx.rollback())
    await t.throwsAsync(drain(chunks, read), { instanceOf: TransactionClosedError })
    await goesOn(t, scene)
  })

  if (phase.isSent) continue

  test.serial(`${name} the death of its backend ends it`, async (t) => {
    const scene = await copyScene(t)
    const chunks = scene.connection.copyTo(phase.sql(scene))[Symbol.asyncIterator]()
    const { read } = await phase.reach(t, scene, chunks)
    await scene.witness.terminate(scene.processId)
    const error = await t.throwsAsync(drain(chunks, read))
    t.true(
      error instanceof ConnectionClosedError ||
        (error instanceof DatabaseError && error.sqlState === '57P01'),
      String(error),
    )
    await t.throwsAsync(scene.connection.execute('SELECT 1'), { instanceOf: ConnectionClosedError })
  })

  test.serial(`${name} the end of its pool ends it`, async (t) => {
    const scene = await copyScene(t)
    const chunks = scene.connection.copyTo(phase.sql(scene))[Symbol.asyncIterator]()
    const { read } = await phase.reach(t, scene, chunks)
    await within(scene.pool.close({ timeoutMs: 100 }))
    await t.throwsAsync(drain(chunks, read), { instanceOf: ConnectionClosedError })
    await scene.witness.isGone(scene.processId)
  })
}

test.serial(
  'an error of the server in the middle is the reader’s, behind what came before',
  async (t) => {
    const scene = await copyScene(t)
    const sql = 'COPY (SELECT 1000 / (50000 - n) FROM generate_series(1, 100000) n) TO STDOUT'
    let bytes = 0
    const reading = async (stream: AsyncIterable<Uint8Array>) => {
      for await (const chunk of stream) bytes += chunk.length
    }
    for (const open of [
      (stream: CopyStream) => stream,
      (stream: CopyStream) => stream.readable(),
      (stream: CopyStream) => stream.stream as unknown as AsyncIterable<Uint8Array>,
    ]) {
      bytes = 0
      const error = await t.throwsAsync(reading(open(scene.connection.copyTo(sql))), {
        instanceOf: DatabaseError,
      })
      t.is(error.sqlState, '22012')
      t.true(bytes > 0)
      await goesOn(t, scene)
    }
    const missing = scene.connection.copyTo('COPY no_such_table TO STDOUT')
    await t.throwsAsync(reading(missing), { instanceOf: DatabaseError })
    await t.throwsAsync(
      scene.connection.transaction(async (tx) => {
        await reading(tx.copyTo(sql)).catch(() => {})
        t.is(scene.connection.transactionStatus, 'failed')
      }),
      { instanceOf: TransactionCommitError },
    )
  },
)

test.serial('a writer that fails ends the pipeline, and the connection goes on', async (t) => {
  const scene = await copyScene(t)
  const error = new Error('of the writer')
  let written = 0
  const failing = () =>
    new Writable({
      write(chunk: Buffer, _, done) {
        written += chunk.length
        done(written > 500_000 ? error : null)
      },
    })
  t.is(await t.throwsAsync(pipeline(scene.connection.copyTo(ENDLESS).readable(), failing())), error)
  await goesOn(t, scene)
  t.is(await t.throwsAsync(pipeline(scene.connection.copyTo(ENDLESS), failing())), error)
  await goesOn(t, scene)
})

test.serial('a loop that is left at its first chunk leaves no trace, however often', async (t) => {
  const scene = await copyScene(t)
  const { connection } = scene
  for (let round = 0; round < 50; round += 1) {
    for await (const chunk of connection.copyTo(ENDLESS)) {
      t.true(chunk.length > 0)
      break
    }
    t.is(await connection.fetchVal('SELECT $1::int4', [round]), round)
  }
  await connection.transaction(async (tx) => {
    for (let round = 0; round < 50; round += 1) {
      for await (const _ of tx.copyTo(ENDLESS)) break
      t.is(await tx.fetchVal('SELECT $1::int4', [round]), round)
    }
  })
  await goesOn(t, scene)
})

test.serial('a loop that throws ends it, and its error is the loop’s', async (t) => {
  const scene = await copyScene(t)
  const error = new Error('of the loop')
  const thrown = await t.throwsAsync(async () => {
    for await (const _ of scene.connection.copyTo(ENDLESS)) throw error
  })
  t.is(thrown, error)
  await goesOn(t, scene)
})

test.serial('a COPY that nobody reads any more ends when its stream is collected', async (t) => {
  const scene = await copyScene(t)
  await (async () => {
    const stream = scene.connection.copyTo(ENDLESS)
    await stream[Symbol.asyncIterator]().next()
  })()
  await t.throwsAsync(scene.connection.execute('SELECT 1'), { message: /A COPY is open/ })
  await waitFor(
    async () => {
      globalThis.gc!()
      return scene.connection.execute('SELECT 1').then(
        () => true,
        () => false,
      )
    },
    { what: 'the end of the COPY' },
  )
  await goesOn(t, scene)
})

test.serial('a commit does not wait for a COPY that nobody reads', async (t) => {
  const scene = await copyScene(t)
  let stream: CopyStream | undefined
  const outcome = scene.connection.transaction(async (tx) => {
    stream = tx.copyTo(ENDLESS)
    await stream[Symbol.asyncIterator]().next()
  })
  await t.throwsAsync(within(outcome), {
    instanceOf: TransactionCommitError,
    message: /still open/,
  })
  await goesOn(t, scene)
  await stream?.close()
})

test.serial('a callback that leaves a COPY unread gives its connection back', async (t) => {
  const { listener, pool } = await openListener(t, {}, { maxDbPoolSize: 1 })
  const channel = uniqueChannel()
  const kept: AsyncIterator<Buffer>[] = []
  await listener.addCallback(channel, async (connection) => {
    const chunks = connection.copyTo(ENDLESS)[Symbol.asyncIterator]()
    kept.push(chunks)
    await chunks.next()
  })
  await listener.startup()
  listener.listen()
  for (let round = 0; round < 3; round += 1) {
    await pool.notify(channel, String(round), { timeoutMs: 20_000 })
    await waitFor(() => kept.length > round, { what: 'the callback' })
    t.is(await pool.fetchVal('SELECT 1', [], { timeoutMs: 20_000 }), 1)
    await t.throwsAsync(drain(kept[round]!), { instanceOf: ConnectionClosedError })
  }
})

test.serial('what is closed before it is read is never begun', async (t) => {
  const scene = await copyScene(t)
  const stream = scene.connection.copyTo('COPY (SELECT 1 / 0) TO STDOUT')
  await using closed = stream
  await closed.close()
  const chunks = scene.connection.copyTo('COPY (SELECT 1 / 0) TO STDOUT')[Symbol.asyncIterator]()
  await chunks.return!()
  t.deepEqual(await chunks.next(), { done: true, value: undefined })
  await goesOn(t, scene)
})
