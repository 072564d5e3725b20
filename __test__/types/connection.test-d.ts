// What the compiler tells users about statements and rows. Never executed: `tsc` is the test.

import type { Connection, QueryResult, Transaction } from 'pglisten'
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
