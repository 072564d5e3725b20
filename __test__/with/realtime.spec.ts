// The examples of Socket.IO and graphql-subscriptions.

import { createRequire } from 'node:module'
import path from 'node:path'
import test from 'ava'
import { Browser, root, startExample } from './support.js'
import { waitFor } from '../../lab/wait.js'

interface Socket {
  onAny(handler: (...args: unknown[]) => void): void
  close(): void
}
type Connect = (url: string, options: object) => Socket

const { io } = createRequire(path.join(root, 'examples/with/package.json'))('socket.io-client') as {
  io: Connect
}

test('socket.io: each customer hears of its own orders, and reads again after a lost session', async (t) => {
  const { program, run, severAll, isGone } = await startExample(t, 'socket.io')
  const [, url] = await program.says(/^(http:\S+)$/m)
  const customers = [7, 8].map((customer) => {
    const socket = io(url!, { query: { customer } })
    t.teardown(() => socket.close())
    const heard: unknown[] = []
    socket.onAny((...event) => heard.push(event.join(' ')))
    return heard
  })
  for (const heard of customers) await waitFor(() => heard.length === 1)
  await run(`SELECT pg_notify('orders', '{"id": 1, "customer": 7}');
             SELECT pg_notify('orders', '{"id": 2, "customer": 8}')`)
  for (const heard of customers) await waitFor(() => heard.length === 2)
  await severAll()
  for (const heard of customers) await waitFor(() => heard.length === 3)
  await run(`SELECT pg_notify('orders', '{"id": 3, "customer": 8}')`)
  await waitFor(() => customers[1]!.length === 4)
  t.deepEqual(customers, [
    ['read again', 'order 1', 'read again'],
    ['read again', 'order 2', 'read again', 'order 3'],
  ])
  t.is(await program.end(), 0)
  await isGone()
})

test('graphql: a subscription yields changes and gaps, and its end gives up the channel', async (t) => {
  const { program, ask, severAll, isGone } = await startExample(t, 'graphql')
  const [, url] = await program.says(/^(http:\S+)$/m)
  const headers = { 'content-type': 'application/json', accept: 'text/event-stream' }
  const query = 'subscription { orderChanged { id again } }'
  const browser = await Browser.open(t, url!, {
    method: 'POST',
    headers,
    body: JSON.stringify({ query }),
  })
  await waitFor(() =>
    ask<boolean>(`SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'LISTEN "orders"%'
    AND datname = current_database())`),
  )
  const change = (id: number) =>
    fetch(url!, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ query: `mutation { changeOrder(id: ${id}) }` }),
    }).then((response) => response.json())
  t.deepEqual(await change(5), { data: { changeOrder: true } })
  await browser.until('{"data":{"orderChanged":{"id":"5","again":null}}}')
  await severAll()
  await browser.until('{"data":{"orderChanged":{"id":null,"again":true}}}')
  await change(6)
  await browser.until('"id":"6"')
  browser.leave()
  await waitFor(() =>
    ask<boolean>(`SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'UNLISTEN "orders"%'
    AND datname = current_database())`),
  )
  t.is(await program.end(), 0)
  await isGone()
})
