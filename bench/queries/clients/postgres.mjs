// The contestant of `postgres`, in the fast use that its documentation shows.

import { pipeline } from 'node:stream/promises'
import { Readable, Writable } from 'node:stream'
import postgres from 'postgres'
import * as tables from '../tables.mjs'
import { check } from '../work.mjs'

/** @type {import('../work.mjs').Connect} */
export async function connect(dsn, count) {
  const sql = postgres(dsn, { max: 1, onnotice: () => {} })
  await sql`SELECT 1`

  /** @param {string} text */
  const fetchAll = (text) => ({
    run: async () => check((await sql.unsafe(text, [], { prepare: true })).length, count),
  })

  return {
    postgres: {
      fetch5: fetchAll(tables.fiveColumns(count)),
      fetch20: fetchAll(tables.FETCH_TWENTY),
      insertMany: {
        before: () => emptied('bench_many', tables.CREATE_MANY),
        run: () =>
          sql.begin((tx) =>
            tables
              .rowsToInsert(count)
              .map(
                ([id, name, amount]) =>
                  tx`INSERT INTO bench_many VALUES (${id}, ${name}, ${amount})`,
              ),
          ),
      },
      fetchVal: { run: (turn) => sql`SELECT ${turn}::int4` },
      pipeline: {
        run: () =>
          sql.begin((tx) => Array.from({ length: count }, (_, n) => tx`SELECT ${n}::int4`)),
      },
      transaction: {
        run: (turn) => sql.begin((tx) => tx`SELECT ${turn}::int4`),
      },
      copyIn: {
        before: () => emptied(tables.COPY_TABLE, tables.CREATE_COPIED),
        run: async () => {
          const stream = await sql.unsafe(tables.COPY_IN).writable()
          await pipeline(Readable.from(tables.textToCopy(count)), stream)
          const [copied] = await sql.unsafe(tables.COUNT_COPIED)
          check(copied?.['count'], count)
        },
      },
      copyOut: {
        run: async () => {
          let bytes = 0
          const counter = new Writable({
            write(chunk, _, done) {
              bytes += chunk.length
              done()
            },
          })
          await pipeline(await sql.unsafe(tables.copyOut(count)).readable(), counter)
          check(bytes > count, true)
        },
      },
    },
  }

  /** @param {string} table @param {string} create */
  async function emptied(table, create) {
    await sql.unsafe(`DROP TABLE IF EXISTS ${table}`)
    await sql.unsafe(create)
  }
}
