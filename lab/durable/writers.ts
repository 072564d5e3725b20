// Publishers of every kind, and what they know of their events: when each was begun, and when its commit was answered.

import { Pool, type PoolClient } from 'pg'
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
const wait = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))
const upTo = (most: number) => Math.floor(Math.random() * most)

/** Publishes in all ways at once. */
export class Writers {
  readonly committed: Committed[] = []
  readonly channel = CHANNEL
  /** The channel of a trigger on one row, whose payloads are a counter. */
  readonly counterChannel = 'counter'
  readonly #pool: Pool
  readonly #table = uniqueName('counter')
  readonly #hasTwoPhase: boolean
  #count = 0
  #isOver = false
  /** What failed that must not. */
  readonly errors: unknown[] = []

  constructor(dsn: string, hasTwoPhase: boolean) {
    this.#pool = new Pool({ connectionString: dsn, max: 40 })
    this.#pool.on('error', () => {})
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

  /** Publishes for so long. */
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
      () => this.#counted(),
      () => this.#counted(),
      () => this.#single(),
      ...(this.#hasTwoPhase ? [() => this.#prepared()] : []),
    ]
    const loops = ways.map(async (way) => {
      while (performance.now() < end) {
        try {
          await way()
        } catch (error) {
          this.errors.push(error)
          return
        }
      }
    })
    await Promise.all([...loops, this.#long(ms * 0.6)])
    this.#isOver = true
  }

  async close(): Promise<void> {
    await this.#pool.end()
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
    await client.query('SELECT pglisten.publish($1, $2, $3, $4)', [
      CHANNEL,
      payload,
      `key ${upTo(10)}`,
      bell,
    ])
    into.push({ payload, began, answered: Infinity })
  }

  /** Runs a transaction whose events count once its commit is answered. */
  async #transaction(
    begin: string,
    commit: string,
    work: (client: PoolClient, events: Committed[]) => Promise<void>,
  ): Promise<void> {
    const client = await this.#pool.connect()
    try {
      const events: Committed[] = []
      await client.query(begin)
      await work(client, events)
      await client.query(commit)
      if (commit !== 'COMMIT') return
      const answered = performance.now()
      for (const event of events) this.committed.push({ ...event, answered })
    } finally {
      client.release()
    }
  }

  async #single(): Promise<void> {
    const client = await this.#pool.connect()
    const events: Committed[] = []
    try {
      await this.#publish(client, events)
    } finally {
      client.release()
    }
    const answered = performance.now()
    for (const event of events) this.committed.push({ ...event, answered })
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

  /** Rows without a bell, as COPY makes them. */
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

  async #prepared(): Promise<void> {
    const name = uniqueName('gid')
    const client = await this.#pool.connect()
    try {
      const events: Committed[] = []
      await client.query('BEGIN')
      await this.#publish(client, events, false)
      await client.query(`PREPARE TRANSACTION '${name}'`)
      await wait(upTo(300))
      await client.query(`COMMIT PREPARED '${name}'`)
      const answered = performance.now()
      for (const event of events) this.committed.push({ ...event, answered })
    } finally {
      client.release()
    }
  }

  /** One transaction that is open for most of the time, with events at its beginning and its end. */
  async #long(ms: number): Promise<void> {
    await this.#transaction('BEGIN', 'COMMIT', async (client, events) => {
      await this.#publish(client, events)
      await wait(ms)
      await this.#publish(client, events)
    })
  }
}
