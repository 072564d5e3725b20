// Judges a relay by the table of what was committed: numbered rows, whose notifications a consumer reads from the stream.
//
// A row counts as covered when it is missing and the stream has a gap whose interval holds its commit. Outside of gaps nothing may be
// missing; nothing may come twice or in another order than it was committed in, gap or not.

import { Client } from 'pg'
import { uniqueName } from '../unique-name.js'

/** One row: its number in its channel, and when its transaction was known to run. */
interface Written {
  id: number
  channel: string
  /** Before the statement was sent, in milliseconds since 1970. */
  begunAt: number
  /** When the commit was answered; `undefined` if that answer never came. */
  endedAt: number | undefined
}

/** What a consumer has read from the stream, in order. */
export type Read =
  | { kind: 'message'; channel: string; payload: string }
  | {
      kind: 'gap'
      reason: string
      lostAt: number | undefined
      resumedAt: number
      dropped: number | null
    }

export interface OracleVerdict {
  written: number
  delivered: number
  /** Missing, and not in the interval of any gap. */
  lost: number[]
  /** Missing, and covered by a gap. */
  covered: number
  doubled: number[]
  /** Numbers that came after a higher one. */
  reordered: number[]
  /** What nobody has written. */
  alien: string[]
}

/** Writes numbered rows in one session, each of them with a notification, so that numbers are in the order of commits. */
export class OracleWriter {
  readonly channels: readonly string[]
  readonly #dsn: string
  readonly #written = new Map<number, Written>()
  readonly #padding: string
  /** The function that sends a row. */
  readonly #send: string
  #client: Client | undefined
  #next = 0
  #turn = Promise.resolve()

  constructor(dsn: string, { channels = 2, padding = 0, isDurable = false } = {}) {
    this.#send = isDurable ? 'pglisten.publish' : 'pg_notify'
    this.#dsn = dsn
    this.channels = Array.from({ length: channels }, () => uniqueName('Relayed.Channel'))
    this.#padding = 'x'.repeat(padding)
  }

  get count(): number {
    return this.#written.size
  }

  /** The number of the last row whose commit was answered. */
  get last(): number {
    return Math.max(
      0,
      ...[...this.#written.values()]
        .filter(({ endedAt }) => endedAt !== undefined)
        .slice(-1000)
        .map(({ id }) => id),
    )
  }

  /** When the first and the last of these rows were written, in words: for whoever looks for the cause of a loss. */
  times(ids: readonly number[]): string {
    const [first, last] = [ids[0], ids.at(-1)].map((id) => this.#written.get(id ?? 0))
    const told = (ms: number | undefined) => new Date(ms ?? 0).toISOString()
    return `${first?.id} begun ${told(first?.begunAt)} to ${last?.id} committed ${told(last?.endedAt)}`
  }

  /** Commits that many rows, each in a transaction of its own or all in one. A commit without an answer may or may not be there. */
  async write(count: number, { together = false } = {}): Promise<void> {
    // One after the other, so that numbers are in the order of commits whoever calls.
    this.#turn = this.#turn.then(() => this.#write(count, together))
    await this.#turn
  }

  async #write(count: number, together: boolean): Promise<void> {
    const rows = Array.from({ length: count }, () => {
      const id = (this.#next += 1)
      return { id, channel: this.channels[id % this.channels.length]! }
    })
    for (const part of together ? [rows] : rows.map((row) => [row])) {
      const begunAt = Date.now()
      for (const row of part) this.#written.set(row.id, { ...row, begunAt, endedAt: undefined })
      const client = await this.#connect()
      if (client === undefined) {
        // Nothing was sent.
        for (const { id } of part) this.#written.delete(id)
        return
      }
      try {
        await client.query(
          `SELECT ${this.#send}(c, p) FROM unnest($1::text[], $2::text[]) AS t(c, p)`,
          [part.map(({ channel }) => channel), part.map(({ id }) => `${id}:${this.#padding}`)],
        )
        const endedAt = Date.now()
        for (const { id } of part) this.#written.get(id)!.endedAt = endedAt
      } catch {
        this.#client = undefined
        client.end().catch(() => {})
      }
    }
  }

  async close(): Promise<void> {
    await this.#client?.end().catch(() => {})
  }

  /** Judges what a consumer of all channels and of the gaps has read. */
  judge(read: readonly Read[]): OracleVerdict {
    const gaps = read.filter((one) => one.kind === 'gap')
    const seen = new Map<number, number>()
    const verdict: OracleVerdict = {
      written: [...this.#written.values()].filter(({ endedAt }) => endedAt !== undefined).length,
      delivered: 0,
      lost: [],
      covered: 0,
      doubled: [],
      reordered: [],
      alien: [],
    }
    let highest = 0
    for (const one of read) {
      if (one.kind !== 'message') continue
      const id = Number(/^(\d+):x*$/.exec(one.payload)?.[1])
      const row = this.#written.get(id)
      if (row === undefined || row.channel !== one.channel) {
        verdict.alien.push(`${one.channel} ${one.payload.slice(0, 40)}`)
        continue
      }
      verdict.delivered += 1
      if (seen.has(id)) verdict.doubled.push(id)
      else if (id < highest) verdict.reordered.push(id)
      seen.set(id, (seen.get(id) ?? 0) + 1)
      highest = Math.max(highest, id)
    }
    for (const { id, begunAt, endedAt } of this.#written.values()) {
      if (endedAt === undefined || seen.has(id)) continue
      const isCovered = gaps.some(
        ({ lostAt, resumedAt }) => endedAt >= (lostAt ?? 0) && begunAt <= resumedAt,
      )
      if (isCovered) verdict.covered += 1
      else verdict.lost.push(id)
    }
    return verdict
  }

  async #connect(): Promise<Client | undefined> {
    if (this.#client) return this.#client
    const client = new Client({ connectionString: this.#dsn, connectionTimeoutMillis: 2000 })
    client.on('error', () => {
      if (this.#client === client) this.#client = undefined
    })
    try {
      await client.connect()
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 20))
      return undefined
    }
    this.#client = client
    return client
  }
}
