// What the compiler tells users about statements and rows. Never executed: `tsc` is the test.

import type {
  Connection,
  QueryParameter,
  QueryParameters,
  QueryResult,
  Transaction,
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
