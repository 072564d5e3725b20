// Encoders of the elements of an array, whatever kind of array is given.

import test from 'ava'
import { BoundedArray, type Connection, type QueryParameter } from 'pglisten'
import { connect } from '../../support/connect.js'

const types = { encoders: { int4: (value: number) => value * 10 } }
const keeping = { types: { ...types, arrayBounds: 'keep' as const } }

const ARRAYS: [string, QueryParameter, unknown][] = [
  ['an array', [1, null, 2], [10, null, 20]],
  ['a set', new Set([1, 2]), [10, 20]],
  ['a set of arrays', new Set([[1], [2]]), [[10], [20]]],
  ['a typed array', new Int16Array([1, 2]), [10, 20]],
  ['a clamped one', new Uint8ClampedArray([1, 2]), [10, 20]],
  ['an array with bounds', new BoundedArray([1, 2], [5]), new BoundedArray([10, 20], [5])],
  [
    'one of two dimensions',
    new BoundedArray(
      [
        [1, 2],
        [3, null],
      ],
      [0, -1],
    ),
    new BoundedArray(
      [
        [10, 20],
        [30, null],
      ],
      [0, -1],
    ),
  ],
  ['what gives an array', { toPostgres: () => new Set([1]) }, [10]],
  ['nothing', null, null],
  ['the text of an array', '{1,2}', [1, 2]],
]

const WAYS: Record<string, (connection: Connection, value: QueryParameter) => Promise<unknown>> = {
  execute: (c, value) => c.fetchVal('SELECT $1::int4[]', [value], keeping),
  pipeline: (c, value) =>
    c.pipeline([['SELECT $1::int4[] AS v', [value]]], keeping).then(([rows]) => rows[0]!['v']),
  executeMany: async (c, value) => {
    await c.executeMany('INSERT INTO elements VALUES ($1)', [[value]], { types })
    return c.fetchVal('DELETE FROM elements RETURNING v', [], keeping)
  },
  copyRecordsToTable: async (c, value) => {
    await c.copyRecordsToTable('elements', [[value]], { types })
    return c.fetchVal('DELETE FROM elements RETURNING v', [], keeping)
  },
}

for (const [way, call] of Object.entries(WAYS)) {
  test(`the elements of every kind of array are encoded (${way})`, async (t) => {
    const connection = await connect(t)
    await connection.execute('CREATE TEMPORARY TABLE elements (v int4[])')
    for (const [what, value, read] of ARRAYS) {
      t.deepEqual(await call(connection, value), read, what)
    }
  })
}

test('an array that is nested too deeply is refused, and not too much for the stack', async (t) => {
  const connection = await connect(t)
  let deep: unknown[] = [1]
  for (let depth = 0; depth < 50_000; depth += 1) deep = [deep]
  await t.throwsAsync(connection.execute('SELECT $1::int4[]', [deep], { types }), {
    code: 'ERR_PGLISTEN_ARGUMENT_TYPE',
    message: /at most 100 levels/,
  })
  const itself = { toPostgres: (): object => itself }
  await t.throwsAsync(connection.execute('SELECT $1::int4[]', [itself], { types }), {
    code: 'ERR_PGLISTEN_ARGUMENT_TYPE',
  })
})
