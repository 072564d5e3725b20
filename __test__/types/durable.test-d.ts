// What the compiler tells users about durable subscriptions. Never executed: `tsc` is the test.

import {
  ConnectionPool,
  type DurableEvent,
  type DurableEventOf,
  type Subscription,
  type SubscriptionStream,
  type Transaction,
} from 'pglisten'
import { z } from 'zod'
import { exactly } from './exactly.js'

declare const pool: ConnectionPool

const schemas = {
  orders: z.object({ id: z.string().transform(Number) }),
  jobs: z.object({ name: z.string() }),
}

export async function withoutSchemasPayloadsAreText(channel: string): Promise<void> {
  const subscription = pool.subscription('s', { channels: ['a', channel] })
  exactly<Subscription>()(subscription)
  await subscription.run((tx, event) => {
    exactly<Transaction>()(tx)
    exactly<string>()(event.payload)
    exactly<string>()(event.channel)
  })
  exactly<SubscriptionStream>()(subscription.batches())
  for await (const { events, tx, ack, nack } of subscription) {
    exactly<readonly DurableEvent[]>()(events)
    exactly<Transaction>()(tx)
    exactly<Promise<void>>()(ack())
    exactly<Promise<void>>()(nack(new Error()))
  }
  await pool.publish('any', 'text')
  // @ts-expect-error -- without a schema it is text.
  await pool.publish('any', { id: 1 })
  // @ts-expect-error -- it has no channels.
  pool.subscription('s', {})
}

export async function schemasGiveThePayloads(): Promise<void> {
  const typed = new ConnectionPool({ schemas })
  const orders = typed.subscription('s', { channels: ['orders'] })
  exactly<Subscription<DurableEvent<{ id: number }, 'orders'>>>()(orders)
  await orders.run((_tx, event) => {
    exactly<{ id: number }>()(event.payload)
    exactly<'orders'>()(event.channel)
  })
  for await (const { events } of orders.batches({ signal: AbortSignal.timeout(1) }))
    exactly<number | undefined>()(events[0]?.payload.id)
  await typed.publish('orders', { id: '5' }, { key: 'k' })
  // @ts-expect-error -- the input is text.
  await typed.publish('orders', { id: 5 })
  // @ts-expect-error -- no channel of the schemas.
  await typed.publish('order', { id: '5' })
  // @ts-expect-error -- no channel of the schemas.
  typed.subscription('s', { channels: ['order'] })
}

export async function severalChannelsAreToldApart(): Promise<void> {
  const typed = new ConnectionPool({ schemas })
  const both = typed.subscription('s', { channels: ['orders', 'jobs'], partitions: 2 })
  exactly<Subscription<DurableEventOf<typeof schemas, 'orders' | 'jobs'>>>()(both)
  await both.run((_tx, event) => {
    if (event.channel === 'orders') exactly<{ id: number }>()(event.payload)
    else exactly<{ name: string }>()(event.payload)
  })
  for await (const { events } of both)
    for (const event of events)
      if (event.channel === 'jobs') exactly<{ name: string }>()(event.payload)
}
