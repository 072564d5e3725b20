// Listeners for tests, and the other side: who notifies them, and what the server knows of them.

import type { ExecutionContext } from 'ava'
import {
  ConnectionPool,
  type ConnectionPoolOptions,
  type Listener,
  type ListenerOptions,
  type ListenerPayloads,
  type WithParse,
} from 'pglisten'
import { uniqueName } from '../../lab/unique-name.js'
import { serverDsn } from '../../lab/server/test-server.js'
import { waitFor } from '../../lab/wait.js'
import { ServerWitness } from '../../lab/witness.js'

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
  // A generic wrapper cannot show the compiler that `parse` is there where payloads need it.
  const parsed = options as WithParse<typeof options>
  return { listener: pool.listener<Payloads>(parsed), pool, applicationName }
}

let shared: ServerWitness | undefined

/** The file's witness, which is `pg` and not the package under test. */
export async function witness(): Promise<ServerWitness> {
  shared ??= new ServerWitness(await serverDsn())
  return shared
}

/** Notifies through a session that has nothing to do with the listener. */
export async function notify(channel: string, payload = ''): Promise<void> {
  await (await witness()).notify(channel, payload)
}

/** Runs one statement of the witness, and gives its only value. */
export async function ask<Value>(sql: string, params: readonly unknown[] = []): Promise<Value> {
  return (await witness()).ask<Value>(sql, params)
}

/** Runs statements of the witness. */
export async function run(sql: string): Promise<void> {
  await (await witness()).run(sql)
}

/** How many server sessions have that application name. */
export async function sessionCount(applicationName: string): Promise<number> {
  return (await witness()).sessions(applicationName)
}

/**
 * Waits until so many sessions are open with an application's name. Where the machine stalls, an attempt to connect is followed by another
 * one, and the session of the one that has lost is there for a moment.
 */
export async function sessionsAre(applicationName: string, count: number): Promise<void> {
  await waitFor(async () => (await sessionCount(applicationName)) === count)
}

/** Ends a server session, as an administrator or a crash would. */
export async function terminate(processId: number): Promise<void> {
  await (await witness()).terminate(processId)
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
