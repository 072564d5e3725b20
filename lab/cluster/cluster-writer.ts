// Writes numbered rows through a proxy, one after the other, whatever becomes of the servers behind it. A trigger notifies each.

import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'

/** An INSERT, with the times between which it was committed if it was. */
export interface Attempt {
  n: number
  sentAt: number
  overAt: number
  /** The port of the server that took it; `undefined`: it was not confirmed. */
  port: number | undefined
}

export type Row = Record<'n', number>

const PAUSE_MS = 20
const DEADLINE_MS = 2000
/** Two for each server, in turn. */
const CONNECTIONS = 6
const START_DEADLINE_MS = 30_000

/** See the file. */
export class Writer {
  readonly #attempts: Attempt[] = []
  readonly #stopping = new AbortController()
  readonly #dsn: string
  #done = Promise.resolve()

  private constructor(dsn: string) {
    this.#dsn = dsn
  }

  /** A writer to a table that it makes, and whose trigger notifies each row, or publishes it too. */
  static async prepare(
    dsn: string,
    channel: string,
    { isPublished = false } = {},
  ): Promise<Writer> {
    const publish = isPublished ? `PERFORM pglisten.publish('${channel}', NEW.n::text);` : ''
    const deadline = Date.now() + START_DEADLINE_MS
    for (;;) {
      try {
        // At first a proxy takes every server for good.
        for (let tries = 0; tries < CONNECTIONS; tries += 1) await connectToPrimary(dsn)
        const client = await connect(dsn)
        await client.query(`
          CREATE TABLE rows (n int PRIMARY KEY);
          CREATE FUNCTION told() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_notify('${channel}', NEW.n::text); ${publish} RETURN NULL; END $$;
          CREATE TRIGGER told AFTER INSERT ON rows FOR EACH ROW EXECUTE FUNCTION told()`)
        await client.end()
        return new Writer(dsn)
      } catch (error) {
        if (Date.now() > deadline) throw error
        await sleep(200)
      }
    }
  }

  begin(): void {
    this.#done = this.#work()
  }

  /** The numbers that a server has confirmed. */
  committedOn(port: number): number[] {
    return this.#attempts.filter((attempt) => attempt.port === port).map(({ n }) => n)
  }

  async stop(): Promise<readonly Attempt[]> {
    this.#stopping.abort()
    await this.#done
    return this.#attempts
  }

  async #work(): Promise<void> {
    let client: Client | undefined
    for (let n = 1; !this.#stopping.signal.aborted; n += 1) {
      const attempt: Attempt = { n, sentAt: Date.now(), overAt: 0, port: undefined }
      this.#attempts.push(attempt)
      try {
        client ??= await connect(this.#dsn)
        const { rows } = await client.query<{ port: string }>(
          "INSERT INTO rows VALUES ($1) RETURNING current_setting('port') AS port",
          [n],
        )
        attempt.port = Number(rows[0]?.port)
      } catch {
        // Whether it was committed the table tells.
        const broken = client
        client = undefined
        void broken?.end().catch(() => {})
      }
      attempt.overAt = Date.now()
      await sleep(PAUSE_MS)
    }
    await client?.end()
  }
}

async function connectToPrimary(dsn: string): Promise<void> {
  const client = await connect(dsn)
  try {
    const { rows } = await client.query<{ is: boolean }>('SELECT pg_is_in_recovery() AS is')
    if (rows[0]?.is) throw new Error('the proxy leads to a standby')
  } finally {
    await client.end()
  }
}

async function connect(dsn: string): Promise<Client> {
  const client = new Client({
    connectionString: dsn,
    connectionTimeoutMillis: DEADLINE_MS,
    query_timeout: DEADLINE_MS,
  })
  client.on('error', () => {})
  await client.connect()
  return client
}
