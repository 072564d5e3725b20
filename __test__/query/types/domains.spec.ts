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

test('a decoder of a type is called for a column of an array of a domain over it, and an encoder by the domain', async (t) => {
  const connection = await connect(t)
  const positive = uniqueName('positive')
  await connection.executeBatch(`
    CREATE DOMAIN ${positive} AS int4;
    CREATE TEMPORARY TABLE listed (list ${positive}[])`)
  t.teardown(() => connection.executeBatch(`DROP TABLE listed; DROP DOMAIN ${positive}`))
  const decoders = { 'int4[]': (list: number[]) => list.join('+') }
  const encoders = { [positive]: Number }
  const options = { types: { decoders, encoders } }
  const read = `SELECT $1::${positive}[] AS list`
  t.deepEqual(await connection.fetchRow(read, [['1', '2']], options), { list: '1+2' })
  await connection.copyRecordsToTable('listed', [[['3', '4']]], options)
  t.deepEqual([...(await connection.fetch('TABLE listed', [], options))], [{ list: '3+4' }])
})

test('an array of a domain over an array has the separator of what is deepest in it', async (t) => {
  const connection = await connect(t)
  const boxes = uniqueName('boxes')
  await connection.executeBatch(`CREATE DOMAIN ${boxes} AS box[]`)
  t.teardown(() => connection.executeBatch(`DROP DOMAIN ${boxes}`))
  const read = `SELECT $1::${boxes}[]`
  const text = '{"{(1,1),(0,0);(2,2),(0,0)}";"{(3,3),(0,0)}"}'
  const list = await connection.fetchVal<object>(read, [text])
  t.deepEqual(await connection.fetchVal(`${read}::text`, [list]), text)
})
