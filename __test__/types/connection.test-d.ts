// What the compiler tells users about statements and rows. Never executed: `tsc` is the test.

import type { Readable as NodeReadable } from 'node:stream'
import type { ReadableStream } from 'node:stream/web'
import {
  connect,
  CopyStream as CopyStreamClass,
  type ConnectOptions,
  type Connection,
  type ConnectionInfo,
  type CopyStream,
  type Cursor,
  type QueryParameter,
  type QueryParameters,
  type QueryResult,
  type Transaction,
} from 'pglisten'
import { exactly } from './exactly.js'

interface Order {
  id: bigint
  item: string
}

declare const connection: Connection

export async function rowsAreUnknownUnlessDeclared(): Promise<void> {
  const rows = await connection.execute('SELECT 1 AS n')
  exactly<QueryResult>()(rows)
  const orders = await connection.execute<Order>('SELECT id, item FROM orders')
  for (const order of orders) {
    exactly<Order>()(order)
  }
  // @ts-expect-error -- no such column.
  orders[0]?.price
  // A plain array, not a result of its own.
  const items = orders.map((order) => order.item)
  exactly<string[]>()(items)
}

export async function theFormOfRowsIsThatOfTheOptions(): Promise<void> {
  const sql = 'SELECT id, item FROM orders'
  const asArray = { rowMode: 'array' } as const
  const toItem = { map: (order: Order) => order.item }
  const toCount = { rowMode: 'array', map: (row: unknown[]) => row.length } as const
  exactly<QueryResult<unknown[]>>()(await connection.execute(sql, [], asArray))
  exactly<QueryResult<string>>()(await connection.fetch(sql, [], toItem))
  exactly<unknown[]>()(await connection.fetchRow(sql, [], asArray))
  exactly<[bigint, string]>()(await connection.fetchRow<[bigint, string]>(sql, [], asArray))
  exactly<string>()(await connection.fetchRow(sql, [], toItem))
  exactly<number>()(await connection.fetchRow(sql, [], toCount))
  exactly<Order>()(await connection.fetchRow<Order>(sql, [], { timeoutMs: 5 }))
  exactly<Order>()(await connection.fetchRow<Order>(sql))
  exactly<Record<string, unknown>>()(await connection.fetchRow(sql, []))
  exactly<unknown[] | null>()(await connection.fetchRowOrNull(sql, [], asArray))
  exactly<string | null>()(await connection.fetchRowOrNull(sql, undefined, toItem))
  exactly<Order | null>()(await connection.fetchRowOrNull<Order>(sql))
  const row = await connection.fetchRow(sql, [], asArray)
  // @ts-expect-error -- an array has no columns by name.
  row.id
  exactly<Cursor<unknown[]>>()(connection.cursor(sql, [], { ...asArray, batchSize: 5 }))
  exactly<Cursor<string>>()(connection.cursor(sql, [], toItem))
}

export async function thePipelineHasTheFormOfItsOptions(): Promise<void> {
  const statements = ['SELECT 1', ['SELECT $1', [1]]] as const
  exactly<[QueryResult, QueryResult]>()(await connection.pipeline(statements))
  exactly<[QueryResult, QueryResult]>()(await connection.pipeline(statements, { timeoutMs: 5 }))
  exactly<[QueryResult<unknown[]>, QueryResult<unknown[]>]>()(
    await connection.pipeline(statements, { rowMode: 'array' }),
  )
  exactly<[QueryResult<number>, QueryResult<number>]>()(
    await connection.pipeline(statements, { map: (row: { n: number }) => row.n }),
  )
}

export async function aPreparedStatementHasTheFormOfItsOptions(): Promise<void> {
  const statement = await connection.prepare<Order>('SELECT id, item FROM orders')
  const asArray = { rowMode: 'array' } as const
  const toItem = { map: (order: Order) => order.item }
  exactly<QueryResult<unknown[]>>()(await statement.execute([], asArray))
  exactly<QueryResult<string>>()(await statement.execute([], toItem))
  exactly<Order>()(await statement.fetchRow())
  exactly<Order>()(await statement.fetchRow([], { timeoutMs: 5 }))
  exactly<unknown[]>()(await statement.fetchRow([], asArray))
  exactly<string>()(await statement.fetchRow([], toItem))
  exactly<Order | null>()(await statement.fetchRowOrNull())
  exactly<[bigint, string] | null>()(await statement.fetchRowOrNull<[bigint, string]>([], asArray))
  exactly<string | null>()(await statement.fetchRowOrNull([], toItem))
  exactly<Cursor<Order>>()(statement.cursor([], { batchSize: 5 }))
  exactly<Cursor<unknown[]>>()(statement.cursor([], { ...asArray, batchSize: 5 }))
  exactly<Cursor<string>>()(statement.cursor([], { ...toItem, batchSize: 5 }))
}

export async function aTransactionGivesWhatItsWorkGives(): Promise<void> {
  const count = await connection.transaction(async (tx) => {
    exactly<Transaction>()(tx)
    const rows = await tx.execute('SELECT 1')
    return rows.length
  })
  exactly<number>()(count)
}

export async function undefinedIsNoParameter(): Promise<void> {
  await connection.execute('SELECT $1::text', [null])
  // @ts-expect-error -- null is spelt out.
  await connection.execute('SELECT $1::text', [undefined])
}

export async function parametersAreAListOrAMapping(either: QueryParameters): Promise<void> {
  const params: Record<string, QueryParameter> = { item: 'tea' }
  const orders = await connection.execute<Order>(
    'SELECT * FROM orders WHERE item = $(item)p',
    params,
  )
  exactly<QueryResult<Order>>()(orders)
  exactly<Order>()(
    await connection.fetchRow<Order>('SELECT $(id)p AS id', { id: 7n }, { timeoutMs: 5 }),
  )
  exactly<number>()(await connection.fetchVal<number>('SELECT $(n)p', { n: 7 } as const))
  await connection.fetchRowOrNull('SELECT $1', either)
  // @ts-expect-error -- null is spelt out.
  await connection.execute('SELECT $(a)p', { a: undefined })
  // @ts-expect-error -- neither.
  await connection.execute('SELECT $1', 7)
}

export async function setsOfParametersAreAllAlike(
  lists: Set<[number, string]>,
  mappings: Generator<{ id: number; item: string }>,
): Promise<void> {
  const insert = 'INSERT INTO orders VALUES ($1, $2)'
  exactly<number>()(
    await connection.executeMany(insert, [
      [1, 'tea'],
      [2, null],
    ]),
  )
  await connection.executeMany(insert, lists)
  const named = 'INSERT INTO orders VALUES ($(id)p, $(item)p)'
  await connection.executeMany(named, mappings)
  await connection.executeMany(named, [{ id: 1, item: 'tea' }])
  // @ts-expect-error -- a list among mappings.
  await connection.executeMany(named, [{ id: 1, item: 'tea' }, [2, 'milk']])
  // @ts-expect-error -- one list instead of a list of lists.
  await connection.executeMany(insert, [1, 'tea'])
}

export async function factsAreReadOnly(): Promise<void> {
  const { info } = connection
  exactly<ConnectionInfo>()(info)
  exactly<'idle' | 'active' | 'failed'>()(connection.transactionStatus)
  exactly<boolean>()(connection.inTransaction)
  // @ts-expect-error -- what the server reports is not set here.
  info.port = 5432
  // @ts-expect-error -- nor is it here.
  info.parameters['TimeZone'] = 'UTC'
}

export async function aConnectionOfItsOwnHasNoOptionsOfPools(): Promise<void> {
  exactly<Connection>()(await connect())
  exactly<Connection>()(await connect('postgres://localhost', { timeoutMs: 1000 }))
  await using alone = await connect({ host: 'localhost', port: undefined } satisfies ConnectOptions)
  exactly<Connection>()(alone)
  // @ts-expect-error -- one connection is no pool.
  await connect({ maxDbPoolSize: 2 })
  // @ts-expect-error -- nor has it listeners.
  await connect({ maxBufferedBytes: 16_384 })
}

export async function transactionsNest(): Promise<void> {
  await using tx = await connection.begin({ isolationLevel: 'serializable', readOnly: undefined })
  exactly<Transaction>()(tx)
  const nested = await tx.transaction((inner) => inner.savepoint(() => 7 as const))
  exactly<7>()(nested)
  // @ts-expect-error -- no such level.
  await connection.begin({ isolationLevel: 'snapshot' })
  // @ts-expect-error -- a savepoint has the level of its transaction.
  await tx.transaction(() => {}, { isolationLevel: 'serializable' })
  // Whoever does not begin the outermost one need not know which one it is.
  const work = (on: Connection | Transaction) =>
    on.transaction((inner) => inner.execute('SELECT 1'))
  exactly<QueryResult>()(await work(tx))
}

export async function dataComesFromWhateverGivesIt(
  stream: NodeReadable,
  web: ReadableStream,
): Promise<void> {
  const sql = 'COPY t FROM STDIN'
  exactly<number>()(await connection.copyFrom(sql, 'a'))
  await connection.copyFrom(sql, new Uint8Array())
  await connection.copyFrom(sql, ['a', Buffer.from('b')])
  await connection.copyFrom(sql, stream)
  await connection.copyFrom(sql, web)
  await connection.copyFrom(sql, connection.copyTo('COPY t TO STDOUT'))
  // @ts-expect-error -- no data.
  await connection.copyFrom(sql, [1])
  await connection.binaryCopyToTable('t', [Buffer.from('b')], { columns: ['a'] as const })
  // @ts-expect-error -- text is no binary data.
  await connection.binaryCopyToTable('t', ['a'])
}

export async function dataGoesWhereverItIsTaken(): Promise<void> {
  const copy = connection.copyTo('COPY t TO STDOUT', { timeoutMs: 1000 })
  exactly<CopyStream>()(copy)
  exactly<number | undefined>()(copy.rowCount)
  for await (const chunk of copy) exactly<Buffer>()(chunk)
  exactly<NodeReadable>()(copy.readable())
  copy.stream.pipeThrough(new CompressionStream('gzip'))
  // @ts-expect-error -- the package makes it.
  new CopyStreamClass()
}
