// Objects as parameters for composites: every value that a parameter has, at any depth, and nothing lost on the way.

import test from 'ava'
import * as fc from 'fast-check'
import { BoundedArray, type Connection, ConnectionExecuteError, Interval, Range } from 'pglisten'
import type { QueryParameter } from 'pglisten'
import { uniqueName } from '../../../lab/unique-name.js'
import { connect } from '../../support/connect.js'
import { EXACT } from '../../support/given-back.js'
import type { ExecutionContext } from 'ava'

const RUNS = 200

/** Integers beyond 2^53, of which the shortest digits name another integer. */
const unsafeInteger = fc.double({ min: 2 ** 53, max: 2 ** 70, noNaN: true }).map(Math.round)

/** A composite with a field of each kind, and one that has it as a field and in an array. */
async function composites(t: ExecutionContext) {
  const connection = await connect(t)
  const [inner, outer] = [uniqueName('inner'), uniqueName('outer')] as [string, string]
  await connection.executeBatch(`
    CREATE TYPE ${inner} AS (
      big int8, bigs int8[], bytes bytea, f float8, floats float8[], amount numeric, label text, labels text[],
      data jsonb, doc json, at timestamptz, ats timestamptz[], span int8range, ints int4[], during interval, spot point);
    CREATE TYPE ${outer} AS (one ${inner}, list ${inner}[], n int4)`)
  t.teardown(() => connection.executeBatch(`DROP TYPE ${outer}; DROP TYPE ${inner}`))
  return { connection, inner, outer }
}

const NOTHING = {
  big: null,
  bigs: null,
  bytes: null,
  f: null,
  floats: null,
  amount: null,
  label: null,
  labels: null,
  data: null,
  doc: null,
  at: null,
  ats: null,
  span: null,
  ints: null,
  during: null,
  spot: null,
}

const FIELDS: Record<string, QueryParameter> = {
  big: 2n ** 63n - 1n,
  bigs: [-(2n ** 63n), null, 1n],
  bytes: Buffer.from([0, 255]),
  f: -0,
  floats: [Infinity, -Infinity, NaN, -0, null, 5e-324],
  label: '"a" \\ (b),',
  labels: ['', null, 'NULL', '"\\'],
  data: { z: { y: [1, null, { x: 'ü' }] }, a: 0.1 },
  at: new Date('-000043-03-15T12:00:00Z'),
  ats: [new Date('+010000-01-01T00:00:00Z'), Infinity, new Date(0), -Infinity],
  span: new Range({ lower: 1n, upper: 2n ** 62n }),
  ints: [
    [1, 2],
    [3, null],
  ],
  during: new Interval({ months: -1, days: 2, microseconds: -(2n ** 63n) }),
  spot: { x: -0, y: Infinity },
}

/** Before version 15 no text of the server has more than 2^31 hours. */
const INTERVAL_OF_OLD = new Interval({ months: -1, days: 2, microseconds: -(2n ** 62n) })

for (const [field, value] of Object.entries(FIELDS)) {
  test(`a field ${field} that was read can be given back, however deep it stands`, async (t) => {
    const { connection, inner, outer } = await composites(t)
    const isOld = Number.parseInt(connection.info.serverVersion) < 15
    const given = value instanceof Interval && isOld ? INTERVAL_OF_OLD : value
    const one = { ...NOTHING, [field]: given }
    t.deepEqual(await connection.fetchVal(`SELECT $1::${inner}`, [{ [field]: given }]), one)
    const whole = { one, list: [one, null, one], n: 7 }
    t.deepEqual(await connection.fetchVal(`SELECT $1::${outer}`, [whole]), whole)
    t.deepEqual(await connection.fetchVal(`SELECT $1::${outer}[]`, [[whole]]), [whole])
  })
}

test('a field that is given as another object is what that is', async (t) => {
  const { connection, inner, outer } = await composites(t)
  const given: [string, QueryParameter, unknown][] = [
    ['ints', new Set([1, 2]), [1, 2]],
    ['ints', new Int16Array([3, 4]), [3, 4]],
    ['ints', new BoundedArray([5, 6], [0]), [5, 6]],
    ['bytes', new Uint8Array([1, 2]).buffer, Buffer.from([1, 2])],
    ['label', { toPostgres: () => 'a text' }, 'a text'],
    ['data', { toPostgres: () => '{"a": 1}' }, { a: 1 }],
    ['data', new Map([['a', 1]]), { a: 1 }],
    ['big', { toPostgres: () => 5n }, 5n],
  ]
  for (const [field, value, read] of given) {
    const one = { ...NOTHING, [field]: read }
    t.deepEqual(await connection.fetchVal(`SELECT $1::${inner}`, [{ [field]: value }]), one, field)
    const whole = { one: new Map([[field, value]]), list: [{ [field]: value }] }
    const expected = { one, list: [one], n: null }
    t.deepEqual(await connection.fetchVal(`SELECT $1::${outer}`, [whole]), expected, field)
  }
})

test('a field that is an array of several dimensions keeps its bounds, and the composites in it', async (t) => {
  const { connection, inner, outer } = await composites(t)
  const options = { types: { arrayBounds: 'keep' } } as const
  const ints = new BoundedArray(FIELDS['ints'] as number[][], [0, -1])
  const bigs = new BoundedArray([[[5n]], [[null]]], [2, 3, 4])
  const one = { ...NOTHING, ints, bigs }
  const given = { ints, bigs }
  t.deepEqual(await connection.fetchVal(`SELECT $1::${inner}`, [given], options), one)
  const list = new BoundedArray([[one], [null]], [7, 8])
  const whole = { one, list, n: null }
  const nested = { one: given, list: new BoundedArray([[given], [null]], [7, 8]) }
  t.deepEqual(await connection.fetchVal(`SELECT $1::${outer}`, [nested], options), whole)
  // A composite within the array, given as an array of all of its fields.
  const fields = Object.keys(NOTHING).map((name) => (name === 'ints' ? ints : null))
  const asFields = { list: new BoundedArray([fields], [3]) }
  t.deepEqual(await connection.fetchVal(`SELECT $1::${outer}`, [asFields], options), {
    one: null,
    list: new BoundedArray([{ ...NOTHING, ints }], [3]),
    n: null,
  })
  const plain = Object.keys(NOTHING).map((name) => (name === 'label' ? 'a' : null))
  t.deepEqual(
    await connection.fetchVal(
      `SELECT $1::${outer}`,
      [{ list: new BoundedArray([plain, plain], [3]) }],
      options,
    ),
    {
      one: null,
      list: new BoundedArray(
        Array.from({ length: 2 }, () => ({ ...NOTHING, label: 'a' })),
        [3],
      ),
      n: null,
    },
  )
})

test('JSON in a field keeps the order of its keys, and the digits that its text has', async (t) => {
  const { connection, inner, outer } = await composites(t)
  const text = async (type: string, path: string, value: QueryParameter, options = {}) =>
    connection.fetchVal<string>(
      `SELECT ${path.replace('$1', `$1::${type}`)}::text`,
      [value],
      options,
    )
  const doc = { z: 1, b: { y: 2, a: [1.5, 'x'] }, a: 0 }
  const expected = '{"z":1,"b":{"y":2,"a":[1.5,"x"]},"a":0}'
  t.is(await text(inner, '($1).doc', { doc }), expected)
  t.is(await text(outer, '(($1).one).doc', { one: { doc } }), expected)
  t.is(await text(outer, '(($1).list)[1].doc', { list: [{ doc, big: 5n }] }), expected)
  const types = {
    json: { stringify: () => '{"amount": 12345678901234567890.12, "doc": {"n": 1e400}}' },
  }
  t.is(await text(inner, '($1).amount', {}, { types }), '12345678901234567890.12')
  t.is(await text(inner, '($1).doc', {}, { types }), '{"n": 1e400}')
})

test('any number in a field is that number, however JSON writes it', async (t) => {
  const { connection, inner } = await composites(t)
  const property = fc.asyncProperty(
    fc.oneof(fc.double(), fc.float(), fc.maxSafeInteger(), unsafeInteger),
    async (f) => {
      const given = {
        f,
        floats: [f, null],
        spot: { x: f, y: 0 },
        amount: Number.isFinite(f) ? f : 0,
      }
      const read = await connection.fetchVal<{ amount: string }>(`SELECT $1::${inner}`, [given])
      t.deepEqual(read, { ...NOTHING, ...given, amount: read.amount })
      t.is(Number(read.amount), given.amount + 0)
    },
  )
  await fc.assert(property, { numRuns: RUNS })
})

test('an integer beyond 2^53 in a field is refused where the type has exact integers, as it is outside of one', async (t) => {
  const { connection, inner, outer } = await composites(t)
  for (const unsafe of [2 ** 53, -(2 ** 53), 69504702542759210]) {
    for (const [type, given] of [
      ['int8', unsafe],
      [inner, { big: unsafe }],
      [inner, { bigs: [unsafe] }],
      [outer, { one: { big: unsafe } }],
    ] as [string, QueryParameter][]) {
      await t.throwsAsync(
        connection.fetchVal(`SELECT $1::${type}`, [given]),
        { instanceOf: ConnectionExecuteError, message: /to be .*integer/ },
        `${type} ${unsafe}`,
      )
    }
  }
})

test('a text of JSON that is nested without end is refused', async (t) => {
  const { connection, inner } = await composites(t)
  // Far more than a stack has room for. Every connection waits for the thread that looks at each level.
  const levels = 100_000
  const types = { json: { stringify: () => `{"ints":${'['.repeat(levels)}${']'.repeat(levels)}}` } }
  await t.throwsAsync(connection.fetchVal(`SELECT $1::${inner}`, [{}], { types }), {
    instanceOf: ConnectionExecuteError,
  })
  t.is(await connection.fetchVal('SELECT 1'), 1)
})

test('an object that has itself among its parts is refused', async (t) => {
  const { connection, outer } = await composites(t)
  const cyclic: Record<string, unknown> = { n: 1 }
  cyclic['one'] = { back: cyclic, again: cyclic }
  await t.throwsAsync(connection.fetchVal(`SELECT $1::${outer}`, [cyclic]), {
    code: 'ERR_PGLISTEN_ARGUMENT_TYPE',
    message: /to be a value that JSON can hold: Converting circular structure/,
  })
  cyclic['n'] = 1n
  await t.throwsAsync(connection.fetchVal(`SELECT $1::${outer}`, [cyclic]), {
    code: 'ERR_PGLISTEN_ARGUMENT_TYPE',
    message: /to be of at most 100 levels, got a deeper one/,
  })
})

const text = fc.oneof(
  fc.string({ unit: fc.constantFrom('"', '\\', "'", '(', ')', ',', ' ', '{', '}', 'a', 'NULL') }),
  fc.string({ unit: 'binary' }).filter((value) => !value.includes('\0')),
)
const int64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })
const some = fc.option(
  fc.record({
    big: fc.option(int64),
    bigs: fc.option(fc.array(fc.option(int64))),
    bytes: fc.option(fc.uint8Array().map((bytes) => Buffer.from(bytes))),
    f: fc.option(fc.double()),
    floats: fc.option(fc.array(fc.option(fc.oneof(fc.double(), unsafeInteger)))),
    label: fc.option(text),
    labels: fc.option(fc.array(fc.option(text))),
  }),
)

/** What the server makes of the fields, each a parameter of its own. */
const ROW =
  'ROW($F::int8, $F::int8[], $F::bytea, $F::float8, $F::float8[], NULL, $F::text, $F::text[])'

async function made(connection: Connection, type: string, parts: (object | null)[]) {
  const params: QueryParameter[] = []
  const rows = parts.map((part) => {
    if (part === null) return `NULL::${type}`
    const values = Object.values(part) as QueryParameter[]
    return `${ROW.replaceAll('$F', () => `$${params.push(values.shift()!)}`)}::${type}`
  })
  return connection.fetchVal<string>(
    `SELECT ROW(${rows[0]}, ARRAY[${rows.slice(1).join()}]::${type}[], 7)::text`,
    params,
  )
}

test('any composite within another is what the server makes of its fields, and is read back', async (t) => {
  const connection = await connect(t)
  const [inner, outer] = [uniqueName('inner'), uniqueName('outer')] as [string, string]
  await connection.executeBatch(`
    CREATE TYPE ${inner} AS (
      big int8, bigs int8[], bytes bytea, f float8, floats float8[], amount numeric, label text, labels text[]);
    CREATE TYPE ${outer} AS (one ${inner}, list ${inner}[], n int4)`)
  t.teardown(() => connection.executeBatch(`DROP TYPE ${outer}; DROP TYPE ${inner}`))
  const property = fc.asyncProperty(some, fc.array(some, { maxLength: 3 }), async (one, list) => {
    const given = { one, list, n: 7 }
    const [written, read] = (
      await connection.fetchRow<[string, QueryParameter]>(
        `SELECT $1::${outer}::text, $1::${outer}`,
        [given],
        { rowMode: 'array', ...EXACT },
      )
    ).values()
    t.is(written as string, await made(connection, inner, [one, ...list]))
    const whole = (part: object | null) => part && { amount: null, ...part }
    t.deepEqual(read, { one: whole(one), list: list.map(whole), n: 7 })
    t.is(await connection.fetchVal(`SELECT $1::${outer}::text`, [read as QueryParameter]), written)
  })
  await fc.assert(property, { numRuns: RUNS })
})

test('an array of composites of two dimensions can be given back, whatever the fields are', async (t) => {
  const connection = await connect(t)
  for (const [fields, row, one] of [
    ['a point, b point', "ROW('(1,2)', '(3,4)')", { a: { x: 1, y: 2 }, b: { x: 3, y: 4 } }],
    ['doc jsonb', `ROW('{"a": 1}')`, { doc: { a: 1 } }],
    ['a jsonb, b jsonb', `ROW('1', NULL)`, { a: 1, b: null }],
    ['list int4[], label text', "ROW('{1,2}', '(a)')", { list: [1, 2], label: '(a)' }],
  ] as const) {
    const type = uniqueName('cell')
    await connection.executeBatch(`CREATE TYPE ${type} AS (${fields})`)
    t.teardown(() => connection.executeBatch(`DROP TYPE ${type}`))
    for (const [array, expected] of [
      ['ARRAY[[$row, NULL]]', [[one, null]]],
      ['ARRAY[[$row, $row]]', [[one, one]]],
      ['ARRAY[[$row], [$row]]', [[one], [one]]],
      ['ARRAY[[NULL, NULL]]', [[null, null]]],
    ] as const) {
      const expression = `${array.replaceAll('$row', `${row}::${type}`)}::${type}[]`
      const read = await connection.fetchVal<object>(`SELECT ${expression}`)
      t.deepEqual(read, expected as object)
      t.true(
        await connection.fetchVal(`SELECT ($1::${type}[])::text = (${expression})::text`, [read]),
        expression,
      )
    }
  }
})

test('composites in an array can be given as the values of their fields', async (t) => {
  const connection = await connect(t)
  const [pair, note, spot] = ['pair', 'note', 'spot'].map((name) => uniqueName(name)) as [
    string,
    string,
    string,
  ]
  await connection.executeBatch(`
    CREATE TYPE ${pair} AS (a text, b text); CREATE TYPE ${note} AS (note text);
    CREATE TYPE ${spot} AS (at point, doc jsonb)`)
  t.teardown(() =>
    connection.executeBatch(`DROP TYPE ${pair}; DROP TYPE ${note}; DROP TYPE ${spot}`),
  )
  for (const [type, given, read] of [
    [
      pair,
      [
        ['(a)', 'x'],
        ['b', 'y'],
      ],
      [
        { a: '(a)', b: 'x' },
        { a: 'b', b: 'y' },
      ],
    ],
    [note, [['(note)']], [{ note: '(note)' }]],
    [spot, [[{ x: 1, y: 2 }, { x: 1 }]], [{ at: { x: 1, y: 2 }, doc: { x: 1 } }]],
    // Texts of composites, of which there are not as many as fields.
    [pair, [['(a,x)']], [[{ a: 'a', b: 'x' }]]],
  ] as const)
    t.deepEqual(await connection.fetchVal<object>(`SELECT $1::${type}[]`, [given]), read as object)
})
