// The other side of every test: notifies, observes the server and ends sessions, all through `pg`. A package that
// notified and observed itself would hide a defect that both of its sides share.

import {
  Pool,
  types as pgTypes,
  type CustomTypesConfig,
  type PoolClient,
  type QueryResult,
} from 'pg'
import { waitFor } from './wait.js'

const MAX_SESSIONS = 16

/** `int8` as a bigint, so that nothing is rounded; every other type as `pg` reads it. */
const types: CustomTypesConfig = {
  getTypeParser: (oid, format) =>
    oid === pgTypes.builtins.INT8 && format !== 'binary'
      ? BigInt
      : pgTypes.getTypeParser(oid, format),
}

export interface FloodOptions {
  width?: number
}

/** A width close to the longest payload that the server takes. A few thousand of them fill the buffers of both sockets. */
export const LONG = 7900

/** What the sessions of a witness can do. */
abstract class Statements {
  protected abstract query(
    sql: string,
    params?: unknown[],
  ): Promise<QueryResult<Record<string, unknown>>>

  /** Commits one notification. */
  async notify(channel: string, payload = ''): Promise<void> {
    await this.ask('SELECT pg_notify($1, $2)', [channel, payload])
  }

  /**
   * Notifies the numbers from `from` to `to` in one transaction, each padded with zeros to `width` characters: whoever
   * gets them can tell which of them are missing.
   */
  async flood(
    channel: string,
    from: number,
    to: number,
    { width = 1 }: FloodOptions = {},
  ): Promise<void> {
    await this.ask(
      `SELECT count(pg_notify($1, lpad(n::text, greatest($4::int4, length(n::text)), '0')))
       FROM generate_series($2::int4, $3::int4) AS n`,
      [channel, from, to, width],
    )
  }

  /** Runs one statement, and gives the first value of its first row. */
  async ask<Value>(sql: string, params: readonly unknown[] = []): Promise<Value> {
    const row = await this.row<Record<string, unknown> | undefined>(sql, params)
    return Object.values(row ?? {})[0] as Value
  }

  /** Runs one statement, and gives its first row. */
  async row<Row>(sql: string, params: readonly unknown[] = []): Promise<Row> {
    const { rows } = await this.query(sql, [...params])
    return rows[0] as Row
  }

  /** Runs several statements in one go. */
  async run(sql: string): Promise<void> {
    await this.query(sql)
  }
}

/** One session of a witness. A statement is on its way to the server when the call returns. */
export class WitnessSession extends Statements {
  readonly processId: number
  readonly #client: PoolClient

  constructor(client: PoolClient, processId: number) {
    super()
    this.#client = client
    this.processId = processId
  }

  protected override query(sql: string, params?: unknown[]) {
    return this.#client.query<Record<string, unknown>>(sql, params)
  }

  /** Ends the session on the server too. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#client.release(true)
  }
}

/** Sessions of a server's administrator, opened when they are needed. */
export class ServerWitness extends Statements {
  readonly #pool: Pool

  /** `database` has precedence over the DSN's. */
  constructor(dsn: string, database?: string) {
    super()
    const url = new URL(dsn)
    if (database !== undefined) url.pathname = `/${database}`
    this.#pool = new Pool({
      connectionString: url.href,
      application_name: 'witness',
      max: MAX_SESSIONS,
      allowExitOnIdle: true,
      idleTimeoutMillis: 0,
      types,
    })
    // The pool drops a session that ends while nobody uses it, and opens another one.
    this.#pool.on('error', () => {})
  }

  protected override query(sql: string, params?: unknown[]) {
    return this.#pool.query<Record<string, unknown>>(sql, params)
  }

  /** A session of its own. */
  async session(): Promise<WitnessSession> {
    const client = await this.#pool.connect()
    // A session that the test ends fails its statements; the event says the same once more.
    client.on('error', () => {})
    const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
    return new WitnessSession(client, rows[0]!.pid)
  }

  /** How many server sessions have that application name. */
  async sessions(applicationName: string): Promise<number> {
    return this.ask('SELECT count(*)::int4 FROM pg_stat_activity WHERE application_name = $1', [
      applicationName,
    ])
  }

  /** Ends a server session, as an administrator or a crash would. */
  async terminate(processId: number): Promise<void> {
    await this.ask('SELECT pg_terminate_backend($1)', [processId])
  }

  /** Resolves when a backend has ended. */
  async isGone(processId: number): Promise<void> {
    const sql = 'SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)'
    await waitFor(() => this.ask<boolean>(sql, [processId]), {
      what: `the end of backend ${processId}`,
    })
  }

  async close(): Promise<void> {
    await this.#pool.end()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}
