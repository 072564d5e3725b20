// Publishers of every kind, and what they know of their events: when each was begun, and when its commit was answered.

import { Pool, type PoolClient } from 'pg'
import { ConnectionPool } from 'pglisten'
import { uniqueName } from '../unique-name.js'

/** An event that is committed. */
export interface Committed {
  payload: string
  /** When it was begun to publish it, by the clock of the process, in milliseconds. */
  began: number
  /** When its commit was answered. */
  answered: number
}

const CHANNEL = 'torture'
/** So many events say something, also where a busy machine takes longer for them. */
const ENOUGH = 600
const wait = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))
const upTo = (most: number) => Math.floor(Math.random() * most)

/** Whether the server is away, was restarted, or has ended the session. */
function isOutage(error: unknown): boolean {
  const {
    code = '',
    sqlState,
    message,
  } = error as {
    code?: string
    sqlState?: string
    message: string
  }
  return (
    /^(57P0|08|ECONN|EPIPE|ERR_PGLISTEN_CONN)/.test(sqlState ?? code) ||
    /^Connection terminated|^Client has encountered a connection error/.test(message)
  )
}

/** Publishes in all ways at once. */
export class Writers {
  readonly committed: Committed[] = []
  /** Events of transactions in which the server went away: the table of events knows whether they are committed. */
  readonly #doubtful: Committed[] = []
  /** Transactions that are prepared, and whose end nobody has answered yet. */
  readonly #prepared = new Set<string>()
  readonly channel = CHANNEL
  /** The channel of a trigger on one row, whose payloads are a counter. */
  readonly counterChannel = 'counter'
  readonly #pool: Pool
  /** For COPY, which the other client has not. */
  readonly #copies: ConnectionPool
  readonly #table = uniqueName('counter')
  readonly #hasTwoPhase: boolean
  #count = 0
  /** Whether nothing new is begun, because who reads is too far behind. */
  isHeld = false
  #isOver = false
  /** What failed that must not. */
  readonly errors: unknown[] = []

  constructor(dsn: string, hasTwoPhase: boolean) {
    this.#pool = new Pool({ connectionString: dsn, max: 40 })
    this.#pool.on('error', () => {})
    // A session that ends while it is used fails its statement as well.
    this.#pool.on('connect', (client) => client.on('error', () => {}))
    this.#copies = new ConnectionPool({ dsn, maxDbPoolSize: 2 })
    this.#hasTwoPhase = hasTwoPhase
  }

  async prepare(): Promise<void> {
    await this.#pool.query(`
      CREATE TABLE ${this.#table} (id int PRIMARY KEY, n int NOT NULL);
      INSERT INTO ${this.#table} VALUES (1, 0);
      CREATE FUNCTION ${this.#table}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pglisten.publish('counter', NEW.n::text, 'counter'); RETURN NEW; END $$;
      CREATE TRIGGER publish AFTER UPDATE ON ${this.#table} FOR EACH ROW EXECUTE FUNCTION ${this.#table}()`)
  }

  /** Publishes for so long, and until there are enough events. */
  async run(ms: number): Promise<void> {
    const end = performance.now() + ms
    const ways = [
      () => this.#single(),
      () => this.#several(),
      () => this.#rolledBack(),
      () => this.#withSavepoints(3),
      () => this.#withSavepoints(80),
      () => this.#repeatableRead(),
      () => this.#plainInsert(),
      () => this.#copied(),
      () => this.#withDdl(),
      () => this.#counted(),
      () => this.#counted(),
      () => this.#single(),
      ...(this.#hasTwoPhase ? [() => this.#inTwoPhases()] : []),
    ]
    const loops = ways.map(async (way) => {
      while (performance.now() < end || this.committed.length < ENOUGH) await this.#attempt(way)
    })
    const open = async (share: number) => {
      const until = performance.now() + ms * share
      // It begins again when it has lost its session.
      while (performance.now() < until) await this.#attempt(() => this.#long(until))
    }
    // One is open for most of the time, and one all the time.
    await Promise.all([...loops, open(0.6), open(1)])
    await this.#settle()
    this.#isOver = true
  }

  /** Runs a way once. Where the server is away the next attempt waits a little. */
  async #attempt(way: () => Promise<void>): Promise<void> {
    if (this.isHeld) return wait(20)
    try {
      await way()
    } catch (error) {
      if (!isOutage(error)) this.errors.push(error)
      await wait(20 + upTo(30))
    }
  }

  /** Ends what was prepared, and asks which events of doubtful transactions are there. */
  async #settle(): Promise<void> {
    const deadline = performance.now() + 30_000
    for (;;) {
      try {
        for (const name of this.#prepared) {
          const { rowCount } = await this.#pool.query(
            'SELECT FROM pg_prepared_xacts WHERE gid = $1',
            [name],
          )
          if (rowCount === 1) await this.#pool.query(`COMMIT PREPARED '${name}'`)
          this.#prepared.delete(name)
        }
        const { rows } = await this.#pool.query<{ payload: string }>(
          'SELECT payload FROM pglisten.event WHERE payload = ANY ($1::text[])',
          [this.#doubtful.map(({ payload }) => payload)],
        )
        const there = new Set(rows.map(({ payload }) => payload))
        // The counter's number of an update that was undone is given again.
        for (const { payload } of this.committed) there.delete(payload)
        this.committed.push(...this.#doubtful.filter(({ payload }) => there.delete(payload)))
        return
      } catch (error) {
        if (!isOutage(error) || performance.now() > deadline) throw error
        await wait(50)
      }
    }
  }

  async close(): Promise<void> {
    await Promise.all([this.#pool.end(), this.#copies.close()])
  }

  get isOver(): boolean {
    return this.#isOver
  }

  #next(): string {
    this.#count += 1
    return `event ${this.#count}`
  }

  async #publish(client: PoolClient, into: Committed[], bell = true): Promise<void> {
    const payload = this.#next()
    const began = performance.now()
    await this.#send(client, payload, bell)
    into.push({ payload, began, answered: Infinity })
  }

  async #send(client: PoolClient, payload: string, bell = true): Promise<void> {
    const params = [CHANNEL, payload, `key ${upTo(10)}`, bell]
    await client.query('SELECT pglisten.publish($1, $2, $3, $4)', params)
  }

  /** Runs a transaction whose events count once its commit is answered. */
  async #transaction(
    begin: string,
    commit: string,
    work: (client: PoolClient, events: Committed[]) => Promise<void>,
  ): Promise<void> {
    await this.#session(async (client, events) => {
      await client.query(begin)
      await work(client, events)
      await client.query(commit)
      if (commit === 'COMMIT') this.#answered(events)
    })
  }

  /** Lends a session, which is closed when something fails; then its events are doubtful. */
  async #session(work: (client: PoolClient, events: Committed[]) => Promise<void>): Promise<void> {
    const client = await this.#pool.connect()
    const events: Committed[] = []
    try {
      await work(client, events)
      client.release()
    } catch (error) {
      client.release(true)
      this.#doubtful.push(...events)
      throw error
    }
  }

  #answered(events: readonly Committed[]): void {
    const answered = performance.now()
    for (const event of events) this.committed.push({ ...event, answered })
  }

  async #single(): Promise<void> {
    await this.#session(async (client, events) => {
      const payload = this.#next()
      const event = { payload, began: performance.now(), answered: Infinity }
      // It may be committed although its answer is lost.
      events.push(event)
      await this.#send(client, payload)
      this.#answered(events)
    })
    await wait(upTo(4))
  }

  async #several(): Promise<void> {
    await this.#transaction('BEGIN', 'COMMIT', async (client, events) => {
      for (let n = upTo(5); n >= 0; n -= 1) {
        await this.#publish(client, events)
        await wait(upTo(8))
      }
    })
  }

  async #rolledBack(): Promise<void> {
    await this.#transaction('BEGIN', 'ROLLBACK', async (client, events) => {
      for (let n = upTo(4); n >= 0; n -= 1) await this.#publish(client, events)
      await wait(upTo(10))
    })
  }

  async #withSavepoints(count: number): Promise<void> {
    await this.#transaction('BEGIN', 'COMMIT', async (client, events) => {
      for (let n = 0; n < count; n += 1) {
        const some: Committed[] = []
        await client.query('SAVEPOINT s')
        await this.#publish(client, some)
        if (upTo(3) === 0) await client.query('ROLLBACK TO s')
        else {
          await client.query('RELEASE s')
          events.push(...some)
        }
      }
    })
    await wait(upTo(20))
  }

  async #repeatableRead(): Promise<void> {
    await this.#transaction(
      'BEGIN ISOLATION LEVEL REPEATABLE READ',
      'COMMIT',
      async (client, events) => {
        await client.query('SELECT 1')
        await wait(upTo(30))
        await this.#publish(client, events)
      },
    )
  }

  /** COPY, whose rows ring no bell. */
  async #copied(): Promise<void> {
    const payloads = Array.from({ length: 1 + upTo(10) }, () => this.#next())
    const events = payloads.map((payload) => ({
      payload,
      began: performance.now(),
      answered: Infinity,
    }))
    try {
      const connection = await this.#copies.connection()
      try {
        await connection.transaction(async (tx) => {
          await tx.copyRecordsToTable(
            'event',
            payloads.map((payload) => [CHANNEL, payload, payload]),
            { schema: 'pglisten', columns: ['channel', 'payload', 'key'] },
          )
          await wait(upTo(10))
        })
      } finally {
        await connection.close()
      }
      this.#answered(events)
    } catch (error) {
      this.#doubtful.push(...events)
      throw error
    }
    await wait(upTo(50))
  }

  /** DDL before an event: the transaction has locks and an id of its own early. */
  async #withDdl(): Promise<void> {
    const table = uniqueName('ddl')
    await this.#transaction('BEGIN', 'COMMIT', async (client, events) => {
      await client.query(`CREATE TABLE ${table} (n int)`)
      await wait(upTo(10))
      await this.#publish(client, events)
      await client.query(`DROP TABLE ${table}`)
    })
    await wait(upTo(100))
  }

  /** Rows without a bell. */
  async #plainInsert(): Promise<void> {
    await this.#transaction('BEGIN', 'COMMIT', async (client, events) => {
      const payloads = Array.from({ length: 1 + upTo(20) }, () => this.#next())
      const began = performance.now()
      await client.query(
        `INSERT INTO pglisten.event (channel, payload, key) SELECT $1, p, p FROM unnest($2::text[]) AS p`,
        [CHANNEL, payloads],
      )
      for (const payload of payloads) events.push({ payload, began, answered: Infinity })
      await wait(upTo(10))
    })
    await wait(upTo(50))
  }

  /** An update of one row for which many wait: its trigger publishes the counter. */
  async #counted(): Promise<void> {
    await this.#transaction('BEGIN', 'COMMIT', async (client, events) => {
      // Something of its own first: its transaction has an id before it has the row.
      if (upTo(2) === 0) {
        await this.#publish(client, events)
        await wait(upTo(5))
      }
      const began = performance.now()
      const { rows } = await client.query<{ n: number }>(
        `UPDATE ${this.#table} SET n = n + 1 WHERE id = 1 RETURNING n`,
      )
      events.push({ payload: String(rows[0]!.n), began, answered: Infinity })
      await wait(upTo(3))
    })
  }

  async #inTwoPhases(): Promise<void> {
    const name = uniqueName('gid')
    await this.#session(async (client, events) => {
      await client.query('BEGIN')
      await this.#publish(client, events, false)
      this.#prepared.add(name)
      await client.query(`PREPARE TRANSACTION '${name}'`)
      await wait(upTo(300))
      await client.query(`COMMIT PREPARED '${name}'`)
      this.#prepared.delete(name)
      this.#answered(events)
    })
  }

  /** One transaction that is open until then, with events at its beginning and its end. */
  async #long(until: number): Promise<void> {
    await this.#transaction('BEGIN', 'COMMIT', async (client, events) => {
      await this.#publish(client, events)
      // It asks now and then, and finds out that its session is gone.
      while (performance.now() < until) {
        await wait(Math.min(200, Math.max(0, until - performance.now())))
        await client.query('SELECT')
      }
      await this.#publish(client, events)
    })
  }
}
