// Parameters by name: `$(name)p` in a statement, and a mapping of values.

import test from 'ava'
import * as fc from 'fast-check'
import {
  ArgumentRangeError,
  ArgumentTypeError,
  ConnectionExecuteError,
  DatabaseError,
  type PipelineStatement,
} from 'pglisten'
import { RecentlyUsed } from '../../src-ts/query/recently-used.js'
import { connect } from '../support/connect.js'

test('every method takes its parameters by name, and a name can be used twice', async (t) => {
  const connection = await connect(t)
  const sql = 'SELECT $(a)p::int4 AS a, $(größe_2)p::text AS b, $(a)p::int4 + 1 AS c'
  const params = { größe_2: 'x', a: 7 }
  const row = { a: 7, b: 'x', c: 8 }
  t.deepEqual((await connection.execute(sql, params)).result(), [row])
  t.deepEqual((await connection.fetch(sql, params)).result(), [row])
  t.deepEqual(await connection.fetchRow(sql, params), row)
  t.deepEqual(await connection.fetchRowOrNull(sql, params), row)
  t.is(await connection.fetchVal(sql, params), 7)
  t.is(await connection.transaction((tx) => tx.fetchVal(sql, params)), 7)
  t.is(await connection.fetchVal('SELECT $(id)p::int8', { id: null }), null)
})

test('a statement has one parameter for a name, however often it is used', async (t) => {
  const connection = await connect(t)
  await connection.execute('SELECT $(n)p::int4, $(m)p::text, $(n)p::int4 /* one each */', {
    n: 1,
    m: 'x',
  })
  const types = await connection.fetchVal(
    `SELECT parameter_types::text FROM pg_prepared_statements
      WHERE statement LIKE '%$1%$2%$1%/* one each */'`,
  )
  t.is(types, '{integer,text}')
})

test('executeMany takes mappings and lists, from any iterable', async (t) => {
  const connection = await connect(t)
  await connection.execute('CREATE TEMPORARY TABLE named_many (n int4 PRIMARY KEY, t text)')
  const named = 'INSERT INTO named_many VALUES ($(n)p, $(t)p)'
  function* generated() {
    for (let n = 0; n < 100; n += 1) yield { t: `row ${n}`, n }
  }
  t.is(await connection.executeMany(named, generated()), 100)
  t.is(await connection.executeMany(named, [{ n: 100, t: null }]), 1)
  t.is(await connection.executeMany(named, []), 0)
  const lists = new Set<[number, string]>([
    [200, 'x'],
    [201, 'y'],
  ])
  t.is(await connection.executeMany('INSERT INTO named_many VALUES ($1, $2)', lists), 2)
  t.is(await connection.fetchVal('SELECT count(*) FROM named_many'), 103n)

  const failing = (function* () {
    yield { n: 300, t: 'x' }
    throw new RangeError('mine')
  })()
  await t.throwsAsync(connection.executeMany(named, failing), {
    instanceOf: RangeError,
    message: 'mine',
  })
  t.is(await connection.fetchVal('SELECT count(*) FROM named_many WHERE n = 300'), 0n)
})

test('the sets of executeMany are all alike, and each fits', async (t) => {
  const connection = await connect(t)
  const many = connection as unknown as { executeMany: (...args: unknown[]) => Promise<number> }
  const named = 'SELECT $(n)p::int4'
  const refused: [string, unknown, string][] = [
    [
      named,
      [{ n: 1 }, [2]],
      'Expected `paramSets[1]` to be an object with the names of the statement, `n`, got an array',
    ],
    [
      'SELECT $1::int4',
      [[1], { n: 2 }],
      'Expected `paramSets[1]` to be an array, got an object: the statement has no names, such as `$(name)p`',
    ],
    [named, { n: 1 }, 'Expected `paramSets` to be an iterable of objects, got an object'],
    [named, 'n', 'Expected `paramSets` to be an iterable of objects, got `n` (string)'],
    [named, null, 'Expected `paramSets` to be an iterable of objects, got `null`'],
    [
      named,
      [{ n: undefined }],
      'Expected `paramSets[0].n` to be null, a boolean, a number, a bigint, a string or an object, got `undefined`',
    ],
  ]
  for (const [sql, sets, message] of refused) {
    await t.throwsAsync(many.executeMany(sql, sets), { instanceOf: ArgumentTypeError, message })
  }
  await t.throwsAsync(many.executeMany(named, { signal: undefined }), { message: /third argument/ })
  await t.throwsAsync(many.executeMany(named, [{ n: 1 }, { m: 1 }]), {
    instanceOf: ConnectionExecuteError,
    message: 'Expected `paramSets[1]` to have a value for `$(n)p`, got none',
  })
  await t.throwsAsync(many.executeMany(named, [{ n: 1 }, { n: true }]), {
    instanceOf: ConnectionExecuteError,
    message: /^Parameter set 1: Expected parameter \$\(n\)p \(int4\) to be an integer/,
  })
})

test('a name without a value, and a value without a name, are told by name', async (t) => {
  const connection = await connect(t)
  const sql = 'SELECT $(a)p::int4, $(b)p::int4'
  const refused: [object, string][] = [
    [{ a: 1 }, 'Expected `params` to have a value for `$(b)p`, got none'],
    [{}, 'Expected `params` to have a value for `$(a)p`, got none'],
    [
      { a: 1, b: 2, zz: 3 },
      'Expected `params` to have only names of the statement, got `zz` (string)',
    ],
    [
      { a: 1, b: 2, ['__proto__']: 3 },
      'Expected `params` to have only names of the statement, got `__proto__` (string)',
    ],
    [Object.create({ a: 1, b: 2 }), 'Expected `params` to have a value for `$(a)p`, got none'],
  ]
  for (const [params, message] of refused) {
    await t.throwsAsync(connection.fetchRow(sql, params as Record<string, number>), {
      instanceOf: ConnectionExecuteError,
      message,
    })
  }
})

test('only own properties are values', async (t) => {
  const connection = await connect(t)
  for (const name of ['__proto__', 'constructor', 'toString', 'hasOwnProperty']) {
    const sql = `SELECT $(${name})p::text`
    await t.throwsAsync(connection.fetchVal(sql, {}), {
      instanceOf: ConnectionExecuteError,
      message: `Expected \`params\` to have a value for \`$(${name})p\`, got none`,
    })
    t.is(await connection.fetchVal(sql, { [name]: 'own' }), 'own')
    const bare = Object.assign(Object.create(null) as Record<string, string>, { [name]: 'bare' })
    t.is(await connection.fetchVal(sql, bare), 'bare')
  }
})

test('a mapping is for names and a list for numbers, and a message says which was expected', async (t) => {
  const connection = await connect(t)
  const wrong = connection as unknown as { execute: (...args: unknown[]) => Promise<unknown> }
  const refused: [string, unknown, string][] = [
    [
      'SELECT $1::int4',
      { a: 1 },
      'Expected `params` to be an array, got an object: the statement has no names, such as `$(name)p`',
    ],
    [
      "SELECT '$(a)p'",
      {},
      'Expected `params` to be an array, got an object: the statement has no names, such as `$(name)p`',
    ],
    [
      'SELECT $(a)p::int4, $(b)p::int4',
      [1, 2],
      'Expected `params` to be an object with the names of the statement, `a`, `b`, got an array',
    ],
    [
      'SELECT $(a)p::int4',
      undefined,
      'Expected `params` to be an object with the names of the statement, `a`, got `undefined`',
    ],
    [
      'SELECT $(a)p::int4',
      new Map([['a', 1]]),
      'Expected `params` to be an object with the names of the statement, `a`, got an instance of Map',
    ],
    [
      'SELECT $(a)p::int4',
      { a: undefined },
      'Expected `params.a` to be null, a boolean, a number, a bigint, a string or an object, got `undefined`',
    ],
    [
      'SELECT $(a)p::jsonb',
      { a: [{ b: 1 }, /x/] },
      'Expected `params.a[1]` to be a value that JSON can hold, got an instance of RegExp',
    ],
  ]
  for (const [sql, params, message] of refused) {
    await t.throwsAsync(wrong.execute(sql, params), { instanceOf: ArgumentTypeError, message })
  }
  await t.throwsAsync(wrong.execute('SELECT $(a)p, $1', { a: 1 }), {
    instanceOf: ArgumentRangeError,
    message:
      'Expected `sql` to have parameters either with names, such as `$(name)p`, or with numbers, such as `$1`, got both',
  })
})

test('an object is taken for options or for a mapping by what the statement has', async (t) => {
  const connection = await connect(t)
  const { signal } = new AbortController()
  const options = { signal } as unknown as []
  await t.throwsAsync(connection.execute('SELECT 1', options), {
    instanceOf: ArgumentTypeError,
    message: /third argument/,
  })
  await t.throwsAsync(connection.execute('SELECT $(n)p::int4', options), {
    instanceOf: ArgumentTypeError,
    message: /third argument/,
  })
  t.is(await connection.fetchVal('SELECT $(signal)p::int4', { signal: 9 }), 9)
  t.is(await connection.fetchVal('SELECT $(timeoutMs)p::int4', { timeoutMs: 9 }, { signal }), 9)
})

test('a parameter that does not fit its type is told by name', async (t) => {
  const connection = await connect(t)
  const sql = 'SELECT $(first)p::text, $(second)p::int4'
  await t.throwsAsync(connection.fetchRow(sql, { first: '$1', second: true }), {
    instanceOf: ConnectionExecuteError,
    message: /^Expected parameter \$\(second\)p \(int4\) to be an integer/,
  })
})

test('the position in an error of the server is that in the given text', async (t) => {
  const connection = await connect(t)
  const sql = 'SELECT $(a_long_name)p::int4, $(größe)p::text, "🙂", nonsense'
  const error = await t.throwsAsync(connection.execute(sql, { a_long_name: 1, größe: 'x' }), {
    instanceOf: DatabaseError,
  })
  t.is(error.position, 1 + sql.indexOf('"🙂"'))
})

// The ways to quote any text, and how the server reads it.
const QUOTED: Record<string, (text: string) => string> = {
  string: (text) => `'${text.replaceAll("'", "''")}'`,
  'string with escapes': (text) =>
    `E'${text.replaceAll('\\', '\\\\').replaceAll("'", String.raw`\'`)}'`,
  'string in parts': (text) =>
    `E'' -- it's\n '${text.replaceAll('\\', '\\\\').replaceAll("'", String.raw`\'`)}'`,
  'string with Unicode escapes': (text) =>
    `U&'${text.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`,
  // The type's last letter is no prefix.
  'typed string': (text) => `name'${text.replaceAll("'", "''")}'`,
  'dollar-quoted string': (text) => `$a1$${text}$a1$`,
  'string after comments': (text) => `/* ' /* " */ $$ */ -- $a$ '\n $_$${text}$_$ /*/**/*/`,
}

for (const [how, quote] of Object.entries(QUOTED)) {
  test(`a ${how} keeps its text beside a name, as the server reads it`, async (t) => {
    const connection = await connect(t)
    const text = fc
      .array(
        fc.constantFrom('$(n)p', '$1', "'", '"', '\\', '--', '/*', '*/', '$$', '\n', 'é', ' '),
        {
          maxLength: 10,
        },
      )
      .map((parts) => parts.join(''))
    const property = fc.asyncProperty(text, async (text) => {
      const sql = `SELECT ${quote(text)} AS text, $(n)p::int4 AS n`
      t.deepEqual(await connection.fetchRow(sql, { n: 7 }), { text, n: 7 })
    })
    await fc.assert(property, { numRuns: 60 })
  })
}

test('a quoted identifier keeps its text beside a name', async (t) => {
  const connection = await connect(t)
  const sql = 'SELECT $(n)p::int4 AS "it\'s $(n)p ""-- ", 2 AS U&"\\0061$(n)p"'
  t.deepEqual(await connection.fetchRow(sql, { n: 1 }), { 'it\'s $(n)p "-- ': 1, 'a$(n)p': 2 })
})

test('a thousand statements with names give what each asks for, twice', async (t) => {
  const connection = await connect(t)
  for (let round = 0; round < 2; round += 1) {
    const values = await Promise.all(
      Array.from({ length: 1000 }, (_, n) => connection.fetchVal(`SELECT ${n} + $(m)p`, { m: 1 })),
    )
    t.deepEqual(
      values,
      Array.from({ length: 1000 }, (_, n) => n + 1),
    )
  }
})

test('what is kept is bounded, and what was used last stays', (t) => {
  const recent = new RecentlyUsed<number>(2)
  recent.set('a', 1)
  recent.set('b', 2)
  t.is(recent.get('a'), 1)
  recent.set('c', 3)
  t.is(recent.get('b'), undefined)
  t.is(recent.get('a'), 1)
  t.is(recent.get('c'), 3)
  recent.set('c', 4)
  t.is(recent.get('a'), 1)
  t.is(recent.get('c'), 4)
})

for (const types of [{}, { encoders: { bool: Boolean } }]) {
  const how = 'encoders' in types ? 'with encoders' : 'without encoders'
  test(`an error of a pipeline tells of a parameter by its name in the statement that has failed (${how})`, async (t) => {
    const connection = await connect(t)
    const refused = async (statements: PipelineStatement[], message: RegExp, index: number) => {
      const error = await t.throwsAsync(connection.pipeline(statements, { types }), {
        instanceOf: ConnectionExecuteError,
        message,
      })
      t.is(error.statementIndex, index)
    }
    await refused(
      [
        ['SELECT $(first)p::int4, $(second)p::text', { first: 1, second: 'a' }],
        ['SELECT $(second)p::text, $(first)p::int4', { first: new Date(0), second: 'a' }],
      ],
      /^Statement 1 of the pipeline: Expected parameter \$\(first\)p \(int4\) to be an integer/,
      1,
    )
    await refused(
      ['SELECT 1', ['SELECT $1::int4', [new Date(0)]]],
      /^Statement 1 of the pipeline: Expected parameter \$1 \(int4\)/,
      1,
    )
  })
}
