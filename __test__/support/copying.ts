// COPYs that are held up in the phase that a test wants to meet them in.

import type { ExecutionContext } from 'ava'
import type { Connection, ConnectionPool } from 'pglisten'
import { openPool } from './connect.js'
import { witness as sharedWitness } from './listener.js'
import { uniqueName } from '../../lab/unique-name.js'
import { waitFor } from '../../lab/wait.js'
import type { ServerWitness, WitnessSession } from '../../lab/witness.js'

export interface Scene {
  pool: ConnectionPool
  connection: Connection
  processId: number
  table: string
  witness: ServerWitness
  /** Waits until the server's side of the connection waits for this. */
  waits(event: string): Promise<void>
  /** How many rows are stored. */
  stored(): Promise<bigint>
}

/** A connection of its own, a table that others see too, and a witness. */
export async function copyScene(t: ExecutionContext): Promise<Scene> {
  const pool = await openPool(t, { maxDbPoolSize: 1 })
  const connection = await pool.connection()
  const witness = await sharedWitness()
  const table = uniqueName('copied')
  await witness.run(`CREATE TABLE ${table} (n int4, s text)`)
  t.teardown(async () => {
    await connection.close()
    await witness.run(`DROP TABLE ${table}`)
  })
  const { processId } = connection.info
  const waits = async (event: string) => {
    const sql = 'SELECT wait_event FROM pg_stat_activity WHERE pid = $1'
    await waitFor(async () => (await witness.ask<string | null>(sql, [processId])) === event, {
      what: `the wait for ${event}`,
    })
  }
  const stored = () => witness.ask<bigint>(`SELECT count(*) FROM ${table}`)
  return { pool, connection, processId, table, witness, waits, stored }
}

/** Locks the table against everybody until the end of the test, or until what it gives is called. */
export async function lockTable(
  t: ExecutionContext,
  { witness, table }: Scene,
): Promise<() => Promise<void>> {
  const session: WitnessSession = await witness.session()
  await session.run(`BEGIN; LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE`)
  let isLocked = true
  const unlock = async () => {
    if (!isLocked) return
    isLocked = false
    await session.run('ROLLBACK')
    await session[Symbol.asyncDispose]()
  }
  t.teardown(unlock)
  return unlock
}

/** Lets the table's inserts sleep at their end, when all data has come. */
export async function sleepAfterData({ witness, table }: Scene): Promise<void> {
  await witness.run(`
    CREATE FUNCTION ${table}_sleep() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN PERFORM pg_sleep(60); RETURN NULL; END $$;
    CREATE TRIGGER sleeps AFTER INSERT ON ${table} EXECUTE FUNCTION ${table}_sleep()`)
}

/** More than sockets and buffers hold. Rows are made as they are sent; in `FROM` they would all be made first. */
export const ENDLESS = "COPY (SELECT generate_series(1, 100000000), repeat('x', 1000)) TO STDOUT"

/** Some data, and then nothing for a minute. */
export const PAUSING =
  "COPY (SELECT n::text FROM generate_series(1, 5000) n UNION ALL SELECT 'y' FROM pg_sleep(60)) TO STDOUT"

/** More than a reader is given at once, and less than sockets and buffers hold. */
export const ALL_SENT = "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 1000)) TO STDOUT"

/** Two chunks and a bit: that waits for the second one to be read, with the whole answer taken from the socket. */
export const ALL_HERE = "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 140)) TO STDOUT"
