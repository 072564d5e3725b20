// Records that are copied to a table.

import { Readable } from 'node:stream'
import test from 'ava'
import {
  ArgumentTypeError,
  ConnectionExecuteError,
  ConnectionTimeoutError,
  DatabaseError,
  Interval,
  Range,
} from 'pglisten'
import type { Connection, Queryable } from 'pglisten'
import { uniqueName } from '../../../lab/unique-name.js'
import { within } from '../../../lab/wait.js'
import { connect } from '../../support/connect.js'

const COLUMNS =
  'n int4, t text, f float8, at timestamptz, b bool, big int8, num numeric, raw bytea, doc jsonb, list int4[]'

const at = new Date('2026-11-29T01:02:03.004Z')
const ROW = [
  1,
  'a\tb\n\\N "é😀"',
  0.1,
  at,
  true,
  2n ** 62n,
  '1.50',
  Buffer.from([0, 92, 255]),
  { a: ['\\'] },
  [1, null],
]
const READ = {
  n: 1,
  t: ROW[1],
  f: 0.1,
  at,
  b: true,
  big: 2n ** 62n,
  num: '1.50',
  raw: ROW[7],
  doc: { a: ['\\'] },
  list: [1, null],
}

async function table(connection: Connection, columns = COLUMNS): Promise<void> {
  await connection.execute(`CREATE TEMPORARY TABLE "Copied Rows" (${columns})`)
}

const all = async (connection: Connection) => [
  ...(await connection.fetch('SELECT * FROM "Copied Rows"')),
]

test('records are stored as they were, in either format', async (t) => {
  const connection = await connect(t)
  await table(connection)
  t.is(await connection.copyRecordsToTable('Copied Rows', [ROW, ROW.map(() => null)]), 2)
  const nulls = Object.fromEntries(Object.keys(READ).map((name) => [name, null]))
  t.deepEqual(await all(connection), [READ, nulls] as unknown[])
  await connection.execute('TRUNCATE "Copied Rows"')
  // A text for a timestamptz has no binary form: what follows it is text.
  const text = ROW.map((value, index) => (index === 3 ? '2026-11-29 01:02:03.004+00' : value))
  t.is(await connection.copyRecordsToTable('Copied Rows', [ROW, text, ROW]), 3)
  t.deepEqual(await all(connection), [READ, READ, READ] as unknown[])
  t.is(connection.transactionStatus, 'idle')
})

test('the format changes in the middle of many records, and nothing is lost or twice', async (t) => {
  const connection = await connect(t)
  await table(connection, 'n int4, at date')
  function* records() {
    for (let n = 0; n < 5000; n += 1) yield [n, n === 3333 ? '2000-01-01' : new Date(0)]
  }
  t.is(await connection.copyRecordsToTable('Copied Rows', records()), 5000)
  t.deepEqual(
    await connection.fetchRow('SELECT count(DISTINCT n)::int4, min(n), max(n) FROM "Copied Rows"'),
    { count: 5000, min: 0, max: 4999 },
  )
})

test('columns, schema, types without a binary form, and sources that take their time', async (t) => {
  const connection = await connect(t)
  await table(
    connection,
    "id serial, span int4range, wait interval, note text DEFAULT 'none', m money",
  )
  async function* records() {
    await Promise.resolve()
    yield [new Range({ lower: 1, upper: 5 }), new Interval({ days: 1 }), '12.5']
    yield [null, '2 hours', '7']
  }
  const columns = ['span', 'wait', 'm']
  t.is(
    await connection.copyRecordsToTable('Copied Rows', records(), { columns, schema: 'pg_temp' }),
    2,
  )
  t.deepEqual(
    [...(await connection.fetch('SELECT id, span::text, wait::text, note FROM "Copied Rows"'))],
    [
      { id: 1, span: '[1,5)', wait: '1 day', note: 'none' },
      { id: 2, span: null, wait: '02:00:00', note: 'none' },
    ],
  )
  t.is(await connection.copyRecordsToTable('Copied Rows', [], { columns }), 0)
})

test('nothing is stored when a record does not fit, a source fails, or the server refuses', async (t) => {
  const connection = await connect(t)
  await table(connection, 'n int4 CHECK (n < 100), t text')
  const refused = async (records: unknown, expectation: object) => {
    await t.throwsAsync(connection.copyRecordsToTable('Copied Rows', records as never), expectation)
    t.is(await connection.fetchVal('SELECT count(*) FROM "Copied Rows"'), 0n)
    t.is(connection.transactionStatus, 'idle')
  }
  const many = Array.from({ length: 1000 }, (_, n) => [n % 100, 'x'])
  await refused([...many, [1]], {
    instanceOf: ConnectionExecuteError,
    message: 'Expected record 1000 to have 2 values, one for each column, got 1',
  })
  await refused([...many, [new Date(0), 'x']], {
    instanceOf: ConnectionExecuteError,
    message:
      'Expected column `n` (int4) of record 1000 to be an integer between -2147483648 and 2147483647, got a Date',
  })
  await refused([...many, [100, 'x']], {
    instanceOf: DatabaseError,
    message: /violates check constraint/,
  })
  await refused([...many, [undefined, 'x']], {
    instanceOf: ArgumentTypeError,
    message: /`records\[1000\]\[0\]`/,
  })
  await refused([{ n: 1 }], { instanceOf: ArgumentTypeError })
  await refused(5, { instanceOf: ArgumentTypeError })
  let ended = false
  function* failing() {
    try {
      yield* many
      throw new RangeError('mine')
    } finally {
      ended = true
    }
  }
  await refused(failing(), { instanceOf: RangeError, message: 'mine' })
  t.true(ended)
  await t.throwsAsync(connection.copyRecordsToTable('nowhere', [[1]]), {
    instanceOf: DatabaseError,
  })
  t.is(await connection.fetchVal('SELECT 1'), 1)
})

test('within a transaction a failure undoes the copy alone', async (t) => {
  const connection = await connect(t)
  await table(connection, 'n int4')
  await connection.transaction(async (tx) => {
    await tx.execute('INSERT INTO "Copied Rows" VALUES (1)')
    await t.throwsAsync(tx.copyRecordsToTable('Copied Rows', [[2], ['no']]), {
      instanceOf: DatabaseError,
    })
    t.is(await tx.copyRecordsToTable('Copied Rows', [[3]]), 1)
  })
  await connection.executeBatch('BEGIN; INSERT INTO "Copied Rows" VALUES (4)')
  await t.throwsAsync(connection.copyRecordsToTable('Copied Rows', [['no']]), {
    instanceOf: DatabaseError,
  })
  t.is(await connection.copyRecordsToTable('Copied Rows', [[5]]), 1)
  await connection.executeBatch('COMMIT')
  t.deepEqual(await all(connection), [{ n: 1 }, { n: 3 }, { n: 4 }, { n: 5 }])
})

test('generated columns are left to the server, and identities and dropped columns are as COPY has them', async (t) => {
  const connection = await connect(t)
  await connection.executeBatch(`
    CREATE TEMPORARY TABLE "Made ""up" ("a b" int4, gone int4, twice int4 GENERATED ALWAYS AS ("a b" * 2) STORED, c text);
    ALTER TABLE "Made ""up" DROP gone`)
  for (const options of [
    {},
    { types: { encoders: { text: (value: unknown) => `<${String(value)}>` } } },
  ]) {
    t.is(await connection.copyRecordsToTable('Made "up', [[1, 'x']], options), 1)
  }
  t.deepEqual(
    [...(await connection.fetch('SELECT * FROM "Made ""up" ORDER BY c DESC'))],
    [
      { 'a b': 1, twice: 2, c: 'x' },
      { 'a b': 1, twice: 2, c: '<x>' },
    ],
  )
  await t.throwsAsync(connection.copyRecordsToTable('Made "up', [[1, 2, 'x']]), {
    message: /2 values.*got 3/,
  })
  await connection.execute('CREATE TEMPORARY TABLE nothing ()')
  t.is(await connection.copyRecordsToTable('nothing', []), 0)
})

test('what a source promises is waited for as await does, whatever then() it has', async (t) => {
  const connection = await connect(t)
  await connection.execute('CREATE TEMPORARY TABLE promised (n int4)')
  const promising = (values: unknown[]) => {
    const left = [...values]
    return {
      [Symbol.asyncIterator]: () => ({
        next: () =>
          Object.assign(Promise.resolve({ done: left.length === 0, value: left.shift() }), {
            // oxlint-disable-next-line no-thenable
            then: () => {},
          }),
      }),
    } as never
  }
  t.is(await within(connection.copyRecordsToTable('promised', promising([[1], [2]]))), 2)
  t.is(await within(connection.copyFrom('COPY promised FROM STDIN', promising(['3\n', '4\n']))), 2)
})

test('records may come from anything that can be iterated with await', async (t) => {
  const connection = await connect(t)
  await connection.execute('CREATE TEMPORARY TABLE awaited (n int4)')
  let left = 3
  const source = {
    [Symbol.asyncIterator]: () => ({
      next: () => ({
        // oxlint-disable-next-line no-thenable
        then: (resolve: (item: IteratorResult<[number]>) => void) =>
          resolve(left-- > 0 ? { done: false, value: [left] } : { done: true, value: undefined }),
      }),
    }),
  }
  t.is(await connection.copyRecordsToTable('awaited', source as never), 3)
  t.is(await connection.copyRecordsToTable('awaited', Readable.from([[1], [2]])), 2)
})

for (const how of ['transaction', 'statement', 'none'] as const) {
  for (const bound of ['timeoutMs', 'signal'] as const) {
    test(`bounds end a copy whose records do not come (${bound}; transaction begun by: ${how})`, async (t) => {
      const connection = await connect(t)
      const table = uniqueName('stalled')
      await connection.executeBatch(`CREATE TEMPORARY TABLE "${table}" (n int4)`)
      const stalled = async function* () {
        yield [1]
        await new Promise(() => {})
      }
      const reason = new Error('no longer')
      const controller = new AbortController()
      if (bound === 'signal') setTimeout(() => controller.abort(reason), 200)
      const options = bound === 'signal' ? { signal: controller.signal } : { timeoutMs: 200 }
      const copy = (queryable: Queryable) =>
        within(
          t.throwsAsync(queryable.copyRecordsToTable(table, stalled(), options), {
            instanceOf: bound === 'signal' ? Error : ConnectionTimeoutError,
            message: bound === 'signal' ? 'no longer' : /200 ms|\d+ ms/,
          }),
        )
      const count = (queryable: Queryable) =>
        queryable.fetchVal(`SELECT count(*)::int4 FROM "${table}"`)
      if (how === 'transaction') {
        await connection.transaction(async (tx) => {
          await copy(tx)
          t.is(await count(tx), 0)
        })
      } else {
        if (how === 'statement') await connection.execute('BEGIN')
        await copy(connection)
        t.is(connection.transactionStatus, how === 'statement' ? 'active' : 'idle')
        t.is(await count(connection), 0)
        if (how === 'statement') await connection.execute('COMMIT')
      }
      t.is(await connection.copyRecordsToTable(table, [[2]]), 1)
    })
  }
}

for (const ending of ['fails', 'succeeds'] as const) {
  test(`what resolves during a copy that ${ending}, within a transaction that a statement has begun, is kept`, async (t) => {
    const connection = await connect(t)
    await table(connection, 'n int4')
    await connection.execute('BEGIN')
    const copy = connection.copyRecordsToTable('Copied Rows', [[ending === 'fails' ? 'no' : 2]])
    const state = { isOver: false }
    const end = () => (state.isOver = true)
    const over = copy.then(end, end)
    const outcomes: Promise<unknown>[] = []
    // At every step of it.
    while (!state.isOver) {
      const insert = connection.execute('INSERT INTO "Copied Rows" VALUES (1)')
      outcomes.push(insert.then(() => 'resolved').catch((error: unknown) => error))
      await new Promise((resolve) => setImmediate(resolve))
    }
    await over
    if (ending === 'fails') await t.throwsAsync(copy, { instanceOf: DatabaseError })
    else t.is(await copy, 1)
    const settled = await Promise.all(outcomes)
    const refused = settled.filter((outcome) => outcome !== 'resolved')
    t.true(refused.length > 0)
    t.true(refused.every((outcome) => outcome instanceof ConnectionExecuteError))
    t.is(connection.transactionStatus, 'active')
    await connection.executeBatch('COMMIT')
    const stored = (n: number) =>
      connection.fetchVal('SELECT count(*)::int4 FROM "Copied Rows" WHERE n = $1', [n])
    t.is(await stored(1), settled.length - refused.length)
    t.is(await stored(2), ending === 'fails' ? 0 : 1)
  })
}

test('records whose values share their memory are stored as they were when they were taken', async (t) => {
  const connection = await connect(t)
  await table(connection, 'n int4, raw bytea, raws bytea[], at date[], doc jsonb')
  const bytes = new Uint8Array(4)
  const date = new Date(0)
  const values = [bytes, new DataView(bytes.buffer), bytes.buffer]
  function* records() {
    for (let n = 0; n < 300; n += 1) {
      bytes.fill(n % 256)
      date.setUTCFullYear(1000 + n)
      yield [n, values[n % 3]!, [bytes, bytes], [date], [bytes.length]]
    }
  }
  async function* later() {
    yield* records()
  }
  const insert = 'INSERT INTO "Copied Rows" VALUES ($1, $2, $3, $4, $5)'
  const encoders = { bool: Boolean }
  for (const store of [
    () => connection.copyRecordsToTable('Copied Rows', records()),
    () => connection.copyRecordsToTable('Copied Rows', later()),
    () => connection.executeMany(insert, records()),
    () => connection.executeMany(insert, records(), { types: { encoders } }),
  ]) {
    t.is(await store(), 300)
    const wrong = await connection.fetch(`
      SELECT n FROM "Copied Rows", decode(repeat(lpad(to_hex(n % 256), 2, '0'), 4), 'hex') AS r
      WHERE (raw, raws[1], raws[2], extract(year FROM at[1])::int4) IS DISTINCT FROM (r, r, r, 1000 + n)`)
    t.deepEqual([...wrong], [])
    await connection.execute('TRUNCATE "Copied Rows"')
  }
})

test('a parameter is that of the moment of the call', async (t) => {
  const connection = await connect(t)
  const [bytes, date] = [Buffer.from('before'), new Date(0)]
  const params = [bytes, date, 1]
  const sql = 'SELECT $1::bytea AS bytes, $2::timestamptz AS date, $3::int4 AS n'
  const encoders = { int4: Number }
  const sets = [params.slice(), params.slice()]
  await connection.execute('CREATE TEMPORARY TABLE moments (bytes bytea, date timestamptz, n int4)')
  const insert = 'INSERT INTO moments VALUES ($1, $2, $3)'
  const calls = [
    connection.fetchRow(sql, params),
    connection.fetchRow(sql, ['\\x6265666f7265', new Date(0), 1], { types: { encoders } }),
    connection.pipeline([[sql, params]]).then(([rows]) => rows[0]),
  ]
  const stored = connection.executeMany(insert, sets, {
    types: { encoders: { ...encoders, bytea: () => '\\x00', timestamptz: () => new Date(0) } },
  })
  params[2] = 2
  sets[1]![2] = 2
  sets.length = 1
  bytes.fill('x')
  date.setTime(1)
  for (const row of await Promise.all(calls))
    t.deepEqual(row, { bytes: Buffer.from('before'), date: new Date(0), n: 1 })
  t.is(await stored, 2)
  t.deepEqual([...(await connection.fetch('SELECT n FROM moments'))], [{ n: 1 }, { n: 1 }])
})

for (const [what, nothing] of [
  ['undefined', undefined],
  ['null', null],
  ['a number', 7],
] as const) {
  test(`a source whose next() gives ${what} is refused, as a loop refuses it`, async (t) => {
    const connection = await connect(t)
    await connection.execute('CREATE TEMPORARY TABLE refused (n int4)')
    const iterators: Record<string, () => unknown> = {
      'at once': () => ({ [Symbol.iterator]: () => ({ next: () => nothing }) }),
      later: () => ({ [Symbol.asyncIterator]: () => ({ next: async () => nothing }) }),
    }
    const readers = {
      'of a stream': () => ({
        getReader: () => ({ read: async () => nothing, cancel: async () => {} }),
      }),
    }
    const expectation = { instanceOf: ArgumentTypeError, message: /`done` and `value`/ }
    for (const [when, make] of Object.entries({ ...iterators, ...readers })) {
      const source = make() as never
      const copy = connection.copyFrom('COPY refused FROM STDIN', source)
      await t.throwsAsync(within(copy), expectation, when)
      await t.throwsAsync(
        within(connection.binaryCopyToTable('refused', source)),
        expectation,
        when,
      )
    }
    for (const [when, make] of Object.entries(iterators)) {
      const copy = connection.copyRecordsToTable('refused', make() as never)
      await t.throwsAsync(within(copy), expectation, when)
    }
    t.is(await connection.fetchVal('SELECT count(*)::int4 FROM refused'), 0)
  })
}
