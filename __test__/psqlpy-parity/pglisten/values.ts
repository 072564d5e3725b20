// Values as they are read and written.

import { readFileSync } from 'node:fs'
import { Interval } from 'pglisten'
import { attempt, type Program } from '../port.js'

const EXPRESSIONS = JSON.parse(
  readFileSync(new URL('../expressions.json', import.meta.url), 'utf8'),
) as string[]

const reading: Program = async (connection, say) => {
  for (const expression of EXPRESSIONS) {
    say(expression, await attempt(() => connection.fetchVal(`SELECT ${expression}`)))
  }
}

const orderOfKeys: Program = async (connection, say) => {
  for (const kind of ['json', 'jsonb']) {
    const value = await connection.fetchVal<object>(`SELECT '{"zz": 1, "a": 2}'::${kind}`)
    say(kind, Object.keys(value))
  }
}

const WRITTEN = {
  bool: true,
  int2: 7,
  int4: -7,
  int8: 2n ** 62n,
  float8: 0.1,
  numeric: '12345678901234567890.5',
  text: 'é 🙂 \'"\\',
  varchar: '',
  bytea: Buffer.from([0, 255]),
  uuid: '6f1d3f3e-5f4a-4c55-9d8c-0a1b2c3d4e5f',
  jsonb: { a: [1, 2.5, null, { b: 'x' }] },
  date: new Date(Date.UTC(2026, 10, 29)),
  timestamptz: new Date(Date.UTC(2026, 10, 29, 10, 11, 12, 500)),
  'int4[]': [1, 2, 3],
  'text[]': ['a', 'b c', ''],
  'float8[]': [
    [0.5, 1.5],
    [2.5, 3.5],
  ],
}

const writing: Program = async (connection, say) => {
  for (const [kind, value] of Object.entries(WRITTEN)) {
    const sql = `SELECT $1::${kind}::text`
    say(kind, await attempt(() => connection.fetchVal(sql, [value])))
    say(`NULL of ${kind}`, await attempt(() => connection.fetchVal(sql, [null])))
  }
}

const DAY = new Date(Date.UTC(2026, 10, 29))

/** What psqlpy has classes for in `extra_types`, and what else Python has types for. */
const EXTRA = {
  int2: 7,
  int4: -7,
  int8: 2n ** 62n,
  float4: 0.5,
  float8: 0.1,
  varchar: 'x',
  text: 'y',
  money: '12.34',
  json: { a: 1 },
  jsonb: [1, null],
  macaddr: '08:00:2b:01:02:0a',
  macaddr8: '08:00:2b:01:02:03:04:0a',
  point: { x: 1, y: 2.5 },
  line: { a: 1, b: -1, c: 0 },
  lseg: [
    { x: 1, y: 2 },
    { x: 3, y: 4 },
  ],
  box: [
    { x: 3, y: 4 },
    { x: 1, y: 2 },
  ],
  path: {
    points: [
      { x: 1, y: 2 },
      { x: 3, y: 4 },
    ],
    closed: false,
  },
  circle: { x: 1, y: 2, radius: 3 },
  bytea: Buffer.from([0, 255]),
  inet: '10.0.0.1',
  time: '12:34:56.000007',
  interval: new Interval({ days: 1, microseconds: 5 }),
  'int2[]': [1, 2],
  'bool[]': [true, false],
  'uuid[]': ['00000000-0000-0000-0000-000000000001'],
  'numeric[]': ['1.10'],
  'date[]': [DAY],
  'jsonb[]': [{ a: 1 }, { b: 2 }],
  'point[]': [{ x: 1, y: 2 }],
  'interval[]': [new Interval({ days: 1 })],
  'inet[]': ['10.0.0.1'],
}

const extraTypes: Program = async (connection, say) => {
  for (const [kind, value] of Object.entries(EXTRA)) {
    say(kind, await attempt(() => connection.fetchVal(`SELECT $1::${kind}::text`, [value])))
  }
}

export const VALUES: Record<string, Program> = {
  reading,
  'order of keys': orderOfKeys,
  writing,
  'extra types': extraTypes,
}
