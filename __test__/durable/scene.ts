// A server of the file's own, with durable subscriptions installed: others of a common one would be rung for.

import type { ExecutionContext } from 'ava'
import {
  ConnectionPool,
  type ChannelSchemas,
  type ConnectionPoolOptions,
  type NoSchemas,
  type DurableEvent,
  type SubscriptionMessage,
  type SubscriptionOptions,
  type Transaction,
} from 'pglisten'
import { startServer, type DevServer } from '../../lab/server/test-server.js'
import { uniqueName } from '../../lab/unique-name.js'
import { waitFor } from '../../lab/wait.js'
import { ServerWitness } from '../../lab/witness.js'
import { told } from '../support/told.js'

let starting: Promise<DevServer> | undefined

/** The file's server. It ends with the process. */
export function server(): Promise<DevServer> {
  starting ??= startServer({ settings: { max_prepared_transactions: 10, max_connections: 300 } })
  return starting
}

/** A pool on the server, with the schema. */
export async function openPool<Schemas extends ChannelSchemas = NoSchemas>(
  t: ExecutionContext,
  options: ConnectionPoolOptions<Schemas> = {},
) {
  const pool = new ConnectionPool({ dsn: (await server()).dsn, ...options })
  t.teardown(() => pool.close())
  return pool
}

/** Options by which tests do not wait. */
export const QUICK = { standbyPollMs: 20, safetyNetMs: 10_000, retryDelayMs: 1 } as const

type Handler = (tx: Transaction, event: DurableEvent) => unknown

/** A channel and a subscription of a name of its own, with what tests do with them. */
export async function openScene(t: ExecutionContext, options: Partial<SubscriptionOptions> = {}) {
  const pool = await openPool(t)
  await pool.durable.install()
  const [channel, name] = [uniqueName('channel'), uniqueName('subscription')] as [string, string]
  const witness = new ServerWitness((await server()).dsn)
  t.teardown(() => witness.close())
  const subscription = (more: Partial<SubscriptionOptions> = {}, from = pool) =>
    from.subscription(name, {
      channels: [channel],
      from: 'beginning',
      ...QUICK,
      ...options,
      ...more,
    })
  /** Runs a subscription until the test ends, or `stop` is called. */
  const run = (handler: Handler, more: Partial<SubscriptionOptions> = {}, from = pool) => {
    const made = subscription(more, from)
    const ending = new AbortController()
    const ended = made.run(handler, { signal: ending.signal })
    ended.catch(() => {})
    const stop = async () => {
      ending.abort()
      await ended
    }
    t.teardown(() => stop().catch(() => {}))
    return { subscription: made, ended, stop }
  }
  const publish = async (...payloads: string[]) => {
    for (const payload of payloads) await pool.publish(channel, payload)
  }
  return { pool, channel, name, witness, subscription, run, publish }
}

/** Waits until so many workers of a subscription sleep. */
export const asleep = ({ witness, name }: Awaited<ReturnType<typeof openScene>>, count = 1) =>
  waitFor(
    async () =>
      (await witness.ask('SELECT count(*)::int FROM pglisten.sleeper WHERE subscription = $1', [
        name,
      ])) === count,
  )

/** Waits until a worker of the subscription has looked, with its flag up, and found nothing. To be called before the worker runs. */
export function looked(t: ExecutionContext, { name }: Awaited<ReturnType<typeof openScene>>) {
  const messages = told<SubscriptionMessage>(t, 'pglisten:subscription')
  const isIt = (it: SubscriptionMessage) => it.subscription === name && it.event === 'asleep'
  return waitFor(() => messages.some(isIt))
}

/** The payloads of what `pglisten.take` returns, and the way behind them: the last row says how the position moves. */
export function taken(rows: readonly { id: unknown; payload: string }[]) {
  const events = rows.slice(0, -1)
  const last = rows.at(-1)
  const way = (last ? JSON.parse(last.payload) : {}) as { target?: string | null }
  const after = way.target ? { after: String(events.at(-1)!.id) } : {}
  return {
    payloads: events.map(({ payload }) => payload),
    way: JSON.stringify({ ...way, ...after }),
  }
}

/** Takes at most `n` events of a part of a subscription within a transaction, as a worker does. */
export async function take(tx: Transaction, name: string, n = 100, part = 0) {
  const sql = 'SELECT id, payload FROM pglisten.take($1, $2, $3, 60000, NULL)'
  const rows = await tx.fetch<{ id: bigint | null; payload: string }>(sql, [name, part, n])
  const { payloads, way } = taken(rows)
  return {
    payloads,
    /** Moves the position behind them. */
    advance: () =>
      tx.execute('SELECT pglisten.advance($1, $2, $3::text::jsonb)', [name, part, way]),
  }
}
