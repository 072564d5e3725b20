// COPY to a table.

import { attempt, type Program } from '../port.js'

const CREATE =
  'CREATE TEMPORARY TABLE copied (id int4, name text, ratio float8, data jsonb, at timestamptz)'
const COLUMNS = ['id', 'name', 'ratio', 'data', 'at']
const ALL = 'SELECT * FROM copied ORDER BY id'
const AT = new Date(Date.UTC(2026, 10, 29, 10, 11, 12))

const records: Program = async (connection, say) => {
  await connection.execute(CREATE)
  const copy = (rows: Iterable<readonly unknown[]>) =>
    connection.copyRecordsToTable('copied', rows, { columns: COLUMNS })
  const rows = [
    [1, 'a\tb\nc\\', 0.5, { b: [1, null], a: 'x' }, AT],
    [2, null, null, null, null],
    [3, '', -0.1, [], AT],
  ]
  say('how many', await copy(rows))
  say('rows', await connection.fetch(ALL))
  say('of none', await copy([]))
  const generated = (function* () {
    for (let n = 10; n < 15; n += 1) yield [n, 'g', 1, null, null]
  })()
  say('of a generator', await copy(generated))
  const short = [
    [20, 'x', 1, null, AT],
    [21, 'x'],
  ]
  say('a short one', await attempt(() => copy(short)))
  say('one that does not fit', await attempt(() => copy([['x', 'x', 1, null, AT]])))
  say('rows behind it', await connection.fetchVal('SELECT count(*) FROM copied'))
}

const someColumns: Program = async (connection, say) => {
  await connection.execute(
    'CREATE TEMPORARY TABLE "Odd table" ("A b" int4, c text, d int4 DEFAULT 7)',
  )
  const options = { schema: 'pg_temp', columns: ['c', 'A b'] }
  say('how many', await connection.copyRecordsToTable('Odd table', [['x', 1]], options))
  say('rows', await connection.fetch('SELECT * FROM "Odd table"'))
}

/** Rows of an int4 and a text in the binary format of COPY. */
function binary(rows: readonly [number, string][]): Buffer {
  const parts = [Buffer.from('PGCOPY\n\u00FF\r\n\0', 'latin1'), Buffer.alloc(8)]
  for (const [number, text] of rows) {
    const encoded = Buffer.from(text)
    const head = Buffer.alloc(14)
    head.writeInt16BE(2, 0)
    head.writeInt32BE(4, 2)
    head.writeInt32BE(number, 6)
    head.writeInt32BE(encoded.length, 10)
    parts.push(head, encoded)
  }
  return Buffer.concat([...parts, Buffer.from([255, 255])])
}

const binaryCopy: Program = async (connection, say) => {
  await connection.execute('CREATE TEMPORARY TABLE copied (id int4, name text)')
  const copy = (source: Uint8Array) =>
    connection.binaryCopyToTable('copied', source, { columns: ['id', 'name'] })
  const rows = binary([
    [1, 'a'],
    [2, 'é🙂'],
  ])
  say('how many', await copy(rows))
  say('rows', await connection.fetch('SELECT * FROM copied ORDER BY id'))
  say('of none', await copy(binary([])))
  say('of garbage', await attempt(() => copy(Buffer.from('no rows at all'))))
  say('rows behind it', await connection.fetchVal('SELECT count(*) FROM copied'))
}

const closed: Program = async (connection, say) => {
  await connection.close()
  say('binary', await attempt(() => connection.binaryCopyToTable('t', Buffer.alloc(0))))
  const options = { columns: ['n'] }
  const copied = () => connection.copyRecordsToTable('t', [[1]], options)
  say('records', await attempt(copied))
}

export const COPYING: Record<string, Program> = {
  copyRecordsToTable: records,
  'COPY of some columns': someColumns,
  binaryCopyToTable: binaryCopy,
  'COPY on a closed connection': closed,
}
