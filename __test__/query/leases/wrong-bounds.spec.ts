// Bounds that are none: every method refuses them, before anything is sent.

import test from 'ava'
import {
  ArgumentRangeError,
  ArgumentTypeError,
  type CallOptions,
  type Connection,
  type ConnectionPool,
} from 'pglisten'
import { openPool } from '../../support/connect.js'

type Call = (connection: Connection, options: CallOptions, pool: ConnectionPool) => unknown

const CALLS: Record<string, Call> = {
  execute: (c, o) => c.execute('SELECT 1', [], o),
  fetch: (c, o) => c.fetch('SELECT 1', [], o),
  fetchRow: (c, o) => c.fetchRow('SELECT 1', [], o),
  fetchRowOrNull: (c, o) => c.fetchRowOrNull('SELECT 1', [], o),
  fetchVal: (c, o) => c.fetchVal('SELECT 1', [], o),
  executeMany: (c, o) => c.executeMany('SELECT $1::int4', [[1]], o),
  executeBatch: (c, o) => c.executeBatch('SELECT 1', [], o),
  pipeline: (c, o) => c.pipeline(['SELECT 1'], o),
  prepare: (c, o) => c.prepare('SELECT 1', o),
  cursor: (c, o) => c.cursor('SELECT 1', [], o),
  copyFrom: (c, o) => c.copyFrom('COPY t FROM STDIN', '', o),
  copyTo: (c, o) => c.copyTo('COPY t TO STDOUT', o),
  copyRecordsToTable: (c, o) => c.copyRecordsToTable('t', [], o),
  binaryCopyToTable: (c, o) => c.binaryCopyToTable('t', Buffer.alloc(0), o),
  publish: (c, o) => c.publish('channel', '', o),
  begin: (c, o) => c.begin(o),
  transaction: (c, o) => c.transaction(() => {}, o),
  'nested transaction': (c, o) => c.transaction((tx) => tx.transaction(() => {}, o)),
  createSavepoint: (c, o) => c.transaction((tx) => tx.createSavepoint('a', o)),
  'pool.connection': (_, o, pool) => pool.connection(o),
  'pool.execute': (_, o, pool) => pool.execute('SELECT 1', [], o),
  'pool.fetchVal': (_, o, pool) => pool.fetchVal('SELECT 1', [], o),
  'pool.notify': (_, o, pool) => pool.notify('channel', '', o),
  'pool.notifyMany': (_, o, pool) => pool.notifyMany('channel', [], o),
  'pool.publish': (_, o, pool) => pool.publish('channel', '', o),
}

const WRONG: [object | number, typeof ArgumentTypeError | typeof ArgumentRangeError][] = [
  [{ timeoutMs: -1 }, ArgumentRangeError],
  [{ timeoutMs: Number.NaN }, ArgumentRangeError],
  [{ timeoutMs: Infinity }, ArgumentRangeError],
  [{ timeoutMs: '100' }, ArgumentTypeError],
  [{ timeoutMs: null }, ArgumentTypeError],
  [{ signal: {} }, ArgumentTypeError],
  [{ signal: null }, ArgumentTypeError],
  [{ timeout: 1 }, ArgumentTypeError],
  [7, ArgumentTypeError],
]

test('bounds that are none are refused by every method', async (t) => {
  const pool = await openPool(t)
  await using connection = await pool.connection()
  for (const [name, call] of Object.entries(CALLS)) {
    for (const [options, instanceOf] of WRONG) {
      const what = `${name} with ${typeof options === 'object' ? Object.entries(options).join() : options}`
      // Some throw at once.
      const calling = async () => {
        await call(connection, options as CallOptions, pool)
      }
      await t.throwsAsync(calling, { instanceOf }, what)
    }
  }
  t.is(connection.transactionStatus, 'idle')
})
