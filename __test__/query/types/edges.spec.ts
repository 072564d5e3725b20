// Values at the edge of what JSON, XML and numbers can hold.

import test from 'ava'
import { ConnectionExecuteError, DatabaseError, type QueryParameter } from 'pglisten'
import { connect } from '../../support/connect.js'

test('numbers in JSON are written as JSON.stringify() writes them, in whatever they stand', async (t) => {
  const connection = await connect(t)
  const numbers = [
    ...[0, -0, 1, -1.5, 0.1, 1e14, 1e15, 1_764_504_000_000_000, 2 ** 53 - 1, 1.23e16, 1e20],
    ...[1e21, 1e300, -1e21, 1.5e-6, 1.5e-7, 5e-324, Number.MAX_VALUE, NaN, Infinity],
  ]
  const written = async (value: unknown) =>
    connection.fetchVal('SELECT $1::json::text', [value as QueryParameter])
  t.is(await written(numbers), JSON.stringify(numbers))
  t.is(await written({ numbers }), JSON.stringify({ numbers }))
  for (const number of numbers.filter(Number.isFinite))
    t.is(await written(number), JSON.stringify(number))
  t.is(
    await connection.fetchVal('SELECT (($1::jsonb)->>0)::int8', [[1_764_504_000_000_000]]),
    1_764_504_000_000_000n,
  )
})

test('dates, maps and sets have one form in JSON, wherever they stand', async (t) => {
  const connection = await connect(t)
  const at = new Date('2026-11-30T01:02:03.004Z')
  const read = async (value: unknown, types = {}) =>
    connection.fetchVal('SELECT $1::jsonb', [value as QueryParameter], { types })
  const map = new Map<string, unknown>([
    ['set', new Set(['x', at])],
    ['map', new Map([['b', 1]])],
  ])
  const asJson = { set: ['x', at.toISOString()], map: { b: 1 } }
  t.deepEqual(await read(map), asJson)
  t.deepEqual(await read([map, at]), [asJson, at.toISOString()])
  t.deepEqual(await read({ deep: [{ map }], at, none: undefined }), {
    deep: [{ map: asJson }],
    at: at.toISOString(),
  })
  // What says itself what its JSON is, and what the user's function makes.
  t.deepEqual(await read({ own: { toJSON: () => 'own', map } }), { own: 'own' })
  t.deepEqual(await read({ map }, { json: { stringify: () => '"mine"' } }), 'mine')
  const far = new Date(8.64e15)
  t.deepEqual(await read([far]), [far.toISOString()])
})

test('a number that float4 holds as no other than zero is refused', async (t) => {
  const connection = await connect(t)
  const read = (value: number) => connection.fetchVal('SELECT $1::float4 = 0', [value])
  for (const value of [1e-50, -1e-50, 1e-46, 5e-324]) {
    await t.throwsAsync(read(value), {
      instanceOf: ConnectionExecuteError,
      message: /within the range of float4/,
    })
    await t.throwsAsync(connection.fetchVal('SELECT $1::float4[]', [[value]]), {
      message: /float4/,
    })
  }
  for (const [value, isZero] of [
    [1e-45, false],
    [-1.5e-45, false],
    [0, true],
    [-0, true],
  ] as const)
    t.is(await read(value), isZero, String(value))
})

test('an xml that names its encoding is taken as the text that it is', async (t) => {
  const connection = await connect(t)
  const has = await connection.fetchVal("SELECT '<a/>'::xml::text").catch((error: unknown) => error)
  if (has instanceof DatabaseError && has.sqlState === '0A000') {
    t.log('this server has no libxml')
    t.pass()
    return
  }
  for (const encoding of ['ISO-8859-1', 'utf-16', 'UTF-8']) {
    const text = `<?xml version="1.0" encoding="${encoding}"?><a>é€</a>`
    t.regex(await connection.fetchVal<string>('SELECT $1::xml', [text]), /<a>é€<\/a>$/)
    t.regex(await connection.fetchVal<string>('SELECT $1::xml::text', [text]), /<a>é€<\/a>$/)
    t.deepEqual(
      (await connection.fetchVal<string[]>('SELECT $1::xml[]', [[text, null]])).map((one) =>
        one?.slice(-9),
      ),
      ['<a>é€</a>', undefined],
    )
    await connection.execute('CREATE TEMPORARY TABLE IF NOT EXISTS documents (n int4, x xml)')
    t.is(await connection.copyRecordsToTable('documents', [[1, text]]), 1)
    const stored = await connection.fetchVal<string>('DELETE FROM documents RETURNING x::text')
    t.regex(stored, /<a>é€<\/a>$/)
  }
})

test('null is a parameter of every type, also of one without a binary format', async (t) => {
  const connection = await connect(t)
  const types = await connection.fetch<{ name: string }>(
    `SELECT oid::regtype::text AS name FROM pg_type WHERE typtype <> 'p' AND typnamespace = 'pg_catalog'::regnamespace`,
  )
  t.true(types.some(({ name }) => name === 'aclitem'))
  for (const { name } of types)
    t.is(await connection.fetchVal(`SELECT $1::${name}`, [null], { prepared: false }), null, name)
  t.is(await connection.executeMany('SELECT $1::aclitem', [[null], ['postgres=r/postgres']]), 2)
})
