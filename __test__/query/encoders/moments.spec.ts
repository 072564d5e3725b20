// Parameters that are encoded are those of the moment of the call, although the server is asked for their types first.

import test, { type ExecutionContext } from 'ava'
import { BoundedArray, type Connection, type QueryParameter, Range } from 'pglisten'
import { connect, openPool } from '../../support/connect.js'

/** No statement here has a parameter of that type. */
const elsewhere = { encoders: { bool: Boolean } }

/** Something that a program uses again, and how it does that. */
interface Reused {
  type: string
  value: QueryParameter
  change: () => void
}

class Place {
  constructor(public x: number) {}
  toPostgres() {
    return `(${this.x},0)`
  }
}

class Doc {
  constructor(public n: number) {}
}

function reused(): Record<string, Reused> {
  const buffer = Buffer.from('before')
  const bytes = new Uint8Array([1, 2, 3])
  const view = new DataView(new Uint8Array([4, 5]).buffer)
  const date = new Date(0)
  const list: (number | null)[] = [1, null]
  const dates = [new Date(0)]
  const set = new Set([1, 2])
  const typed = new Int16Array([1, 2])
  const map = new Map([['a', 1]])
  const literal = { a: { b: [1] } }
  const bounded = [1, 2]
  const place = new Place(1)
  const doc = new Doc(1)
  const docs = [new Doc(1)]
  const lower = new Date(0)
  return {
    buffer: { type: 'bytea', value: buffer, change: () => buffer.fill('x') },
    bytes: { type: 'bytea', value: bytes, change: () => bytes.fill(9) },
    view: { type: 'bytea', value: view, change: () => view.setInt8(0, 9) },
    'array buffer': {
      type: 'bytea',
      value: view.buffer,
      change: () => view.setInt8(1, 9),
    },
    date: { type: 'timestamptz', value: date, change: () => date.setTime(1) },
    list: { type: 'int4[]', value: list, change: () => (list.length = 0) },
    dates: { type: 'timestamptz[]', value: dates, change: () => dates[0]!.setTime(1) },
    set: { type: 'int4[]', value: set, change: () => set.clear() },
    typed: { type: 'int4[]', value: typed, change: () => typed.fill(9) },
    map: { type: 'jsonb', value: map, change: () => map.clear() },
    literal: { type: 'jsonb', value: literal, change: () => (literal.a.b[0] = 2) },
    bounded: {
      type: 'int4[]',
      value: new BoundedArray(bounded, [0]),
      change: () => bounded.fill(9),
    },
    range: { type: 'tstzrange', value: new Range({ lower }), change: () => lower.setTime(1) },
    'what says its text': { type: 'point', value: place, change: () => (place.x = 2) },
    'an instance': { type: 'jsonb', value: doc, change: () => (doc.n = 2) },
    instances: { type: 'jsonb[]', value: docs, change: () => (docs[0]!.n = 2) },
  }
}

/** What each way makes of a parameter, as text. The statement is not awaited yet. */
const WAYS: Record<
  string,
  (connection: Connection, type: string, value: QueryParameter, types: object) => Promise<unknown>
> = {
  execute: (c, type, value, types) => c.fetchVal(`SELECT $1::${type}::text`, [value], { types }),
  'by name': (c, type, value, types) =>
    c.fetchVal(`SELECT $(v)p::${type}::text`, { v: value }, { types }),
  pipeline: (c, type, value, types) =>
    c
      .pipeline([[`SELECT $1::${type}::text AS v`, [value]]], { types })
      .then(([rows]) => rows[0]!['v']),
  'pipeline by name': (c, type, value, types) =>
    c
      .pipeline([[`SELECT $(v)p::${type}::text AS v`, { v: value }]], { types })
      .then(([rows]) => rows[0]!['v']),
  executeMany: (c, type, value, types) => stored(c, `$1::${type}`, [[value]], types),
  'executeMany by name': (c, type, value, types) =>
    stored(c, `$(v)p::${type}`, [{ v: value }], types),
  'executeMany of a set': (c, type, value, types) =>
    stored(c, `$1::${type}`, new Set([[value]]), types),
  cursor: (c, type, value, types) => {
    const cursor = c.cursor(`SELECT $1::${type}::text AS v`, [value], { types })
    return cursor.fetch().then(async ([row]) => {
      await cursor.close()
      return row!['v']
    })
  },
}

async function stored(connection: Connection, value: string, sets: unknown, types: object) {
  const sql = `INSERT INTO moments VALUES (${value}::text)`
  const storing = connection.executeMany(sql, sets as unknown[][] as never, { types })
  const read = connection.fetchVal('SELECT v FROM moments')
  await storing
  const stored = await read
  await connection.execute('TRUNCATE moments')
  return stored
}

async function prepared(t: ExecutionContext): Promise<Connection> {
  const connection = await connect(t)
  await connection.execute('CREATE TEMPORARY TABLE moments (v text)')
  return connection
}

for (const [way, call] of Object.entries(WAYS)) {
  test(`a parameter without an encoder of its own is that of the moment of the call (${way})`, async (t) => {
    const connection = await prepared(t)
    for (const name of Object.keys(reused())) {
      const { type, value, change } = reused()[name]!
      const plain = await call(connection, type, value, {})
      const later = call(connection, type, value, elsewhere)
      change()
      t.is(await later, plain, name)
    }
  })
}

test('lists and mappings of parameters are taken at the moment of the call', async (t) => {
  const connection = await prepared(t)
  const options = { types: elsewhere }
  const list = [1]
  const mapping = { n: 1 }
  const statements: [string, unknown][] = [
    ['SELECT $1::int4 AS n', list],
    ['SELECT $(n)p::int4 AS n', mapping],
  ]
  const pipeline = connection.pipeline(statements as never[], options)
  const sets = new Set([list])
  const insert = 'INSERT INTO moments SELECT $1::int4::text'
  const many = connection.executeMany(insert, sets, options)
  const mappings = [mapping]
  const named = connection.executeMany(
    'INSERT INTO moments SELECT $(n)p::int4::text',
    mappings,
    options,
  )
  list[0] = 2
  mapping.n = 2
  sets.clear()
  mappings.length = 0
  statements.length = 0
  t.deepEqual(
    (await pipeline).map((rows: unknown) => (rows as { n: number }[])[0]!.n),
    [1, 1],
  )
  t.deepEqual(await Promise.all([many, named]), [1, 1])
  t.deepEqual([...(await connection.fetch('SELECT v FROM moments'))], [{ v: '1' }, { v: '1' }])
})

test('sets of parameters are read at the moment of the call, and what fails there fails the call', async (t) => {
  const connection = await prepared(t)
  let isRead = false
  const sets = function* () {
    yield [1]
    isRead = true
  }
  const insert = 'INSERT INTO moments SELECT $1::int4::text'
  const options = { types: elsewhere }
  const many = connection.executeMany(insert, sets(), options)
  t.true(isRead)
  t.is(await many, 1)
  const failing = function* () {
    yield [1]
    throw new RangeError('mine')
  }
  await t.throwsAsync(connection.executeMany(insert, failing(), options), { message: 'mine' })
  await t.throwsAsync(connection.executeMany(insert, 7 as never, options), {
    code: 'ERR_PGLISTEN_ARGUMENT_TYPE',
  })
  t.is(await connection.fetchVal('SELECT 1'), 1, 'the place was given up')
})

test('an encoder gets what was given, as it was at the moment of the call', async (t) => {
  const connection = await prepared(t)
  const given: unknown[] = []
  const encoder = (value: unknown) => {
    given.push(value)
    return null
  }
  const types = {
    encoders: { bytea: encoder, timestamptz: encoder, jsonb: encoder, int4: encoder },
  }
  const bytes = Buffer.from('a')
  const date = new Date(0)
  const doc = { a: [new Date(0)] }
  const own = new Doc(1)
  const call = connection.execute(
    'SELECT $1::bytea, $2::timestamptz, $3::jsonb, $4::jsonb, $5::int4[]',
    [bytes, date, doc, own, [[1], [2]]],
    { types },
  )
  bytes.fill('x')
  date.setTime(1)
  doc.a[0]!.setTime(1)
  await call
  t.deepEqual(given.slice(0, 3), [Buffer.from('a'), new Date(0), { a: [new Date(0)] }])
  t.is(given[3], own, 'an instance of a class is given itself')
  t.deepEqual(given.slice(4), [1, 2])
})

test('what only an encoder makes a parameter of is no error for it, and is one without', async (t) => {
  const connection = await connect(t)
  const types = { encoders: { int4: () => 7 } }
  const revoked = Proxy.revocable({}, {})
  revoked.revoke()
  const cycle: { self?: unknown } = {}
  cycle.self = cycle
  let deep: unknown[] = []
  for (let depth = 0; depth < 5000; depth += 1) deep = [deep]
  const thrower = {
    toPostgres() {
      throw new RangeError('mine')
    },
  }
  for (const value of [
    Promise.resolve(),
    /x/,
    new Date(NaN),
    revoked.proxy,
    cycle,
    deep,
    thrower,
  ]) {
    const sql = 'SELECT $1::int4, $2::int8'
    const both = (first: object, second: object) =>
      connection.execute(sql, [first, second] as QueryParameter[], { types })
    t.is((await both(value, 5n as never)).length, 1)
    await t.throwsAsync(both({}, value))
    await t.throwsAsync(connection.pipeline([[sql, [{}, value]]], { types }))
    await t.throwsAsync(connection.executeMany(sql, [[{}, value]], { types }))
  }
  t.is(await connection.fetchVal('SELECT 1'), 1, 'each place was given up')
})

test('a connection that is leased later has the parameters of the moment of the call too', async (t) => {
  const pool = await openPool(t, { maxDbPoolSize: 1, types: elsewhere })
  await using connection = await pool.connection()
  const busy = connection.execute('SELECT pg_sleep(0.2)')
  const bytes = Buffer.from('before')
  const read = connection.fetchVal('SELECT $1::bytea', [bytes])
  bytes.fill('x')
  await busy
  t.deepEqual(await read, Buffer.from('before'))
})
