// Listeners for tests, and the other side: who notifies them, and what the server knows of them.

import type { ExecutionContext } from 'ava'
import {
  ConnectionPool,
  type ConnectionPoolOptions,
  type Listener,
  type ListenerOptions,
  type ListenerPayloads,
} from 'pglisten'
import { uniqueName } from '../../lab/unique-name.js'
import { serverDsn } from '../../lab/server/test-server.js'

/** A listener with a pool of its own, and the name by which the server knows both. */
export interface Opened<Payloads extends ListenerPayloads = Record<string, string>> {
  listener: Listener<Payloads>
  pool: ConnectionPool
  applicationName: string
}

/** A listener that is not started. The end of the test shuts it down. */
export async function openListener<Payloads extends ListenerPayloads = Record<string, string>>(
  t: ExecutionContext,
  options: ListenerOptions<Payloads[keyof Payloads]> = {},
  poolOptions: ConnectionPoolOptions = {},
): Promise<Opened<Payloads>> {
  const applicationName = uniqueName('app')
  const pool = new ConnectionPool({ dsn: await serverDsn(), applicationName, ...poolOptions })
  t.teardown(() => pool.close())
  return { listener: pool.listener<Payloads>(options), pool, applicationName }
}

let shared: ConnectionPool | undefined

/** A pool of the file's own, for everything that is not to be mixed up with the pool under test. */
export async function otherPool(): Promise<ConnectionPool> {
  shared ??= new ConnectionPool({ dsn: await serverDsn(), maxDbPoolSize: 8 })
  return shared
}

/** Notifies through a connection that has nothing to do with the listener. */
export async function notify(channel: string, payload = ''): Promise<void> {
  await (await otherPool()).notify(channel, payload)
}

/** Notifies a channel with the numbers from 1 to `count`, in one transaction. */
export function notifyMany(channel: string, count: number): Promise<void> {
  return run(`SELECT pg_notify('${channel}', n::text) FROM generate_series(1, ${count}) AS n`)
}

/** Runs one statement aside, and gives its only value. */
export async function ask<Value>(sql: string, params: readonly unknown[] = []): Promise<Value> {
  await using connection = await (await otherPool()).connection()
  return await connection.fetchVal<Value>(sql, params as never)
}

/** Runs statements aside. */
export async function run(sql: string): Promise<void> {
  await using connection = await (await otherPool()).connection()
  await connection.executeBatch(sql)
}

/** How many server sessions have that application name. */
export async function sessionCount(applicationName: string): Promise<number> {
  return ask('SELECT count(*)::int4 FROM pg_stat_activity WHERE application_name = $1', [
    applicationName,
  ])
}

/** Ends a server session, as an administrator or a crash would. */
export async function terminate(processId: number): Promise<void> {
  await ask('SELECT pg_terminate_backend($1)', [processId])
}

/** The backend of the listening session. */
export async function backendOf(listener: Listener<never> | Listener): Promise<number> {
  return (listener as Listener).connection.fetchVal<number>('SELECT pg_backend_pid()')
}

/** The channels that the server listens to for this listener, in order, without the one of its fences. */
export async function serverChannels(listener: Listener<never> | Listener): Promise<string[]> {
  return (await serverChannelsAsListened(listener)).toSorted()
}

/** The same as the server has them: up to version 18 in the order of their LISTENs. */
export async function serverChannelsAsListened(
  listener: Listener<never> | Listener,
): Promise<string[]> {
  const rows = await (listener as Listener).connection.execute<{ channel: string }>(
    'SELECT channel FROM pg_listening_channels() AS channel',
  )
  return [...rows]
    .map(({ channel }) => channel)
    .filter((channel) => !channel.startsWith('pglisten_'))
}

/** A new channel that nobody else uses. */
export function uniqueChannel(): string {
  return uniqueName('channel')
}
