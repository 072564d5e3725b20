// A proxy that ends idle connections, as HAProxy's `timeout client` does.

import type { ExecutionContext } from 'ava'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { serverDsn } from '../server/test-server.js'

/** A proxy that ends a connection on which nothing was sent for so long. Gives the DSN by way of it. */
export async function startIdleProxy(t: ExecutionContext, idleMs: number): Promise<string> {
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
