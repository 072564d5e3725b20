// The contestants of `pg`, in the fast use that its documentation shows.

import { createRequire } from 'node:module'
import { pipeline } from 'node:stream/promises'
import { Readable, Writable } from 'node:stream'
import { Client } from 'pg'
import * as tables from '../tables.mjs'
import { check } from '../work.mjs'

// It has no types.
const copyStreams = createRequire(import.meta.url)('pg-copy-streams')

/** @type {import('../work.mjs').Connect} */
export async function connect(dsn, count) {
  const client = new Client({ connectionString: dsn })
  await client.connect()
  const query = (/** @type {string} */ text) => client.query(text)

  /** @param {string} text */
  const fetchAll = (text) => ({
    run: async () => check((await query(text)).rows.length, count),
  })
  /** @param {() => Promise<unknown>} work */
  const inTransaction = async (work) => {
    await query('BEGIN')
    await work()
    await query('COMMIT')
  }

  return {
    pg: {
      fetch5: fetchAll(tables.fiveColumns(count)),
      fetch20: fetchAll(tables.FETCH_TWENTY),
      insertMany: {
        before: () => emptied('bench_many', tables.CREATE_MANY),
        run: () =>
          inTransaction(() =>
            Promise.all(
              tables
                .rowsToInsert(count)
                .map((values) => client.query({ name: 'insert', text: tables.INSERT, values })),
            ),
          ),
      },
      fetchVal: { run: (turn) => client.query(tables.ONE_VALUE, [turn]) },
      pipeline: {
        run: () =>
          inTransaction(async () => {
            for (let n = 0; n < count; n += 1) {
              await client.query({ name: 'value', text: tables.ONE_VALUE, values: [n] })
            }
          }),
      },
      transaction: {
        run: (turn) =>
          inTransaction(() =>
            client.query({ name: 'value', text: tables.ONE_VALUE, values: [turn] }),
          ),
      },
      copyIn: {
        before: () => emptied(tables.COPY_TABLE, tables.CREATE_COPIED),
        run: async () => {
          const stream = client.query(copyStreams.from(tables.COPY_IN))
          await pipeline(Readable.from(tables.textToCopy(count)), stream)
          check(stream.rowCount, count)
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
          await pipeline(client.query(copyStreams.to(tables.copyOut(count))), counter)
          check(bytes > count, true)
        },
      },
    },
    'pg named': {
      fetchVal: {
        run: (turn) => client.query({ name: 'value', text: tables.ONE_VALUE, values: [turn] }),
      },
    },
  }

  /** @param {string} table @param {string} create */
  async function emptied(table, create) {
    await query(`DROP TABLE IF EXISTS ${table}`)
    await query(create)
  }
}
