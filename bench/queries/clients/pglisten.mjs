// The contestants of this package. A method that this build has not is told as missing.

import { ArgumentTypeError, ConnectionPool } from 'pglisten'
import * as tables from '../tables.mjs'
import { Missing, check } from '../work.mjs'

/** @type {import('../work.mjs').Connect} */
export async function connect(dsn, count) {
  const connection = await new ConnectionPool({ dsn, maxDbPoolSize: 1 }).connection()

  /** @param {string} text */
  const fetchAll = (text) => ({
    run: async () => check((await connection.fetch(text)).length, count),
  })
  const emptyCopied = () => emptied(tables.COPY_TABLE, tables.CREATE_COPIED)

  return {
    pglisten: {
      fetch5: fetchAll(tables.fiveColumns(count)),
      fetch20: fetchAll(tables.FETCH_TWENTY),
      insertMany: {
        before: () => emptied('bench_many', tables.CREATE_MANY),
        run: async () =>
          check(await connection.executeMany(tables.INSERT, tables.rowsToInsert(count)), count),
      },
      fetchVal: { run: (turn) => connection.fetchVal(tables.ONE_VALUE, [turn]) },
      pipeline: {
        run: () =>
          connection.transaction(async (tx) => {
            const run = method(tx, 'pipeline')
            const statements = Array.from({ length: count }, (_, n) => [tables.ONE_VALUE, [n]])
            check((await run(statements)).length, count)
          }),
      },
      transaction: {
        run: (turn) => connection.transaction((tx) => tx.fetchVal(tables.ONE_VALUE, [turn])),
      },
      copyOut: {
        run: async () => {
          let bytes = 0
          for await (const chunk of await method(connection, 'copyTo')(tables.copyOut(count))) {
            bytes += chunk.length
          }
          check(bytes > count, true)
        },
      },
    },
    'pglisten unprepared': {
      fetchVal: {
        run: (turn) => unprepared(connection.fetchVal(tables.ONE_VALUE, [turn], UNPREPARED)),
      },
    },
    'pglisten awaited': {
      pipeline: {
        run: () =>
          connection.transaction(async (tx) => {
            for (let n = 0; n < count; n += 1) await tx.execute(tables.ONE_VALUE, [n])
          }),
      },
    },
    'pglisten records': {
      copyIn: {
        before: emptyCopied,
        run: async () => {
          const copy = method(connection, 'copyRecordsToTable')
          const options = { columns: tables.COPY_COLUMNS }
          check(await copy(tables.COPY_TABLE, tables.rowsToCopy(count), options), count)
        },
      },
    },
    'pglisten stream': {
      copyIn: {
        before: emptyCopied,
        run: async () => {
          await method(connection, 'copyFrom')(tables.COPY_IN, tables.textToCopy(count))
          check(await connection.fetchVal(tables.COUNT_COPIED), count)
        },
      },
    },
  }

  /** @param {string} table @param {string} create */
  function emptied(table, create) {
    return connection.executeBatch(`DROP TABLE IF EXISTS ${table}; ${create}`)
  }
}

const UNPREPARED = /** @type {import('pglisten').CallOptions} */ ({ prepared: false })

/** @param {Promise<unknown>} outcome */
async function unprepared(outcome) {
  try {
    return await outcome
  } catch (error) {
    if (error instanceof ArgumentTypeError) throw new Missing('option `prepared`')
    throw error
  }
}

/** A method that may not be there. @param {object} of @param {string} name @returns {(...args: any[]) => any} */
function method(of, name) {
  const found = /** @type {Record<string, unknown>} */ (of)[name]
  if (typeof found !== 'function') throw new Missing(`\`${name}\``)
  return found.bind(of)
}
