// What the compiler tells users about payloads: from `parse`, from type arguments, and from schemas. Never executed: `tsc` is
// the test.

import {
  ConnectionPool,
  Gap,
  type BatchShape,
  type Connection,
  type Listener,
  type ListenerOptions,
  type NotificationColumns,
  type Notifier,
} from 'pglisten'
import { z } from 'zod'
import { exactly } from './exactly.js'

interface Order {
  id: number
}

// An interface has no index signature, unlike a type alias.
interface Payloads {
  orders: Order
  jobs: string
}

declare const pool: ConnectionPool

export function theTypeFollowsFromParse(): void {
  exactly<Listener>()(pool.listener())
  exactly<Listener>()(pool.listener({ channels: ['a'] }))
  // oxlint-disable-next-line typescript/no-explicit-any -- as `JSON.parse` is declared.
  exactly<Listener<Record<string, any>>>()(pool.listener({ parse: JSON.parse }))
  exactly<Listener<Record<string, Order>>>()(
    pool.listener({ parse: (payload) => JSON.parse(payload) as Order }),
  )
  exactly<Listener<Record<string, number>>>()(pool.listener({ parse: Number }))
  const options: ListenerOptions = {}
  exactly<Listener<Record<string, unknown>>>()(pool.listener(options))
  // @ts-expect-error -- a `parse` that returns a promise.
  pool.listener({ parse: async (payload) => Promise.resolve(payload) })
}

export function aTypeArgumentGivesEachChannelItsOwn(): void {
  exactly<Listener<Payloads>>()(pool.listener<Payloads>({ parse: JSON.parse }))
  exactly<Listener<{ jobs: string }>>()(pool.listener<{ jobs: string }>())
  pool.listener<{ jobs: string }>({ parse: (payload) => payload.trim() })
  pool.listener<Record<string, string>>({ parse: (payload) => payload.trim() })
  // @ts-expect-error -- payloads that are not text need `parse`.
  pool.listener<{ orders: Order }>()
  // @ts-expect-error -- payloads that are not text need `parse`.
  pool.listener<{ orders: Order }>({ channels: ['orders'] })
}

export async function callbacksOfListenAreTyped(channel: string): Promise<void> {
  await pool.listen({ a: (_connection, payload) => exactly<string>()(payload) }, { retry: true })
  await pool.listen({ [channel]: (_connection, payload) => exactly<string>()(payload) })
  const parse = (payload: string) => JSON.parse(payload) as Order
  await pool.listen({ a: (_connection, payload) => exactly<Order>()(payload) }, { parse })
  await pool.listen<Payloads>(
    {
      orders: (connection, payload, name) => {
        exactly<Connection>()(connection)
        exactly<Order>()(payload)
        exactly<'orders'>()(name)
      },
    },
    { parse: JSON.parse },
  )
}

const schemas = {
  orders: z.object({ id: z.string().transform(Number) }),
  wake: z.null(),
}

export async function schemasGiveBothTypes(): Promise<void> {
  const typed = new ConnectionPool({ schemas })
  const listener = typed.listener()
  await listener.addCallback('orders', (_connection, order) => exactly<Order>()(order))
  await typed.listen({ orders: (_connection, order) => exactly<Order>()(order) })
  await typed.notify('orders', { id: '5' })
  await typed.notifyMany('orders', [{ id: '5' }])
  await typed.notify('wake', null)
  // @ts-expect-error -- the input is text.
  await typed.notify('orders', { id: 5 })
  // @ts-expect-error -- the input is an object.
  await typed.notify('orders', 'text')
  // @ts-expect-error -- no channel of the schemas.
  await typed.notify('order', { id: '5' })
  // @ts-expect-error -- no channel of the schemas.
  await listener.addCallback('order', () => {})
  // A channel with text beside them.
  exactly<Listener<{ other: string }>>()(typed.listener<{ other: string }>())
  await pool.notify('any')
  await pool.notifyMany('any', ['text'])
}

export async function notifiersTakeWhatNotifyTakes(): Promise<void> {
  const typed = new ConnectionPool({ schemas })
  await using orders = typed.notifier('orders', { delayMs: 5 })
  await orders.notify({ id: '5' })
  // @ts-expect-error -- the input is text.
  await orders.notify({ id: 5 })
  // @ts-expect-error -- the channel has a schema.
  await orders.notify()
  // @ts-expect-error -- no channel of the schemas.
  typed.notifier('order')
  const texts = pool.notifier('any')
  exactly<Notifier>()(texts)
  await texts.notify()
  exactly<Promise<void>>()(texts.notify('text'))
}

export async function columnsAreTyped(listener: Listener<Payloads>): Promise<void> {
  for await (const columns of listener.batches({ shape: 'columns' })) {
    exactly<NotificationColumns<Order | string, 'orders' | 'jobs'>>()(columns)
    exactly<(Order | string)[]>()(columns.payloads)
    exactly<Int32Array>()(columns.processIds)
  }
  for await (const item of listener.batches({ shape: 'columns', gaps: 'include' })) {
    if (item instanceof Gap) exactly<Gap>()(item)
    else exactly<('orders' | 'jobs')[]>()(item.channels)
  }
  const shape: BatchShape = Math.random() > 0.5 ? 'columns' : 'messages'
  for await (const batch of listener.batches({ shape })) exactly<number>()(batch.length)
  // @ts-expect-error -- no such shape.
  listener.batches({ shape: 'rows' })
}

export async function streamsAndWaitsAreTyped(listener: Listener<Payloads>): Promise<void> {
  const stream = await listener.subscribe('orders', { gaps: 'include' })
  for await (const item of stream) {
    if ('payload' in item) exactly<Order>()(item.payload)
    else exactly<Gap>()(item)
  }
  const message = await listener.once('jobs', { timeoutMs: 5 })
  exactly<string>()(message.payload)
  exactly<Listener<Payloads>>()(listener.once('gap', (gap) => exactly<Gap>()(gap)))
  const remove = await listener.addCallback('orders', () => {})
  exactly<Promise<void>>()(remove())
  const next = await listener.messages().next({ timeoutMs: 5 })
  if (!next.done) exactly<Order | string>()(next.value.payload)
  // @ts-expect-error -- no channel of the listener.
  await listener.subscribe('order')
}
