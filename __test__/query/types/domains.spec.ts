// Domains are taken as their base types, and types without a form of their own by their names, also within other types.

import test from 'ava'
import { Temporal } from 'temporal-polyfill'
import { uniqueName } from '../../../lab/unique-name.js'
import { connect } from '../../support/connect.js'

test('a domain within an array or a composite is read as its base type', async (t) => {
  const connection = await connect(t)
  const [birthday, key, person] = ['birthday', 'key', 'person'].map((name) => uniqueName(name)) as [
    string,
    string,
    string,
  ]
  await connection.executeBatch(`
    CREATE DOMAIN ${birthday} AS date; CREATE DOMAIN ${key} AS int8;
    CREATE TYPE ${person} AS (id ${key}, born ${birthday}, keys ${key}[])`)
  t.teardown(() =>
    connection.executeBatch(`DROP TYPE ${person}; DROP DOMAIN ${birthday}; DROP DOMAIN ${key}`),
  )
  const types = { temporal: Temporal, decoders: { int8: Number } }
  const row = await connection.fetchRow(
    `SELECT '0044-03-15 BC'::${birthday} AS one, ARRAY['0044-03-15 BC', NULL]::${birthday}[] AS list,
     ARRAY[7]::${key}[] AS keys, ROW(7, '0044-03-15 BC', '{8}')::${person} AS person`,
    [],
    { types },
  )
  const born = Temporal.PlainDate.from('-000043-03-15')
  t.deepEqual(row['keys'], [7])
  const {
    person: read,
    one,
    list,
  } = row as {
    person: { born: unknown; id: unknown; keys: unknown }
    one: unknown
    list: unknown[]
  }
  t.is(read.id, 7)
  t.deepEqual(read.keys, [8])
  for (const value of [one, list[0], read.born]) {
    t.true(value instanceof Temporal.PlainDate)
    t.true(born.equals(value as Temporal.PlainDate))
  }
})

test('a decoder is called for the elements of an array, also of a type without a form of its own', async (t) => {
  const connection = await connect(t)
  const shout = (text: string) => `<${text}>`
  const types = { decoders: { tsvector: shout, money: shout, regclass: shout, record: shout } }
  for (const [expression, read] of [
    ["ARRAY['a b', NULL]::tsvector[]", ["<'a' 'b'>", null]],
    ['ARRAY[[pg_type], [NULL]]', [['<pg_type>'], [null]]],
    ["ARRAY[ROW(1, 'x')]", ['<(1,x)>']],
  ] as const) {
    const sql = `SELECT ${expression.replace('pg_type', "'pg_type'::regclass")}`
    t.deepEqual(await connection.fetchVal(sql, [], { types }), read)
  }
  const [money] = await connection.fetchVal<string[]>('SELECT ARRAY[1::money]', [], { types })
  t.is(money, await connection.fetchVal<string>('SELECT 1::money', [], { types }))
  t.regex(money!, /^<.*>$/)
})
