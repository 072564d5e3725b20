// COPY as a stream of bytes: what goes in and comes out, and what is refused.

import test, { type ExecutionContext } from 'ava'
import { createHash, randomBytes } from 'node:crypto'
import { createReadStream, createWriteStream, readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { ReadableStream } from 'node:stream/web'
import {
  ArgumentRangeError,
  ArgumentTypeError,
  ConnectionExecuteError,
  DatabaseError,
  type Connection,
  type CopySource,
  type CopyStream,
} from 'pglisten'
import { connect } from '../../support/connect.js'
import { openListener } from '../../support/listener.js'
import { collect } from '../../../lab/wait.js'

async function withTable(t: ExecutionContext, columns = 'n int4, s text'): Promise<Connection> {
  const connection = await connect(t)
  await connection.execute(`CREATE TEMPORARY TABLE copied (${columns})`)
  return connection
}

const IN = 'COPY copied FROM STDIN'
const OUT = 'COPY copied TO STDOUT'

async function readAll(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks)
}

const rows = (count: number) =>
  Array.from({ length: count }, (_, n) => `${n}\tÄ𝄞 row ${n}\n`).join('')

/** Parts of a length that divides neither rows nor characters. */
function* parts(text: string, length: number): Generator<Buffer> {
  const bytes = Buffer.from(text)
  for (let at = 0; at < bytes.length; at += length) yield bytes.subarray(at, at + length)
}

const SOURCES: Record<string, (text: string) => CopySource> = {
  text: (text) => text,
  bytes: (text) => Buffer.from(text),
  'a plain Uint8Array': (text) => new TextEncoder().encode(text),
  'memory that threads share': (text) => {
    const bytes = new Uint8Array(new SharedArrayBuffer(Buffer.byteLength(text)))
    new TextEncoder().encodeInto(text, bytes)
    return bytes
  },
  'an array of both': (text) => {
    const half = text.slice(0, text.lastIndexOf('\n', text.length / 2) + 1)
    return [half, '', Buffer.from(text.slice(half.length)), new Uint8Array()]
  },
  'an array of lines': (text) => text.split(/(?<=\n)/),
  'a generator of tiny parts': (text) => parts(text, 7),
  'a generator of large parts': (text) => parts(text, 300_001),
  'an asynchronous generator': async function* (text) {
    yield* parts(text, 1009)
  },
  'a stream of Node.js': (text) => Readable.from(parts(text, 65_537), { objectMode: false }),
  'a stream of Node.js with an encoding': (text) =>
    Readable.from(parts(text, 65_537), { objectMode: false }).setEncoding('utf8'),
  'a stream of the web': (text) => ReadableStream.from(parts(text, 100_003)),
  'a stream of the web that cannot be iterated': (text) => {
    const stream = ReadableStream.from<Uint8Array>(parts(text, 100_003))
    return { getReader: () => stream.getReader() }
  },
}

for (const [name, make] of Object.entries(SOURCES)) {
  test(`${name} is stored, and comes out as it went in`, async (t) => {
    const connection = await withTable(t)
    const text = rows(20_000)
    t.is(await connection.copyFrom(IN, make(text)), 20_000)
    const stream = connection.copyTo(OUT)
    t.is(stream.rowCount, undefined)
    t.is((await readAll(stream)).toString(), text)
    t.is(stream.rowCount, 20_000)
  })
}

test('nothing is stored of nothing, and nothing comes out of it', async (t) => {
  const connection = await withTable(t)
  const sources: CopySource[] = ['', [], new Uint8Array(), [''], Readable.from([])]
  for (const source of sources) t.is(await connection.copyFrom(IN, source), 0)
  const stream = connection.copyTo(OUT)
  t.deepEqual(await readAll(stream), Buffer.alloc(0))
  t.is(stream.rowCount, 0)
})

test('chunks that come out have 64 to 256 KiB, whatever the rows', async (t) => {
  const connection = await withTable(t)
  await connection.execute(
    "INSERT INTO copied SELECT n, repeat('x', CASE n % 1000 WHEN 0 THEN 700000 ELSE 50 END) FROM generate_series(1, 20000) n",
  )
  const hash = createHash('sha256')
  const lengths: number[] = []
  for await (const chunk of connection.copyTo(OUT)) {
    t.true(Buffer.isBuffer(chunk))
    lengths.push(chunk.length)
    hash.update(chunk)
  }
  const expected = await connection.fetchVal<string>(
    "SELECT encode(sha256(convert_to(string_agg(n || E'\\t' || s || E'\\n', '' ORDER BY n), 'UTF8')), 'hex') FROM copied",
  )
  t.is(hash.digest('hex'), expected)
  t.true(lengths.every((length) => length <= 256 * 1024))
  const small = lengths.filter((length) => length < 64 * 1024)
  // The last one; and where this machine was so busy that the data paused.
  t.log(`${lengths.length} chunks, ${small.length} of them small`)
  t.true(small.length < lengths.length / 4)
})

test('a chunk does not wait for the next one for long', async (t) => {
  const connection = await withTable(t)
  const stream = connection.copyTo(
    // The server passes on what fills its buffer of 8 KiB.
    "COPY (SELECT n::text FROM generate_series(1, 5000) n UNION ALL SELECT 'y' FROM pg_sleep(60)) TO STDOUT",
  )
  const [first] = await collect(stream, 1, { timeoutMs: 10_000 })
  t.true(first!.length > 1000 && first!.length < 64 * 1024, `${first!.length} bytes`)
  await stream.close()
  t.is(await connection.fetchVal('SELECT 1'), 1)
})

test('other formats are bytes like any other', async (t) => {
  const connection = await withTable(t)
  await connection.copyFrom(
    "COPY copied (s, n) FROM STDIN (FORMAT csv, HEADER, DELIMITER ';', NULL 'nil')",
    's;n\n"a;\n""b""";1\nnil;2\n',
  )
  t.deepEqual(await connection.fetch('SELECT * FROM copied ORDER BY n').then((all) => [...all]), [
    { n: 1, s: 'a;\n"b"' },
    { n: 2, s: null },
  ])
})

test('the binary format goes from table to table', async (t) => {
  const connection = await withTable(t, 'n int4, b bytea, s text')
  const bytes = randomBytes(300_000)
  await connection.execute("INSERT INTO copied VALUES (1, $1, 'é'), (2, NULL, NULL)", [bytes])
  await connection.execute(
    'CREATE TEMPORARY TABLE "Other ""table""" (x int4 DEFAULT 7, "n 1" int4, b bytea, s text)',
  )
  const data = await readAll(connection.copyTo('COPY copied TO STDOUT (FORMAT binary)'))
  const target = 'Other "table"'
  const columns = ['n 1', 'b', 's']
  t.is(await connection.binaryCopyToTable(target, data, { columns }), 2)
  t.is(await connection.binaryCopyToTable(target, [data], { columns, schema: 'pg_temp' }), 2)
  const few = async function* () {
    for (let at = 0; at < data.length; at += 1000) yield data.subarray(at, at + 1000)
  }
  t.is(await connection.binaryCopyToTable(target, few(), { columns, timeoutMs: 20_000 }), 2)
  const stored = await connection.fetch('SELECT * FROM "Other ""table""" WHERE "n 1" = 1')
  t.is(stored.length, 3)
  t.deepEqual({ ...stored[0] }, { x: 7, 'n 1': 1, b: bytes, s: 'é' })
  t.is(await connection.binaryCopyToTable('copied', data), 2)
  const refused = await t.throwsAsync(connection.binaryCopyToTable('copied', Buffer.from('no')), {
    instanceOf: DatabaseError,
  })
  t.is(refused.sqlState, '22P04')
  await t.throwsAsync(connection.binaryCopyToTable('COPIED', data), { instanceOf: DatabaseError })
})

test('names that no table can have, and data that is no bytes, are refused before anything is sent', async (t) => {
  const connection = await withTable(t)
  const data = Buffer.from('x')
  const copy = (table: unknown, options?: unknown, source: unknown = data) =>
    connection.binaryCopyToTable(table as string, source as Buffer, options as object)
  for (const name of ['', 'a\0b', 'x'.repeat(64), 'é'.repeat(32), '\uD800']) {
    await t.throwsAsync(copy(name), { instanceOf: ArgumentRangeError })
    await t.throwsAsync(copy('t', { schema: name }), { instanceOf: ArgumentRangeError })
    await t.throwsAsync(copy('t', { columns: ['n', name] }), {
      instanceOf: ArgumentRangeError,
      message: /`columns\[1\]`/,
    })
  }
  for (const [table, options] of [
    [7],
    ['t', { columns: [] }],
    ['t', { columns: 'n' }],
    ['t', { schema: 7 }],
    ['t', { schemas: 'x' }],
  ] as const) {
    await t.throwsAsync(copy(table, options), { instanceOf: ArgumentTypeError })
  }
  for (const source of ['text', null, 7, {}, new ArrayBuffer(4)])
    await t.throwsAsync(copy('t', {}, source), { instanceOf: ArgumentTypeError })
  await t.throwsAsync(copy('copied', {}, ['text']), {
    instanceOf: ArgumentTypeError,
    message: 'Expected `a chunk of source` to be a Uint8Array, got `text` (string)',
  })
  t.is(await connection.fetchVal('SELECT 1'), 1)
})

test('a table may have the name of a stream', async (t) => {
  const connection = await connect(t)
  await connection.execute('CREATE TEMPORARY TABLE stdin (stdout int4)')
  t.is(await connection.copyFrom('COPY stdin (stdout) FROM STDIN', '1\n'), 1)
  const nowhere = { instanceOf: DatabaseError, message: /could not open file/ }
  for (const sql of [
    "COPY stdin FROM '/no/such/file'",
    "COPY stdin (stdout) FROM '/no/such/file'",
  ]) {
    await t.throwsAsync(connection.execute(sql), nowhere)
    await t.throwsAsync(connection.executeBatch(`SELECT 1; ${sql}`), nowhere)
    await t.throwsAsync(connection.pipeline([sql]), { instanceOf: DatabaseError })
  }
  for (const sql of ['COPY stdin FROM STDIN', 'SELECT 1; /* to */ COPY stdin TO STDOUT'])
    await t.throwsAsync(connection.executeBatch(sql), { message: /use `copyFrom\(\)`/ })
})

test('what is no COPY of that direction is refused, and not run', async (t) => {
  const connection = await withTable(t)
  const refusedIn: [string, RegExp][] = [
    [OUT, /use `copyTo\(\)`/],
    ["COPY copied FROM '/dev/null'", /a file or a program of the server/],
    ["COPY copied FROM PROGRAM 'cat'", /a file or a program of the server/],
    ['INSERT INTO copied VALUES (1)', /Expected a `COPY … FROM STDIN`/],
    ['', /Expected a `COPY … FROM STDIN`/],
    [`${IN}; INSERT INTO copied VALUES (1)`, /stands alone/],
  ]
  const untouched = {
    [Symbol.iterator](): Iterator<string> {
      return { next: () => t.fail('the source was read') }
    },
  }
  for (const [sql, message] of refusedIn) {
    await t.throwsAsync(connection.copyFrom(sql, untouched), {
      instanceOf: ConnectionExecuteError,
      message,
    })
  }
  const refusedOut: [string, RegExp][] = [
    [IN, /use `copyFrom\(\)`/],
    ["COPY copied TO '/tmp/x'", /a file or a program of the server/],
    ['INSERT INTO copied VALUES (1) RETURNING n', /Expected a `COPY … TO STDOUT`/],
    [`${OUT}; INSERT INTO copied VALUES (1)`, /stands alone/],
  ]
  for (const [sql, message] of refusedOut) {
    await t.throwsAsync(readAll(connection.copyTo(sql)), {
      instanceOf: ConnectionExecuteError,
      message,
    })
  }
  t.is(await connection.fetchVal('SELECT count(*) FROM copied'), 0n)
})

test('a COPY that is run as a statement is refused with the method that runs it', async (t) => {
  const connection = await withTable(t)
  for (const sql of [IN, OUT]) {
    for (const run of [
      () => connection.execute(sql),
      () => connection.executeBatch(`SELECT 1; ${sql}`),
      () => connection.executeMany(sql, [[]]),
    ]) {
      await t.throwsAsync(run(), {
        instanceOf: ConnectionExecuteError,
        message: /use `copyFrom\(\)` and `copyTo\(\)`/,
      })
    }
  }
})

test('wrong arguments are refused, and so are chunks that are no data', async (t) => {
  const connection = await withTable(t)
  t.throws(() => connection.copyTo(7 as never), { instanceOf: ArgumentTypeError })
  t.throws(() => connection.copyTo(OUT, { timeout: 1 } as never), { instanceOf: ArgumentTypeError })
  t.throws(() => connection.copyTo('COPY\0'), { instanceOf: ArgumentRangeError })
  await t.throwsAsync(connection.copyFrom(7 as never, ''), { instanceOf: ArgumentTypeError })
  await t.throwsAsync(connection.copyFrom(IN, '', { timeoutMs: -1 }), {
    instanceOf: ArgumentRangeError,
  })
  for (const source of [undefined, null, 7, {}, new ArrayBuffer(4), new Date()]) {
    await t.throwsAsync(connection.copyFrom(IN, source as never), {
      instanceOf: ArgumentTypeError,
      message: /^Expected `source` to be a string, a Uint8Array, an iterable or a stream of them/,
    })
  }
  for (const chunk of [undefined, null, 7, {}, new ArrayBuffer(4), Promise.resolve('x'), ['x']]) {
    await t.throwsAsync(connection.copyFrom(IN, ['1\tx\n', chunk] as never), {
      instanceOf: ArgumentTypeError,
      message: /^Expected `a chunk of source` to be a string or a Uint8Array, got/,
    })
  }
  await t.throwsAsync(connection.copyFrom(IN, ['1\t\uD834', '\uDD1E\n']), {
    instanceOf: ArgumentRangeError,
    message: /half of a surrogate pair/,
  })
  t.is(await connection.fetchVal('SELECT count(*) FROM copied'), 0n)
})

test('data is read once', async (t) => {
  const connection = await withTable(t)
  const once = (stream: CopyStream) => {
    const message = /read only once/
    t.throws(() => stream[Symbol.asyncIterator](), { instanceOf: ConnectionExecuteError, message })
    t.throws(() => stream.readable(), { instanceOf: ConnectionExecuteError, message })
  }
  const first = connection.copyTo(OUT)
  await readAll(first)
  once(first)
  t.throws(() => first.stream, { instanceOf: ConnectionExecuteError })
  const second = connection.copyTo(OUT)
  t.is(second.stream, second.stream)
  once(second)
  const closed = connection.copyTo(OUT)
  await closed.close()
  once(closed)
  t.is(await connection.fetchVal('SELECT 1'), 1)
})

test('a COPY begins when it is read, and its chunks come in the order in which they were asked for', async (t) => {
  const connection = await withTable(t)
  const stream = connection.copyTo(OUT)
  await connection.copyFrom(IN, rows(30_000))
  const iterator = stream[Symbol.asyncIterator]()
  const chunks = await Promise.all(Array.from({ length: 100 }, () => iterator.next()))
  const data = Buffer.concat(chunks.flatMap((item) => (item.done ? [] : [item.value])))
  t.is(data.toString(), rows(30_000))
  t.true(chunks.at(-1)!.done)
  t.deepEqual(await iterator.next(), { done: true, value: undefined })
})

test('streams of Node.js and of the web carry it', async (t) => {
  const connection = await withTable(t)
  const folder = await mkdtemp(path.join(tmpdir(), 'pglisten-copy-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const [from, to] = [path.join(folder, 'from'), path.join(folder, 'to')]
  const text = rows(50_000)
  writeFileSync(from, text)
  t.is(await connection.copyFrom(IN, createReadStream(from)), 50_000)
  await pipeline(connection.copyTo(OUT).readable(), createWriteStream(to))
  t.is(readFileSync(to, 'utf8'), text)
  const chunks: Buffer[] = []
  const sink = new Writable({
    write(chunk: Buffer, _, done) {
      chunks.push(chunk)
      setImmediate(done)
    },
  })
  await pipeline(connection.copyTo(OUT), sink)
  t.is(Buffer.concat(chunks).toString(), text)
  const zipped = connection.copyTo(OUT).stream.pipeThrough(new CompressionStream('gzip'))
  const unzipped = zipped.pipeThrough(new DecompressionStream('gzip'))
  await connection.execute('SELECT 1').catch(() => {})
  t.is((await readAll(unzipped as unknown as AsyncIterable<Uint8Array>)).toString(), text)
  // From one connection to another, through the memory of neither.
  const other = connection.copyTo(OUT)
  t.is(await (await otherConnection(t)).copyFrom(IN, other), 50_000)
})

async function otherConnection(t: ExecutionContext): Promise<Connection> {
  const { pool } = await openListener(t)
  const connection = await pool.connection()
  await connection.execute('CREATE TEMPORARY TABLE copied (n int4, s text)')
  return connection
}

test('meanwhile the connection runs nothing, and says so', async (t) => {
  const connection = await withTable(t)
  await connection.execute(
    "INSERT INTO copied SELECT n, repeat('x', 100) FROM generate_series(1, 50000) n",
  )
  const refused = async () => {
    for (const run of [
      () => connection.execute('SELECT 1'),
      () => connection.copyFrom(IN, ''),
      () => connection.copyTo(OUT)[Symbol.asyncIterator]().next(),
      () => connection.transaction(() => 1),
      () => connection.begin(),
    ]) {
      await t.throwsAsync(run(), {
        instanceOf: ConnectionExecuteError,
        message: /^A COPY is open/,
      })
    }
  }
  for await (const chunk of connection.copyTo(OUT)) {
    t.true(chunk.length > 0)
    await refused()
    break
  }
  const source = async function* () {
    yield '1\tx\n'
    await refused()
  }
  t.is(await connection.copyFrom(IN, source()), 1)
  t.is(await connection.fetchVal('SELECT count(*) FROM copied'), 50_001n)
})

test('what was called before runs before, and a COPY sees it', async (t) => {
  const connection = await withTable(t)
  const before = connection.execute("INSERT INTO copied VALUES (1, 'before')")
  const data = await readAll(connection.copyTo(OUT))
  await before
  t.is(data.toString(), '1\tbefore\n')
})

test('a listening session copies nothing', async (t) => {
  const { listener } = await openListener(t)
  await listener.startup()
  const { connection } = listener
  const message = /connection of a listener/
  await t.throwsAsync(connection.copyFrom('COPY pg_class FROM STDIN', ''), {
    instanceOf: ConnectionExecuteError,
    message,
  })
  await t.throwsAsync(readAll(connection.copyTo('COPY pg_class TO STDOUT')), {
    instanceOf: ConnectionExecuteError,
    message,
  })
  await connection.transaction((tx) =>
    t.throwsAsync(readAll(tx.copyTo('COPY pg_class TO STDOUT')), { message }),
  )
  t.is(await connection.fetchVal('SELECT 1'), 1)
})

test('notices and notifications on the way change nothing', async (t) => {
  const connection = await withTable(t)
  await connection.executeBatch(`
    CREATE FUNCTION pg_temp.notice() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN RAISE WARNING 'row %', NEW.n; PERFORM pg_notify('copied', NEW.n::text); RETURN NEW; END $$;
    CREATE TRIGGER notice BEFORE INSERT ON copied FOR EACH ROW EXECUTE FUNCTION pg_temp.notice();
    LISTEN copied`)
  t.is(await connection.copyFrom(IN, rows(2000)), 2000)
  t.is((await readAll(connection.copyTo(OUT))).toString(), rows(2000))
  await connection.executeBatch('UNLISTEN copied')
})
