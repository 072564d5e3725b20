// What a tracer of statements is told of calls that are refused, and of results that come in parts; and that it changes nothing for either.

import test from 'ava'
import type { StatementContext } from 'pglisten'
import { openPool } from '../support/connect.js'
import { moments } from '../support/told.js'

const names = (all: { moment: string }[]) => all.map(({ moment }) => moment)

test.serial(
  'a call that is refused is refused at once while somebody traces statements, and what is open stays so',
  async (t) => {
    const all = moments<StatementContext>(t, 'pglisten:statement')
    const pool = await openPool(t, { maxDbPoolSize: 1 })
    const connection = await pool.connection()
    await connection.executeBatch('CREATE TEMPORARY TABLE refused (n int)')
    const copy = 'COPY refused FROM STDIN'
    const insert = 'INSERT INTO refused VALUES (2)'
    let taken = 0
    const source = {
      [Symbol.iterator]: () => {
        taken += 1
        return ['1\n'][Symbol.iterator]()
      },
    }
    const tx = await connection.begin()
    all.length = 0
    await t.throwsAsync(connection.copyFrom(copy, source), { message: /A transaction is open/ })
    t.deepEqual(names(all), ['start', 'error', 'end'])
    await t.throwsAsync(
      connection.copyTo('COPY refused TO STDOUT')[Symbol.asyncIterator]().next(),
      {
        message: /A transaction is open/,
      },
    )
    t.is(taken, 0)
    await t.throwsAsync(connection.execute(insert), { message: /A transaction is open/ })
    await tx.transaction(async (nested) => {
      await t.throwsAsync(tx.copyFrom(copy, source), { message: /A nested transaction is open/ })
      await t.throwsAsync(tx.execute(insert), { message: /A nested transaction is open/ })
      await nested.copyFrom(copy, source)
    })
    await connection.close()
    await t.throwsAsync(tx.execute(insert), { message: 'the connection was closed' })
    t.is(taken, 1)
  },
)

test.serial(
  'a large result is told as ended when its last row is there, and its failure as one',
  async (t) => {
    const all = moments<StatementContext>(t, 'pglisten:statement')
    const connection = await (await openPool(t, { maxDbPoolSize: 1 })).connection()
    const failing = 'SELECT 1 / (40000 - n) AS n FROM generate_series(1, 40000) n'
    for (const run of [
      () => connection.execute(failing),
      () => connection.fetchRow(failing),
      () => connection.execute('SELECT n FROM generate_series(1, 40000) n'),
    ]) {
      all.length = 0
      const outcome = await run().catch((error: { sqlState?: string }) => error.sqlState)
      const mine = all.filter(({ call }) => call === all[0]!.call)
      const isFailed = outcome === '22012'
      t.deepEqual(names(mine), [
        'start',
        'end',
        ...(isFailed ? ['error'] : []),
        'asyncStart',
        'asyncEnd',
      ])
      if (isFailed) t.like(mine.at(-1)!.context.error, { sqlState: '22012' })
    }
    await connection.close()
  },
)
