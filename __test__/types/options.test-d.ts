// What the compiler tells users about options, arguments, events and errors. Never executed: `tsc` is the test.

import {
  ConnectionPool,
  DatabaseError,
  ListenerCallbackError,
  ListenerGapError,
  PglistenError,
  type Gap,
  type Listener,
  type ListenerStats,
  type ListenerWarning,
} from 'pglisten'
import { exactly } from './exactly.js'

declare const pool: ConnectionPool
declare const listener: Listener

export function whatReachesAConsumerIsSelected(): void {
  const filter = { channels: ['a*'], prefix: '{', json: { path: ['n'], equals: null } } as const
  pool.listener({ coalesce: 'payload', filter })
  pool.listener({ coalesce: false, filter: false })
  pool.listener({ coalesce: undefined, filter: undefined })
  listener.messages({ coalesce: 'channel', filter: { json: { path: [], equals: 1 } } })
  listener.batches({ coalesce: false, filter: {} })
  void listener.subscribe('a', { coalesce: 'channel', filter })
  const { coalesced, filtered } = listener.stats()
  exactly<number>()(coalesced)
  exactly<number>()(filtered)
  // @ts-expect-error -- not one of the modes.
  pool.listener({ coalesce: true })
  // @ts-expect-error -- a path is a list of names.
  listener.messages({ filter: { json: { path: 'n', equals: 1 } } })
  // @ts-expect-error -- a value that JSON has no scalar for.
  listener.messages({ filter: { json: { path: ['n'], equals: {} } } })
  // @ts-expect-error -- both are needed.
  listener.messages({ filter: { json: { path: ['n'] } } })
}

export function aPoolIsMadeOfADsnOrOptionsOrNothing(): void {
  void new ConnectionPool()
  void new ConnectionPool('postgres://localhost')
  void new ConnectionPool({ host: 'localhost', port: 5432, sslMode: 'disable', maxDbPoolSize: 5 })
  void new ConnectionPool({ sslMode: 'verify-full', caFile: 'system', channelBinding: 'require' })
  void new ConnectionPool({ certFile: 'c', keyFile: 'k', sslNegotiation: 'direct' })
  void new ConnectionPool({ hosts: ['a', 'b'], targetSessionAttrs: 'prefer-standby' })
  void new ConnectionPool({ password: () => 'now', idleTimeoutSec: 30, maxLifetimeSec: 3600 })
  void new ConnectionPool({ password: async () => 'later' })
  // @ts-expect-error -- a function gives a password.
  void new ConnectionPool({ password: async () => {} })
  // @ts-expect-error -- not one of the roles.
  void new ConnectionPool({ targetSessionAttrs: 'master' })
  // @ts-expect-error -- no such option.
  void new ConnectionPool({ hostname: 'localhost' })
  // @ts-expect-error -- a port is a number.
  void new ConnectionPool({ port: '5432' })
  // @ts-expect-error -- not one of the modes.
  void new ConnectionPool({ sslMode: 'on' })
  // @ts-expect-error -- fractions of a second are allowed instead.
  void new ConnectionPool({ connectTimeoutNanosec: 5 })
}

export function listenersTakeTheirOptions(): void {
  void pool.listener({ concurrency: Infinity, ordered: false, reconnect: false, heartbeat: false })
  void pool.listener({ buffer: { overflow: 'pause' }, signal: AbortSignal.timeout(5) })
  void pool.listener<{ orders: { id: number } }>({ parse: JSON.parse })
  void pool.listener<{ orders: string }>({ parse: (payload, channel) => payload + channel })
  // @ts-expect-error -- `true` is no set of options.
  void pool.listener({ reconnect: true })
  // @ts-expect-error -- not one of the policies.
  void pool.listener({ buffer: { overflow: 'block' } })
  // @ts-expect-error -- a misspelt option.
  void pool.listener({ channel: 'a' })
  // @ts-expect-error -- `parse` is synchronous.
  void pool.listener<{ orders: Promise<string> }>({ parse: (payload) => Promise.resolve(payload) })
  // @ts-expect-error -- what `parse` gives is not what the channels promise.
  void pool.listener<{ orders: number }>({ parse: (payload) => payload })
}

export async function argumentsAreChecked(): Promise<void> {
  await listener.startup({ retry: true, signal: AbortSignal.timeout(5) })
  // @ts-expect-error -- how often is an option of reconnecting.
  await listener.startup({ retry: 5 })
  await pool.notify('channel')
  await pool.notify('channel', 'payload')
  // @ts-expect-error -- a payload is text.
  await pool.notify('channel', { id: 1 })
  // @ts-expect-error -- which channel?
  await listener.clearChannelCallbacks()
  // @ts-expect-error -- for all channels there is a method of its own.
  await listener.clearAllChannels('channel')
  // @ts-expect-error -- a callback is a function.
  await listener.addCallback('channel', 'callback')
  // @ts-expect-error -- not an option of messages().
  listener.messages({ maxSize: 5 })
  await listener.shutdown({ drain: true, timeoutMs: 100 })
  // @ts-expect-error -- in milliseconds.
  await listener.shutdown({ timeoutSec: 1 })
  // @ts-expect-error -- read only.
  listener.isStarted = true
}

export function eventsAreTyped(): void {
  listener
    .on('connected', (info) => exactly<{ processId: number }>()(info))
    .on('disconnected', ({ error }) => exactly<PglistenError>()(error))
    .on('reconnected', ({ gap }) => exactly<Gap>()(gap))
    .on('gap', (gap) => exactly<Gap>()(gap))
    .on('error', (error) => exactly<PglistenError>()(error))
    .on('warning', (warning) => exactly<ListenerWarning>()(warning))
    .on('closed', (error) => exactly<PglistenError | undefined>()(error))
  // @ts-expect-error -- no such event.
  listener.on('notification', () => {})
  exactly<Listener>()(listener.ref().unref())
}

export async function resultsAreTyped(): Promise<void> {
  exactly<'idle' | 'connecting' | 'connected' | 'reconnecting' | 'closed'>()(listener.state)
  exactly<string[]>()(listener.channels)
  exactly<ListenerStats>()(listener.stats())
  exactly<void>()(await listener.sync())
  await using batches = listener.batches({ gaps: 'include' })
  for await (const batch of batches) {
    const [first] = batch
    if (first && 'reason' in first) exactly<Gap>()(first)
  }
}

export function errorsTellWhatTheyAreAbout(error: unknown): void {
  if (error instanceof ListenerCallbackError) {
    exactly<string | undefined>()(error.channel)
    exactly<number | undefined>()(error.processId)
    exactly<unknown>()(error.payload)
  } else if (error instanceof ListenerGapError) {
    error.code satisfies 'ERR_PGLISTEN_LISTENER_GAP'
  } else if (error instanceof DatabaseError) {
    exactly<string>()(error.sqlState)
    exactly<string | undefined>()(error.constraint)
  } else if (error instanceof PglistenError) {
    exactly<string>()(error.code)
  }
}
