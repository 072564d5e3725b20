// Something on the way that ends idle connections sooner than the heartbeat comes: it is explained.

import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { serverDsn } from '../../lab/server/test-server.js'
import { waitFor } from '../../lab/wait.js'
import { openListener } from '../support/listener.js'

/** A proxy that ends a connection on which nothing was sent for so long. Gives the DSN by way of it. */
async function startIdleProxy(t: ExecutionContext, idleMs: number): Promise<string> {
  const target = new URL(await serverDsn())
  const server = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname)
    const both: [Socket, Socket] = [client, upstream]
    let timer: NodeJS.Timeout | undefined
    const end = () => {
      clearTimeout(timer)
      for (const socket of both) socket.destroy()
    }
    for (const [from, to] of [both, both.toReversed() as [Socket, Socket]]) {
      from.on('error', end).on('close', end)
      from.on('data', (chunk) => {
        clearTimeout(timer)
        timer = setTimeout(end, idleMs)
        to.write(chunk)
      })
    }
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.teardown(() => server.close())
  const dsn = new URL(target)
  dsn.hostname = '127.0.0.1'
  dsn.port = `${(server.address() as AddressInfo).port}`
  return dsn.href
}

const reconnect = { initialDelayMs: 5, maxDelayMs: 20 }

test('the third idle connection in a row that is ended is explained, once', async (t) => {
  const dsn = await startIdleProxy(t, 1500)
  const { listener } = await openListener(t, { reconnect }, { dsn })
  const warnings: string[] = []
  listener.on('warning', ({ message }) => warnings.push(message))
  await listener.startup()
  await waitFor(() => listener.stats().reconnects === 2)
  t.deepEqual(warnings, [])
  await waitFor(() => listener.stats().reconnects === 4)
  t.is(warnings.length, 1)
  t.regex(warnings[0]!, /ends connections that are idle for about 1\.[5-9] s/)
  t.regex(warnings[0]!, /lower `heartbeat\.intervalMs` below it/)
})

test('a heartbeat that is short enough keeps the connection, and nothing is said', async (t) => {
  const dsn = await startIdleProxy(t, 1500)
  const heartbeat = { intervalMs: 300 }
  const { listener } = await openListener(t, { reconnect, heartbeat }, { dsn })
  listener.on('warning', ({ message }) => t.fail(message))
  await listener.startup()
  const began = performance.now()
  await waitFor(() => performance.now() - began > 4000)
  t.is(listener.stats().reconnects, 0)
})
