// The program that is bundled, and run by test runners: what depends on how the package was loaded, against a real server.

/* oxlint-disable unicorn/no-instanceof-builtins -- to which context an object belongs is the question. */
import assert from 'node:assert/strict'
import { ConnectionPool, DatabaseError, ListenerNotificationMsg } from 'pglisten'

export async function check() {
  const pool = new ConnectionPool(process.env['DATABASE_URL'])
  const listener = pool.listener({ channels: ['matrix'] })
  try {
    await listener.startup()
    const messages = listener.messages()
    await pool.notify('matrix', 'hello')
    const { value: message } = await messages.next()
    assert.equal(message?.payload, 'hello')
    assert.ok(message instanceof ListenerNotificationMsg)

    // Objects that are made for the program belong to its context.
    const connection = await pool.connection()
    const row = await connection.fetchRow(
      "SELECT now() AS now, ARRAY[1] AS list, ARRAY[now()] AS times, '{}'::jsonb AS json, 'x'::bytea AS bytes",
    )
    const { now, list, times, json, bytes } = /** @type {Record<string, any>} */ (row)
    assert.ok(row instanceof Object)
    assert.ok(now instanceof Date)
    assert.ok(list instanceof Array)
    assert.ok(times instanceof Array && times[0] instanceof Date)
    assert.ok(json instanceof Object)
    assert.ok(bytes instanceof Buffer)
    assert.ok(pool.status() instanceof Object)
    assert.ok((await connection.execute('SELECT 1')).columns instanceof Array)

    const error = await connection.execute('SELECT 1 / 0').catch((refusal) => refusal)
    assert.ok(error instanceof DatabaseError && error instanceof Error)
    assert.equal(error.name, 'DatabaseError')
    assert.equal(error.sqlState, '22012')
    await connection.close()
  } finally {
    await listener.shutdown()
    await pool.close()
  }
}
