// Many notifications at once, and numbers that show whether they all came.

import type { ExecutionContext } from 'ava'
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { serverDsn } from '../../lab/server/test-server.js'
import type { FloodOptions } from '../../lab/witness.js'
import { witness } from './listener.js'

const DEADLINE_MS = 20_000

const NOTIFY = `
  const { workerData: { dsn, channel, count, done } } = require('node:worker_threads')
  const { Client } = require('pg')
  void (async () => {
    const client = new Client({ connectionString: dsn })
    await client.connect()
    await client.query('SELECT count(pg_notify($1, n::text)) FROM generate_series(1, $2::int) n', [channel, count])
    await client.end()
    Atomics.store(done, 0, 1)
    Atomics.notify(done, 0)
  })()`

const NOTIFY_WHEN_TOLD = `
  const { parentPort, workerData: { dsn, channel, payload, told } } = require('node:worker_threads')
  const { Client } = require('pg')
  void (async () => {
    const client = new Client({ connectionString: dsn })
    await client.connect()
    parentPort.postMessage('ready')
    Atomics.wait(told, 0, 0)
    await client.query('SELECT pg_notify($1, $2)', [channel, payload])
    await client.end()
  })()`

/** A thread that notifies once it is told to, also while this one stands still; the end of the test ends it. */
export async function notifierBeside(
  t: ExecutionContext,
  channel: string,
  payload: string,
): Promise<() => void> {
  const told = new Int32Array(new SharedArrayBuffer(4))
  const workerData = { dsn: await serverDsn(), channel, payload, told }
  const worker = new Worker(NOTIFY_WHEN_TOLD, { eval: true, workerData })
  t.teardown(() => worker.terminate())
  await once(worker, 'message')
  return () => {
    Atomics.store(told, 0, 1)
    Atomics.notify(told, 0)
  }
}

/** Notifies `from` … `to` in one transaction; see {@link ServerWitness.flood}. */
export async function flood(
  channel: string,
  from: number,
  to: number,
  options: FloodOptions = {},
): Promise<void> {
  await (await witness()).flood(channel, from, to, options)
}

/** The numbers from `from` to `to`. */
export function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, index) => from + index)
}

/** Notifies numbers from 1 to `count` in one transaction, and blocks this thread until they are committed and `hasArrived()`. */
export async function notifyWhileBlocked(
  channel: string,
  count: number,
  hasArrived: () => boolean,
): Promise<void> {
  const done = new Int32Array(new SharedArrayBuffer(4))
  const workerData = { dsn: await serverDsn(), channel, count, done }
  const worker = new Worker(NOTIFY, { eval: true, workerData })
  await once(worker, 'online')
  const until = performance.now() + DEADLINE_MS
  Atomics.wait(done, 0, 0, DEADLINE_MS)
  const never = new Int32Array(new SharedArrayBuffer(4))
  while (!hasArrived()) {
    if (performance.now() > until)
      throw new Error(`expected ${count} to arrive in ${DEADLINE_MS} ms`)
    Atomics.wait(never, 0, 0, 10)
  }
  await worker.terminate()
}
