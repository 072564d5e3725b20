// What a connection may be in the middle of when a fault strikes, by name: how it gets there, and how it goes on.

import type { CallOptions, Connection, Cursor, Transaction } from 'pglisten'
import type { Arena } from './arena.js'
import { type Deferred, deferred, waitFor } from '../wait.js'

/** The lock that everything waits for which calls `strike()`. A session of the superuser holds it. */
export const LOCK = 4711

/** The setting that makes `strike()` fail instead of waiting. */
export const FAILING = '-c test.strike=fails'

/** An error of `strike()` where it fails. */
export const STRUCK = '22012'

/** A connection of its own for each operation. */
export interface Scene {
  connection: Connection
  /** The bounds of the operation. */
  bounds: CallOptions
  /** Whether `strike()` fails, and with it the operation. */
  isFailing: boolean
  /** Resolves once the backend waits for this. */
  waits(event: string): Promise<unknown>
}

/** An operation that has begun. */
export interface Underway {
  /** Resolves when the operation is where the fault is to strike, or has ended before. */
  reached: Promise<unknown>
  /** How the operation ends. An operation between two statements goes on when this is called. */
  end(): Promise<unknown>
  /** Lets a source that keeps the server waiting go on. */
  release?(): void
}

export interface Operation {
  name: string
  /** Whether the server waits for the client, so that nothing runs while the fault strikes. */
  isIdle?: true
  begin(scene: Scene): Promise<Underway>
}

/** Creates what the operations use. */
export async function createObjects(arena: Arena): Promise<void> {
  await arena.direct.run(`
    CREATE TABLE effects (what text, n int4);
    CREATE TABLE copied (n int4);
    CREATE TABLE deferred (what text);
    CREATE FUNCTION strike(n int4) RETURNS int4 LANGUAGE plpgsql AS $$
      BEGIN
        IF n < 3 THEN RETURN n; END IF;
        IF current_setting('test.strike', true) = 'fails' THEN RAISE division_by_zero; END IF;
        PERFORM pg_advisory_xact_lock_shared(${LOCK});
        RETURN n;
      END $$;
    CREATE FUNCTION striking() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN PERFORM strike(3); RETURN NULL; END $$;
    CREATE TRIGGER at_work AFTER INSERT ON copied EXECUTE FUNCTION striking();
    CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON deferred DEFERRABLE INITIALLY DEFERRED
      FOR EACH ROW EXECUTE FUNCTION striking();
    GRANT ALL ON effects, copied, deferred TO PUBLIC`)
}

/** What has taken effect of the operations of the present test, by their names. It is forgotten then. */
export async function takeEffects(arena: Arena): Promise<string[]> {
  const sql = `
    SELECT coalesce(array_agg(DISTINCT what ORDER BY what), '{}') FROM (
      SELECT what FROM effects UNION ALL SELECT what FROM deferred UNION ALL SELECT 'copied' FROM copied) AS all_of_them`
  const effects = await arena.direct.ask<string[]>(sql)
  await arena.direct.run('TRUNCATE effects, copied, deferred')
  return effects
}

const insert = (what: string, n: number | '$1') =>
  `INSERT INTO effects SELECT '${what}', strike(${n})`

/** An operation that the server is at work on. */
function running(scene: Scene, outcome: Promise<unknown>): Underway {
  const ended = outcome.then(
    () => {},
    () => {},
  )
  const waiting = scene.waits('advisory')
  waiting.catch(() => {})
  return { reached: Promise.race([waiting, ended]), end: () => outcome }
}

/** An operation between two statements. */
function idle(scene: Scene, end: () => Promise<unknown>): Underway {
  return { reached: scene.waits('ClientRead'), end }
}

/** Rows in text, a pause, and more rows. */
async function* rows(first: string, pause: Promise<unknown>, second: string) {
  yield first
  await pause
  yield second
}

const read = async (chunks: AsyncIterator<Uint8Array>) => {
  while (!(await chunks.next()).done) continue
}

/** Fetches two rows by a cursor whose next fetch is struck. */
async function halfRead({ connection, bounds }: Scene, column: string): Promise<Cursor> {
  const cursor = connection.cursor(`SELECT ${column} FROM generate_series(1, 9) AS n`, [], {
    batchSize: 2,
    ...bounds,
  })
  await cursor.fetch()
  return cursor
}

/** Fetches on, and closes the cursor, however that ends. */
async function fetchOn(cursor: Cursor): Promise<void> {
  try {
    await cursor.fetch()
  } finally {
    await cursor.close()
  }
}

async function goOn(tx: Transaction, sql: string): Promise<void> {
  try {
    await tx.execute(sql)
  } finally {
    await tx[Symbol.asyncDispose]()
  }
}

export const OPERATIONS: readonly Operation[] = [
  {
    name: 'statement',
    async begin(scene) {
      const options = { prepared: false, ...scene.bounds }
      return running(scene, scene.connection.execute(insert('statement', 3), [], options))
    },
  },
  {
    name: 'prepared statement',
    async begin(scene) {
      const statement = await scene.connection.prepare(insert('prepared', '$1'))
      return running(scene, statement.execute([3], scene.bounds))
    },
  },
  {
    name: 'pipeline',
    async begin(scene) {
      const statements = [1, 3, 1].map((n) => insert('pipeline', n))
      return running(scene, scene.connection.pipeline(statements, scene.bounds))
    },
  },
  {
    name: 'executeMany',
    async begin(scene) {
      const sql = insert('many', '$1')
      return running(scene, scene.connection.executeMany(sql, [[1], [3], [1]], scene.bounds))
    },
  },
  {
    name: 'executeBatch',
    async begin(scene) {
      const sql = `${insert('batch', 1)}; ${insert('batch', 3)}; ${insert('batch', 1)}`
      return running(scene, scene.connection.executeBatch(sql, [], scene.bounds))
    },
  },
  {
    name: 'cursor, during a fetch',
    async begin(scene) {
      return running(scene, fetchOn(await halfRead(scene, 'strike(n)')))
    },
  },
  {
    name: 'cursor, between fetches',
    isIdle: true,
    async begin(scene) {
      const cursor = await halfRead(scene, scene.isFailing ? 'strike(n)' : 'n')
      return idle(scene, () => fetchOn(cursor))
    },
  },
  {
    name: 'COPY from us, which waits for its source',
    async begin(scene) {
      const more: Deferred = deferred()
      const source = rows(
        'source\t1\n',
        more.promise,
        scene.isFailing ? 'nonsense\n' : 'source\t2\n',
      )
      const copy = scene.connection.copyFrom('COPY effects FROM STDIN', source, scene.bounds)
      copy.catch(() => {})
      return {
        reached: scene.waits('ClientRead'),
        end: () => copy,
        release: () => more.resolve(),
      }
    },
  },
  {
    name: 'COPY from us, all of which has come',
    async begin(scene) {
      const sql = 'COPY copied FROM STDIN'
      return running(scene, scene.connection.copyFrom(sql, '1\n2\n', scene.bounds))
    },
  },
  {
    name: 'copyRecordsToTable',
    async begin({ connection, bounds, ...scene }) {
      const copy = connection.copyRecordsToTable('copied', [[1], [2]], bounds)
      return running({ connection, bounds, ...scene }, copy)
    },
  },
  {
    name: 'COPY to us, which waits for the server',
    async begin(scene) {
      const sql = `COPY (
        SELECT repeat('x', 1000), strike(n - 1000) FROM generate_series(1, 2000) AS n) TO STDOUT`
      const stream = scene.connection.copyTo(sql, scene.bounds)
      return running(scene, read(stream[Symbol.asyncIterator]()))
    },
  },
  {
    name: 'COPY to us, which waits for its reader',
    isIdle: true,
    async begin(scene) {
      const rowsOf = scene.isFailing ? 'strike(n - 1000)' : 'n'
      // Rows are made as they are sent; in `FROM` they would all be made first.
      const sql = `COPY (
        SELECT repeat('x', 1000), ${rowsOf} FROM (SELECT generate_series(1, 100000) AS n) AS ns) TO STDOUT`
      const chunks = scene.connection.copyTo(sql, scene.bounds)[Symbol.asyncIterator]()
      await chunks.next()
      return { reached: scene.waits('ClientWrite'), end: () => read(chunks) }
    },
  },
  {
    name: 'statement of a transaction',
    async begin(scene) {
      const work = async (tx: Transaction) => {
        await tx.execute(insert('tx', 1))
        await tx.execute(insert('tx', 3))
      }
      return running(scene, scene.connection.transaction(work, scene.bounds))
    },
  },
  {
    name: 'statement of a nested transaction',
    async begin(scene) {
      const work = async (tx: Transaction) => {
        await tx.execute(insert('outer', 1))
        await tx.transaction((inner) => inner.execute(insert('nested', 3)), scene.bounds)
      }
      return running(scene, scene.connection.transaction(work))
    },
  },
  {
    name: 'transaction, between statements',
    isIdle: true,
    async begin(scene) {
      const tx = await scene.connection.begin(scene.bounds)
      await tx.execute(insert('idle', 1))
      return idle(scene, async () => {
        if (scene.bounds.timeoutMs !== undefined) await waitFor(() => tx.isEnded)
        await goOn(tx, scene.isFailing ? 'SELECT strike(3)' : 'SELECT 1')
      })
    },
  },
  {
    name: 'COMMIT',
    async begin(scene) {
      const work = (tx: Transaction) => tx.execute("INSERT INTO deferred VALUES ('commit')")
      return running(scene, scene.connection.transaction(work, scene.bounds))
    },
  },
]
