// A process that works jobs, or sends them, with one of the queues: node contestant.mjs ASKED, as JSON. Each is set up as its own
// documentation says for many short jobs, and to be woken by NOTIFY. It runs on the Node that they want.

import { setTimeout as sleep } from 'node:timers/promises'

/**
 * @typedef {object} Asked
 * @property {'pglisten' | 'pg-boss' | 'graphile-worker'} kind
 * @property {'drain' | 'work' | 'send'} role `drain`: fills, then works what is there. `work`: works what is sent.
 * @property {string} dsn
 * @property {number} count
 * @property {number} [perSecond] Of `send`.
 * @property {string} folder The `package.json` of the pglisten to take.
 */

/** @type {Asked} */
const { kind, role, dsn, count, perSecond = 0, folder } = JSON.parse(process.argv[2] ?? '')

/**
 * @typedef {object} Queue
 * @property {(count: number) => Promise<unknown>} fill
 * @property {(payload: string) => Promise<unknown>} send
 * @property {(handle: (payload: string) => void) => Promise<() => Promise<unknown>>} work Resolves with what ends it.
 * @property {() => Promise<unknown>} close
 */

/** So many jobs are fetched together where many wait. */
const MANY = 500

/** Imports what is not installed with the project. @param {string} name @returns {Promise<any>} */
const installed = (name) => import(name)

/** @type {Record<Asked['kind'], () => Promise<Queue>>} */
const QUEUES = {
  async pglisten() {
    const { createRequire } = await import('node:module')
    const { ConnectionPool } = createRequire(folder)('pglisten')
    const pool = new ConnectionPool({ dsn, maxDbPoolSize: 10 })
    await pool.durable.install()
    const subscription = pool.subscription('jobs', {
      channels: ['jobs'],
      from: 'beginning',
      ...(role === 'drain' && { batchSize: MANY }),
    })
    return {
      fill: (many) =>
        pool.execute(
          "SELECT pglisten.publish('jobs', n::text) FROM generate_series(1, $1::int) AS n",
          [many],
        ),
      send: (payload) => pool.publish('jobs', payload),
      async work(handle) {
        const ending = new AbortController()
        const run = subscription.run(
          (/** @type {unknown} */ _tx, /** @type {{ payload: string }} */ { payload }) =>
            handle(payload),
          { signal: ending.signal },
        )
        return async () => {
          ending.abort()
          await run
        }
      },
      close: () => pool.close(),
    }
  },

  async 'pg-boss'() {
    const { PgBoss } = await installed('pg-boss')
    const boss = new PgBoss({
      connectionString: dsn,
      useListenNotify: true,
      supervise: false,
      schedule: false,
    })
    boss.on('error', () => {})
    await boss.start()
    await boss.createQueue('jobs', { notify: true })
    return {
      async fill(many) {
        for (let done = 0; done < many; done += 1000) {
          const jobs = Array.from({ length: Math.min(1000, many - done) }, (_, index) => ({
            data: { payload: `${done + index}` },
          }))
          await boss.insert('jobs', jobs)
        }
      },
      send: (payload) => boss.send('jobs', { payload }),
      async work(handle) {
        const options = {
          batchSize: role === 'drain' ? MANY : 100,
          burstWhenBatchFull: true,
          pollingIntervalSeconds: 0.5,
        }
        await boss.work(
          'jobs',
          options,
          async (/** @type {{ data: { payload: string } }[]} */ jobs) => {
            for (const { data } of jobs) handle(data.payload)
          },
        )
        return () => boss.offWork('jobs', { wait: true })
      },
      close: () => boss.stop({ graceful: true }),
    }
  },

  async 'graphile-worker'() {
    const { Logger, makeWorkerUtils, run } = await installed('graphile-worker')
    const logger = new Logger(() => () => {})
    const utils = await makeWorkerUtils({ connectionString: dsn, logger })
    await utils.migrate()
    return {
      async fill(many) {
        const jobs = `SELECT graphile_worker.add_jobs(array_agg(json_populate_record(
            NULL::graphile_worker.job_spec,
            json_build_object('identifier', 'jobs', 'payload', json_build_object('payload', n::text)))))
          FROM generate_series($1::int, $2::int) AS n`
        for (let done = 0; done < many; done += 1000) {
          await utils.withPgClient((/** @type {import('pg').ClientBase} */ client) =>
            client.query(jobs, [done + 1, Math.min(done + 1000, many)]),
          )
        }
      },
      send: (payload) => utils.addJob('jobs', { payload }),
      async work(handle) {
        const runner = await run({
          taskList: {
            jobs: async (/** @type {{ payload: string }} */ { payload }) => handle(payload),
          },
          noHandleSignals: true,
          logger,
          preset: {
            worker: {
              connectionString: dsn,
              concurrentJobs: 24,
              maxPoolSize: 25,
              ...(role === 'drain' && {
                localQueue: { size: MANY },
                completeJobBatchDelay: 0,
                failJobBatchDelay: 0,
              }),
            },
          },
        })
        return () => runner.stop()
      },
      close: async () => utils.release(),
    }
  },
}

const queue = await QUEUES[kind]()
if (role === 'send') {
  let next = performance.now()
  for (let sent = 0; sent < count; sent += 1) {
    await queue.send(`${process.hrtime.bigint()}`)
    next = Math.max(next + (1000 / perSecond) * (0.5 + Math.random()), performance.now())
    await sleep(next - performance.now())
  }
} else {
  if (role === 'drain') await queue.fill(count)
  let seen = 0
  /** @type {number[]} */
  const latencies = []
  /** @type {() => void} */
  let finish = () => {}
  const finished = new Promise((resolve) => {
    finish = () => resolve(undefined)
  })
  const before = process.cpuUsage()
  const since = performance.now()
  const stop = await queue.work((payload) => {
    if (role === 'work') latencies.push(Number(process.hrtime.bigint() - BigInt(payload)) / 1e6)
    seen += 1
    if (seen === count) finish()
  })
  if (role === 'work') process.send?.({ ready: true })
  await finished
  // What is done counts once it is done for the database too.
  await stop()
  const seconds = (performance.now() - since) / 1000
  const { user, system } = process.cpuUsage(before)
  process.send?.({ perSecond: seen / seconds, cpuUs: (user + system) / seen, latencies })
}
await queue.close()
process.exit(0)
