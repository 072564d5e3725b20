// Several hosts of which some do not answer: the one that does is found before whoever waits gives up.

import test, { type ExecutionContext } from 'ava'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  ConnectionFailedError,
  ConnectionPool,
  ConnectionTimeoutError,
  type ConnectionPoolOptions,
} from 'pglisten'
import { DeafPort } from '../../lab/network/deaf-port.js'
import { FaultProxy } from '../../lab/network/fault-proxy.js'
import { serverDsn } from '../../lab/server/test-server.js'
import { within } from '../../lab/wait.js'
import { uniqueChannel } from '../support/listener.js'

/** So many ports at which nothing is ever answered. */
async function deafPorts(t: ExecutionContext, count: number): Promise<number[]> {
  const target = Number(new URL(await serverDsn()).port)
  const ports = await Promise.all(Array.from({ length: count }, () => DeafPort.start(target)))
  for (const port of ports) t.teardown(() => port.stop())
  await Promise.all(ports.map((port) => port.deafen()))
  return ports.map(({ port }) => port)
}

/** A pool that knows these ports of this machine, in this order, and the account of the tests' server. */
async function open(
  t: ExecutionContext,
  ports: number[],
  options: ConnectionPoolOptions,
): Promise<ConnectionPool> {
  const { username, password, pathname } = new URL(await serverDsn())
  const pool = new ConnectionPool({
    hosts: ports.map(() => '127.0.0.1'),
    ports,
    username,
    password: decodeURIComponent(password),
    dbName: pathname.slice(1),
    ...options,
  })
  t.teardown(() => pool.close({ timeoutMs: 0 }))
  return pool
}

const goodPort = async () => Number(new URL(await serverDsn()).port)

/** The time for a connection is that for three hosts, as by default. */
const SHORT = { connectTimeoutSec: 3, acquireTimeoutSec: 9 } as const

test('a server behind three silent hosts is found within the time for a connection', async (t) => {
  const pool = await open(t, [...(await deafPorts(t, 3)), await goodPort()], SHORT)
  t.is(await pool.fetchVal('SELECT 1'), 1)
  const listener = pool.listener({ channels: [uniqueChannel()] })
  await within(listener.startup(), { timeoutMs: 9000 })
  await listener.shutdown()
})

test('a primary behind two silent hosts is found where a standby is preferred', async (t) => {
  const ports = [...(await deafPorts(t, 2)), await goodPort()]
  const pool = await open(t, ports, { ...SHORT, targetSessionAttrs: 'prefer-standby' })
  t.is(await pool.fetchVal('SELECT 1'), 1)
})

test('the hosts are named when there is no time for all of them', async (t) => {
  const ports = await deafPorts(t, 2)
  const pool = await open(t, ports, { connectTimeoutSec: 10, acquireTimeoutSec: 0.3 })
  const { message } = await t.throwsAsync(pool.connection(), { instanceOf: ConnectionTimeoutError })
  t.is(
    message,
    `connecting to 127.0.0.1:${ports[0]}, 127.0.0.1:${ports[1]} for the pool took longer than 300 ms`,
  )
})

test('a silent host is not the fault of the function that is asked for the password', async (t) => {
  const { password } = new URL(await serverDsn())
  let asked = 0
  const pool = await open(t, [...(await deafPorts(t, 1)), await goodPort()], {
    // The good host is tried after 1 s, and has until 5 s. The silent one is given up after 4 s, before the password is there.
    connectTimeoutSec: 4,
    password: async () => {
      asked += 1
      await sleep(3300)
      return decodeURIComponent(password)
    },
  })
  t.is(await pool.fetchVal('SELECT 1'), 1)
  t.is(asked, 1)
})

test('a server that lets us in and then says nothing more leaves the next one its time', async (t) => {
  const proxy = await FaultProxy.start(await goodPort())
  t.teardown(() => proxy.stop())
  proxy.set({ silentAfterRequest: 'pg_backend_pid' })
  const pool = await open(t, [proxy.port, await goodPort()], { connectTimeoutSec: 1 })
  t.is(await pool.fetchVal('SELECT 1'), 1)
  t.is(proxy.silent, 1)
  const alone = await open(t, [proxy.port], { connectTimeoutSec: 0.5 })
  await t.throwsAsync(alone.connection(), {
    instanceOf: ConnectionFailedError,
    message: /could not connect to 127.0.0.1:\d+: no answer within 0.5 s/,
  })
})
