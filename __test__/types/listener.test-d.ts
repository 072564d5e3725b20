// What the compiler tells users about listeners. Never executed: `tsc` is the test.

import {
  ConnectionPool,
  Gap,
  type Connection,
  type Listener,
  type ListenerNotificationMsg,
} from 'pglisten'
import { exactly } from './exactly.js'

interface Order {
  id: number
}

declare const pool: ConnectionPool

export async function payloadsAreTextUnlessDeclared(): Promise<void> {
  const listener = pool.listener()
  await listener.addCallback('any_channel', (connection, payload, channel, processId) => {
    exactly<Connection>()(connection)
    exactly<string>()(payload)
    exactly<'any_channel'>()(channel)
    exactly<number>()(processId)
  })
  for await (const message of listener) {
    exactly<string>()(message.payload)
  }
}

export async function declaredChannelsAreCheckedAndTyped(): Promise<void> {
  const listener: Listener<{ orders: Order; jobs: string }> = pool.listener({
    parse: (payload, channel) => (channel === 'orders' ? (JSON.parse(payload) as Order) : payload),
  })
  await listener.addCallback('orders', async (_connection, order) => {
    exactly<Order>()(order)
    return Promise.resolve(order.id)
  })
  // @ts-expect-error -- a misspelt channel is an error before the program runs.
  await listener.addCallback('order', () => {})
  // @ts-expect-error -- a callback that expects another payload is refused.
  await listener.addCallback('jobs', (_connection, order: Order) => order.id)

  for await (const message of listener) {
    if (message.channel === 'orders') {
      exactly<Order>()(message.payload)
    }
  }
}

export async function gapsAppearOnlyWhereAskedFor(
  listener: Listener<{ orders: Order }>,
): Promise<void> {
  type Message = ListenerNotificationMsg<Order, 'orders'>
  for await (const item of listener.messages()) {
    exactly<Message>()(item)
  }
  for await (const item of listener.messages({ gaps: 'include' })) {
    exactly<Message | Gap>()(item)
    if (item instanceof Gap) item.reason satisfies 'disconnect' | 'overflow' | 'decode'
  }
  for await (const batch of listener.batches({ maxSize: 100 })) {
    exactly<Message[]>()(batch)
  }
}

export function wrongOptionsAreRefused(): void {
  // @ts-expect-error -- not an option.
  pool.listener({ buffers: {} })
  // @ts-expect-error -- not a policy.
  pool.listener({ buffer: { overflow: 'dropAll' } })
  // @ts-expect-error -- only `false` switches it off.
  pool.listener({ heartbeat: true })
  // @ts-expect-error -- psqlpy's spelling.
  new ConnectionPool({ db_name: 'app' })
  // @ts-expect-error -- a port is a number.
  new ConnectionPool({ port: '5432' })
}

export function eventsAreTyped(listener: Listener): void {
  listener.on('gap', (gap) => {
    exactly<Gap>()(gap)
  })
  listener.on('disconnected', ({ error }) => {
    error.code satisfies string
  })
  listener.on(
    // @ts-expect-error -- no such event: it is the name that is refused.
    'reconnect',
    () => {},
  )
  listener.off(
    // @ts-expect-error -- no such event: it is the name that is refused.
    'eror',
    () => {},
  )
  for (const event of ['connected', 'disconnected'] as const) {
    listener.prependListener(event, ({ processId }) => exactly<number>()(processId))
  }
}

export async function disposalIsBuiltIn(): Promise<void> {
  await using own = new ConnectionPool()
  await using listener = own.listener()
  await using connection = await own.connection()
  await connection.execute('SELECT $1::int', [1])
  listener.ref().unref()
}
