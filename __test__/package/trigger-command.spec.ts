// `pglisten trigger`: its output is executed on a server, with names that need quotes and rows that are too long.

import test, { type ExecutionContext } from 'ava'
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { ConnectionPool } from 'pglisten'
import { root } from '../support/code-blocks.js'
import { createDatabase } from '../support/database.js'
import { serverDsn } from '../../lab/server/test-server.js'

const command = path.join(root, 'bin', 'pglisten.js')

function pglisten(...args: string[]) {
  return spawnSync(process.execPath, [command, ...args], { encoding: 'utf8' })
}

function triggerFor(t: ExecutionContext, ...args: string[]): string {
  const { status, stdout, stderr } = pglisten('trigger', ...args)
  t.is(stderr, '')
  t.is(status, 0)
  return stdout
}

/** A database of its own with a table, the trigger, and what the statements notify. */
async function notified(
  t: ExecutionContext,
  channel: string,
  statements: string[],
): Promise<unknown[]> {
  const url = new URL(await serverDsn())
  url.pathname = `/${await createDatabase(t)}`
  const pool = new ConnectionPool(url.href)
  try {
    const listener = pool.listener({ parse: JSON.parse })
    const payloads: unknown[] = []
    await listener.addCallback(channel, (_, payload) => void payloads.push(payload))
    await listener.startup()
    listener.listen()
    const connection = await pool.connection()
    for (const statement of statements) await connection.executeBatch(statement)
    await connection.close()
    await listener.sync()
    return payloads
  } finally {
    await pool.close()
  }
}

test('a row’s trigger notifies of each change, with the key', async (t) => {
  const sql = triggerFor(t, 'orders')
  const payloads = await notified(t, 'orders', [
    'CREATE TABLE orders (id int PRIMARY KEY, item text)',
    sql,
    // Once more: it takes its own place.
    sql,
    "INSERT INTO orders VALUES (1, 'a'), (2, 'b')",
    "UPDATE orders SET item = 'c' WHERE id = 1",
    'DELETE FROM orders WHERE id = 2',
  ])
  t.deepEqual(payloads, [
    { op: 'INSERT', key: { id: 1 } },
    { op: 'INSERT', key: { id: 2 } },
    { op: 'UPDATE', key: { id: 1 } },
    { op: 'DELETE', key: { id: 2 } },
  ])
})

test('a key and a row may have as many columns as a table', async (t) => {
  const names = ['part', 'changed', 'x"y', ...Array.from({ length: 60 }, (_, n) => `c${n}`)]
  const quoted = names.map((name) => `"${name.replaceAll('"', '""')}"`)
  const values = names.map((_, n) => n)
  const all = names.join(',')
  const payloads = await notified(t, 'wide', [
    `CREATE TABLE wide (${quoted.map((name) => `${name} int`).join(', ')}, other text)`,
    triggerFor(t, 'wide', '--key', all, '--columns', all),
    `INSERT INTO wide VALUES (${values.join(', ')}, 'other')`,
    'UPDATE wide SET c0 = NULL',
    'DELETE FROM wide',
  ])
  const row = Object.fromEntries(names.map((name, n) => [name, n]))
  const later = { ...row, c0: null }
  t.deepEqual(payloads, [
    { op: 'INSERT', key: row, row },
    { op: 'UPDATE', key: later, row: later },
    { op: 'DELETE', key: later, row: later },
  ])
})

test('names that need quotes, or look like SQL, are taken as they are', async (t) => {
  const names = [
    ['Or"ders; DROP', "it's", String.raw`chan\'nel $pglisten$`, 'Id "x"', "o'clock"],
    ['select', 'Sales.2026', 'a\n--b', 'payload', 'changed'],
    ['ü'.repeat(31), 's', 'c', 'NEW', 'TG_OP'],
  ] as const
  const quoted = (name: string) => `"${name.replaceAll('"', '""')}"`
  for (const [table, schema, channel, key, column] of names) {
    const payloads = await notified(t, channel, [
      `CREATE SCHEMA ${quoted(schema)};
       CREATE TABLE ${quoted(schema)}.${quoted(table)} (${quoted(key)} int, ${quoted(column)} text, other int)`,
      triggerFor(
        t,
        ...[table, '--schema', schema, '--channel', channel, '--key', key, '--columns', column],
      ),
      `INSERT INTO ${quoted(schema)}.${quoted(table)} VALUES (7, 'x', 1)`,
    ])
    t.deepEqual(payloads, [{ op: 'INSERT', key: { [key]: 7 }, row: { [column]: 'x' } }])
  }
})

test('a row that is too long for a notification is inserted, and told without what is too long', async (t) => {
  const payloads = await notified(t, 'notes', [
    'CREATE TABLE notes (id text, body text)',
    triggerFor(t, 'notes', '--payload', 'row'),
    // 7,999 bytes is the longest payload: one that is just that, one more, in letters of two bytes, and a long key.
    `INSERT INTO notes SELECT 'fits', repeat('x', 7999 - octet_length(
       json_build_object('op', 'INSERT', 'key', json_build_object('id', 'fits'), 'row', row_to_json(n))::text))
       FROM (SELECT 'fits' AS id, '' AS body) AS n`,
    `UPDATE notes SET body = body || 'x'`,
    `INSERT INTO notes VALUES ('letters', repeat('é', 4000))`,
    `INSERT INTO notes VALUES (repeat('k', 9000), 'long key')`,
  ])
  const [fits, ...others] = payloads as { row?: { body: string } }[]
  t.is(JSON.stringify(fits).length > 7900, true)
  t.deepEqual(others, [
    { op: 'UPDATE', key: { id: 'fits' } },
    { op: 'INSERT', key: { id: 'letters' } },
    { op: 'INSERT' },
  ])
})

test('a statement’s trigger notifies once for each statement, TRUNCATE included', async (t) => {
  const payloads = await notified(t, 'Bulk', [
    'CREATE TABLE "Bulk" (n int)',
    triggerFor(t, 'Bulk', '--statement'),
    'INSERT INTO "Bulk" SELECT generate_series(1, 1000)',
    'UPDATE "Bulk" SET n = 0',
    'TRUNCATE "Bulk"',
  ])
  t.deepEqual(payloads, [{ op: 'INSERT' }, { op: 'UPDATE' }, { op: 'TRUNCATE' }])
})

test('a column that is not there is an error of the script, and nothing is made', async (t) => {
  const url = new URL(await serverDsn())
  url.pathname = `/${await createDatabase(t)}`
  const pool = new ConnectionPool(url.href)
  t.teardown(() => pool.close())
  const connection = await pool.connection()
  await connection.executeBatch('CREATE TABLE plain (n int)')
  await t.throwsAsync(connection.executeBatch(triggerFor(t, 'plain')), { message: /"id"/ })
  await connection.executeBatch('ROLLBACK')
  t.is(await connection.fetchVal('SELECT count(*)::int FROM pg_trigger'), 0)
  await connection.close()
})

test('--help and --version print and end well', (t) => {
  const help = pglisten('trigger', '--help')
  t.is(help.status, 0)
  t.regex(help.stdout, /^Usage: pglisten trigger TABLE/)
  for (const option of ['schema', 'channel', 'key', 'payload', 'columns', 'statement'])
    t.true(help.stdout.includes(`  --${option} `), option)
  t.regex(pglisten('--version').stdout, /^\d+\.\d+\.\d+\n$/)
})

for (const [args, message] of [
  [[], /No command: expected one of `listen`/],
  [['hear'], /Unknown command `hear`/],
  [['trigger'], /Expected the name of a table/],
  [['trigger', 'a', 'b'], /Expected one table, got `b`/],
  [['trigger', 'a', '--colums', 'b'], /Unknown option '--colums'/],
  [['trigger', 'a', '--payload', 'all'], /`id` or `row`, got `all`/],
  [['trigger', 'a', '--payload', 'id', '--columns', 'b'], /got both/],
  [['trigger', 'a', '--statement', '--payload', 'row'], /`--statement` knows no rows/],
  [['trigger', 'a'.repeat(64)], /`TABLE` to be a name of 1 to 63 bytes, got 64/],
  [['trigger', 'a', '--channel', ''], /`--channel` to be a name/],
  [['trigger', 'a', '--columns', 'b,,c'], /`--columns` to be a name .* each, got 0 bytes/],
  [['trigger', 'a', '--schema'], /schema/],
] as const) {
  test(`refused: ${args.join(' ').slice(0, 60)}`, (t) => {
    const { status, stdout, stderr } = pglisten(...args)
    t.is(status, 2)
    t.is(stdout, '')
    t.regex(stderr, message)
    t.notRegex(stderr, /\n\s+at /)
  })
}
