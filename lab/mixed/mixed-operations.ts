// The operations of `npm run mixed`: each runs by chance, judges its own outcome, and leaves no row behind.

import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type Connection,
  ConnectionClosedError,
  type ConnectionPool,
  ConnectionTimeoutError,
  DatabaseError,
  type Transaction,
  TransactionCommitError,
} from 'pglisten'

/** What an operation is given. */
export interface Turn {
  pool: ConnectionPool
  /** A connection that is there all the time, and whose backend nobody kills. */
  lasting: Connection
  /** The operation's own number. Its rows have the ids from `first` on. */
  number: number
  first: bigint
  /** An integer from 0 on, below `limit`. */
  below: (limit: number) => number
}

type Work = (turn: Turn, connection: Connection) => Promise<void>

/** Ids for one operation: more than any of them stores. */
export const IDS = 10_000n

const REASON = new Error('no longer wanted')
const UNDONE = new Error('undone')

async function fails(work: Promise<unknown>, expected: (error: unknown) => boolean): Promise<void> {
  let outcome: unknown
  try {
    outcome = await work
  } catch (error) {
    if (!expected(error)) throw new Error('Another error than expected', { cause: error })
    return
  }
  throw new Error(`Expected an error, got ${String(outcome)}`)
}

const withState = (sqlState: string) => (error: unknown) =>
  error instanceof DatabaseError && error.sqlState === sqlState

const stored = (connection: Connection | Transaction, { first }: Turn) =>
  connection.fetchVal<bigint>('SELECT count(*) FROM mixed WHERE id >= $1 AND id < $2', [
    first,
    first + IDS,
  ])

/** Removes the operation's rows, of which there must be so many. */
async function remove(connection: Connection, { first }: Turn, count: number): Promise<void> {
  const sql = 'DELETE FROM mixed WHERE id >= $(first)p AND id < $(end)p'
  const { rowCount } = await connection.execute(sql, { first, end: first + IDS })
  assert.equal(rowCount, count)
}

const INSERT = 'INSERT INTO mixed VALUES ($1, $2)'
const LINE = `${'x'.repeat(200)}\n`

/** Lines for a `COPY FROM STDIN`. */
function* lines({ first }: Turn, count: number): Generator<string> {
  for (let n = 0; n < count; n += 1) yield `${first + BigInt(n)}\t${LINE}`
}

/** A statement that is interrupted at some moment around its end: it gives its value, or the error. */
async function interrupted(
  run: () => Promise<unknown>,
  value: unknown,
  expected: (error: unknown) => boolean,
): Promise<void> {
  try {
    assert.deepEqual(await run(), value)
  } catch (error) {
    if (!expected(error)) throw error
  }
}

/** A signal that is aborted after some ms. */
function abortedSoon({ below }: Turn): AbortSignal {
  const abort = new AbortController()
  setTimeout(() => abort.abort(REASON), below(6))
  return abort.signal
}

export const WORKS: Record<string, { weight: number; work: Work }> = {
  'many types': {
    weight: 10,
    async work({ below }, connection) {
      const values = [
        below(1000),
        BigInt(below(1000)) * 10_000_000_000n,
        `text ${below(1000)} ‹ü›`,
        below(2) === 0,
        below(1000) / 8,
        new Date(below(2 ** 31) * 1000),
        Buffer.from([below(256), 0, below(256)]),
        { a: below(10), b: [null, 'x'] },
        [below(10), null, below(10)],
        null,
      ]
      const row = await connection.fetchRow(
        `SELECT $1::int4, $2::int8, $3::text, $4::bool, $5::float8, $6::timestamptz, $7::bytea, $8::jsonb,
           $9::int4[], $10::uuid`,
        values,
        { rowMode: 'array' },
      )
      assert.deepEqual(row, values)
    },
  },
  'named parameters': {
    weight: 6,
    async work({ below }, connection) {
      const [a, b] = [below(1000), below(1000)]
      const sql = 'SELECT $(a)p::int4 + $(b)p::int4 + $(a)p::int4'
      assert.equal(await connection.fetchVal(sql, { a, b }), 2 * a + b)
    },
  },
  'a statement of the pool': {
    weight: 6,
    async work({ pool, number }, connection) {
      assert.equal(await connection.fetchVal('SELECT 1'), 1)
      await connection.close()
      assert.equal(await pool.fetchVal('SELECT $1::int4', [number]), number)
    },
  },
  'a text of its own': {
    weight: 6,
    async work({ number, lasting }, connection) {
      for (const one of [connection, lasting]) {
        assert.deepEqual(await one.fetchRow(`SELECT ${number} AS n_${number}`), {
          [`n_${number}`]: number,
        })
      }
    },
  },
  'not prepared': {
    weight: 3,
    async work({ number }, connection) {
      const options = { prepared: false }
      assert.equal(await connection.fetchVal('SELECT $1::int4', [number], options), number)
      assert.equal(
        await connection.fetchRowOrNull('SELECT 1 WHERE $1::int4 < 0', [number], options),
        null,
      )
    },
  },
  prepared: {
    weight: 5,
    async work({ number, below }, connection) {
      const statement = await connection.prepare<{ n: number }>(
        `SELECT $1::int4 + ${number % 50} AS n`,
      )
      for (let times = below(4); times > 0; times -= 1)
        assert.deepEqual(await statement.fetchRow([times]), { n: times + (number % 50) })
      if (below(2) === 0) await statement.close()
    },
  },
  'statements that are not awaited': {
    weight: 5,
    async work({ below }, connection) {
      const numbers = Array.from({ length: 1 + below(20) }, (_, n) => n)
      const asked = numbers.map((n) => connection.fetchVal('SELECT $1::int4', [n]))
      assert.deepEqual(await Promise.all(asked), numbers)
    },
  },
  'a large result': {
    weight: 1,
    async work({ below }, connection) {
      const count = 1000 + below(4000)
      const rows = await connection.fetch(
        "SELECT n, 'row ' || n AS t FROM generate_series(1, $1) n",
        [count],
      )
      assert.equal(rows.length, count)
      assert.deepEqual(rows.at(-1), { n: count, t: `row ${count}` })
    },
  },
  errors: {
    weight: 5,
    async work(turn, connection) {
      await fails(connection.execute('SELECT 1 / 0'), withState('22012'))
      await fails(connection.execute('SELECT no_such_column'), withState('42703'))
      await connection.execute(INSERT, [turn.first, 'once'])
      await fails(connection.execute(INSERT, [turn.first, 'twice']), withState('23505'))
      await remove(connection, turn, 1)
    },
  },
  executeMany: {
    weight: 4,
    async work(turn, connection) {
      const count = 1 + turn.below(30)
      const sets = Array.from({ length: count }, (_, n) => [turn.first + BigInt(n), `${n}`])
      const isWrong = turn.below(3) === 0
      if (isWrong) {
        const twice = [...sets, [turn.first, 'twice']]
        await fails(connection.executeMany(INSERT, twice), withState('23505'))
      } else assert.equal(await connection.executeMany(INSERT, sets), count)
      await remove(connection, turn, isWrong ? 0 : count)
    },
  },
  pipeline: {
    weight: 6,
    async work(turn, connection) {
      const wrong = turn.below(3)
      const statements: (string | [string, unknown[]])[] = [
        [INSERT, [turn.first, 'a']],
        'SELECT 7 AS seven',
        [INSERT, [turn.first + 1n, 'b']],
      ]
      if (wrong > 0) {
        statements.splice(wrong, 0, 'SELECT 1 / 0')
        const index = (error: unknown) => (error as { statementIndex?: number }).statementIndex
        await fails(
          connection.pipeline(statements as string[]),
          (error) => withState('22012')(error) && index(error) === wrong,
        )
      } else {
        const [, seven] = await connection.pipeline(statements as string[])
        assert.deepEqual(seven?.[0], { seven: 7 })
      }
      await remove(connection, turn, wrong > 0 ? 0 : 2)
    },
  },
  'a cursor': {
    weight: 5,
    async work({ below }, connection) {
      const count = below(300)
      const stopAt = below(3) === 0 ? 1 + below(300) : Infinity
      const isFailing = below(6) === 0
      const sql = `SELECT CASE WHEN $2 AND n = $1 THEN n / (n - n) ELSE n END AS n FROM generate_series(1, $1) AS n`
      const cursor = connection.cursor<{ n: number }>(sql, [count, isFailing], {
        batchSize: 1 + below(100),
      })
      let read = 0
      try {
        for await (const { n } of cursor) {
          assert.equal(n, read + 1)
          read += 1
          if (read === stopAt) break
        }
        assert.equal(read, Math.min(count, stopAt))
      } catch (error) {
        if (!isFailing || !withState('22012')(error)) throw error
      }
      assert.equal(connection.transactionStatus, 'idle')
    },
  },
  'a transaction': {
    weight: 8,
    async work(turn, connection) {
      const insert = (tx: Transaction, n: number) =>
        tx.execute(INSERT, [turn.first + BigInt(n), 't'])
      const end = turn.below(4)
      const running = connection.transaction(async (tx) => {
        await insert(tx, 0)
        await tx.transaction((inner) => insert(inner, 1))
        await fails(
          tx.transaction(async (inner) => {
            await insert(inner, 2)
            if (turn.below(2) === 0) await inner.execute('SELECT 1 / 0')
            throw UNDONE
          }),
          (error) => error === UNDONE || withState('22012')(error),
        )
        assert.equal(await stored(tx as never, turn), 2n)
        if (end === 1) throw UNDONE
        if (end === 2) await tx.execute('SELECT 1 / 0').catch(() => {})
      })
      if (end === 1) await fails(running, (error) => error === UNDONE)
      else if (end === 2) await fails(running, (error) => error instanceof TransactionCommitError)
      else await running
      await remove(connection, turn, end === 1 || end === 2 ? 0 : 2)
    },
  },
  'begin, and its end': {
    weight: 4,
    async work(turn, connection) {
      const isCommitted = turn.below(2) === 0
      {
        const tx = await connection.begin({ isolationLevel: 'repeatableRead' })
        await tx.execute(INSERT, [turn.first, 'x'])
        await tx.createSavepoint('here')
        await tx.execute(INSERT, [turn.first + 1n, 'y'])
        await tx.rollbackToSavepoint('here')
        if (isCommitted) await tx.commit()
        else await tx.rollback()
      }
      await remove(connection, turn, isCommitted ? 1 : 0)
    },
  },
  'COPY from us': {
    weight: 5,
    async work(turn, connection) {
      const count = 1 + turn.below(500)
      const sql = 'COPY mixed FROM STDIN'
      const way = turn.below(6)
      const source = async function* () {
        let n = 0
        const stopAt = turn.below(count)
        for (const line of lines(turn, count)) {
          if (way === 1 && n === stopAt) throw UNDONE
          yield way === 2 && n === stopAt ? 'nonsense\n' : line
          if (way === 3 && n === stopAt) await sleep(5)
          n += 1
        }
      }
      let rows = 0
      if (way === 1) await fails(connection.copyFrom(sql, source()), (error) => error === UNDONE)
      else if (way === 2) await fails(connection.copyFrom(sql, source()), withState('22P02'))
      else if (way === 3)
        await connection.copyFrom(sql, source(), { signal: abortedSoon(turn) }).then(
          (copied) => (rows = copied),
          (error: unknown) => assert.equal(error, REASON),
        )
      else if (way === 4)
        await fails(
          connection.copyFrom('COPY no_such_table FROM STDIN', source()),
          withState('42P01'),
        )
      else rows = await connection.copyFrom(sql, source())
      await remove(connection, turn, rows)
    },
  },
  copyRecordsToTable: {
    weight: 4,
    async work(turn, connection) {
      const count = 1 + turn.below(300)
      const isWrong = turn.below(4) === 0
      function* records() {
        for (let n = 0; n < count; n += 1)
          yield [turn.first + BigInt(n), n % 3 === 0 ? null : `${n}`]
        if (isWrong) throw UNDONE
      }
      const copying = connection.copyRecordsToTable('mixed', records())
      if (isWrong) await fails(copying, (error) => error === UNDONE)
      else assert.equal(await copying, count)
      await remove(connection, turn, isWrong ? 0 : count)
    },
  },
  'COPY to us': {
    weight: 5,
    async work(turn, connection) {
      const count = turn.below(3) === 0 ? 20_000 : turn.below(500)
      const stream = connection.copyTo(
        `COPY (SELECT repeat('x', 200) FROM generate_series(1, ${count})) TO STDOUT`,
      )
      const stopAt = turn.below(2) === 0 ? turn.below(6) : Infinity
      let [chunks, bytes] = [0, 0]
      if (stopAt === 0) await stream.close()
      else {
        for await (const chunk of stream) {
          chunks += 1
          bytes += chunk.length
          if (chunks === stopAt) break
        }
        if (chunks < stopAt) {
          assert.equal(bytes, count * LINE.length)
          assert.equal(stream.rowCount, count)
        }
      }
      assert.equal(await connection.fetchVal('SELECT 1'), 1)
    },
  },
  aborted: {
    weight: 6,
    async work(turn, connection) {
      const signal = abortedSoon(turn)
      await interrupted(
        () => connection.fetchVal('SELECT 7 FROM pg_sleep($1)', [turn.below(6) / 1000], { signal }),
        7,
        (error) => error === REASON,
      )
      assert.equal(await connection.fetchVal('SELECT $1::int4', [turn.number]), turn.number)
    },
  },
  late: {
    weight: 6,
    async work(turn, connection) {
      const timeoutMs = turn.below(6)
      const isLate = (error: unknown) => error instanceof ConnectionTimeoutError
      const seconds = turn.below(6) / 1000
      if (turn.below(2) === 0) {
        await interrupted(
          () => connection.fetchVal('SELECT 7 FROM pg_sleep($1)', [seconds], { timeoutMs }),
          7,
          isLate,
        )
      } else {
        let isCommitted = true
        await connection
          .transaction(
            async (tx) => {
              await tx.execute(INSERT, [turn.first, 'late'])
              await tx.execute('SELECT pg_sleep($1)', [seconds])
            },
            { timeoutMs },
          )
          .catch((error: unknown) => {
            if (!isLate(error)) throw error
            isCommitted = false
          })
        await remove(connection, turn, isCommitted ? 1 : 0)
      }
      assert.equal(await connection.fetchVal('SELECT $1::int4', [turn.number]), turn.number)
    },
  },
  'a backend that is killed': {
    weight: 1,
    async work(turn, connection) {
      const { processId } = connection.info
      const isEnded = (error: unknown) =>
        error instanceof ConnectionClosedError || withState('57P01')(error)
      const work = [
        () => connection.execute('SELECT pg_sleep(60)'),
        () =>
          connection.transaction(async (tx) => {
            await tx.execute(INSERT, [turn.first, 'killed'])
            await tx.execute('SELECT pg_sleep(60)')
          }),
        () => connection.copyFrom('COPY mixed FROM STDIN', forever()),
        async () => {
          const sql =
            "COPY (SELECT repeat('x', 1000) FROM (SELECT generate_series(1, 1000000)) n) TO STDOUT"
          for await (const _ of connection.copyTo(sql)) await sleep(1)
        },
      ][turn.below(4)]!
      const state = { isOver: false }
      async function* forever() {
        while (!state.isOver) {
          yield LINE.slice(0, 100)
          await sleep(2)
        }
      }
      const failing = fails(work(), isEnded).finally(() => (state.isOver = true))
      failing.catch(() => {})
      await sleep(turn.below(10))
      await turn.pool.execute('SELECT pg_terminate_backend($1)', [processId])
      await failing
      await fails(connection.fetchVal('SELECT 1'), isEnded)
      assert.equal(
        await turn.pool.fetchVal('SELECT count(*) FROM mixed WHERE id = $1', [turn.first]),
        0n,
      )
    },
  },
}
