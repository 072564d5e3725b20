// Durable subscriptions beside what else could be done. Prints tables; nothing fails on a figure.

import { ConnectionPool } from 'pglisten'
import { figure } from '../speed/statistics.mjs'
import {
  asAdministrator,
  COMMITS_PER_SECOND,
  consuming,
  latency,
  prefill,
  publishing,
} from './cases.mjs'
import { readOptions } from './options.mjs'
import { QUEUES, delaying, draining, installQueues } from './queues/main.mjs'
import { startDurableServer } from './server.mjs'

const { rounds, cases, seconds, events, bin } = readOptions()
const server = await startDurableServer({}, bin)
const pool = new ConnectionPool({ dsn: server.dsn })
await pool.durable.install()
await asAdministrator(server, async (client) => {
  const { rows } = await client.query('SHOW server_version')
  console.log(
    `PostgreSQL ${rows[0].server_version}, ${rounds} rounds: medians, with the least and the most`,
  )
  await client.query(
    'CREATE TABLE plain (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, channel text NOT NULL, payload text NOT NULL)',
  )
  await client.query('CREATE TABLE by_hand (name text PRIMARY KEY, last bigint NOT NULL)')
})

/** @param {readonly number[]} values @param {number} digits */
function shown(values, digits) {
  const { median, min, max } = figure(values)
  const [middle, least, most] = [median, min, max].map((value) =>
    value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits }),
  )
  return `${middle} (${least}–${most})`
}

/** @param {string[][]} rows */
function printed(rows) {
  console.log()
  for (const [index, row] of rows.entries()) {
    console.log(`| ${row.join(' | ')} |`)
    if (index === 0) console.log(`| ${row.map(() => '---').join(' | ')} |`)
  }
}

/** Has the ways take turns, each first in turn. @template {string} Way @template Result
 * @param {readonly Way[]} ways @param {(way: Way) => Promise<Result>} measure */
async function turns(ways, measure) {
  const results = /** @type {Record<Way, Result[]>} */ ({})
  for (const way of ways) results[way] = []
  for (let round = 0; round < rounds; round += 1) {
    for (let index = 0; index < ways.length; index += 1) {
      const way = /** @type {Way} */ (ways[(index + round) % ways.length])
      results[way].push(await measure(way))
    }
  }
  return results
}

/** @param {readonly number[]} values @param {readonly number[]} others */
const ratios = (values, others) =>
  values.map((value, index) => value / (others[index] ?? Number.NaN))

/** @type {Record<string, () => Promise<void>>} */
const CASES = {
  async publish() {
    const rows = [
      [
        'writers',
        'plain INSERT/s',
        `plain beside ${COMMITS_PER_SECOND} commits/s : plain`,
        '`publish`, a consumer works : plain',
        'the same, synchronousCommit off',
        'INSERT and NOTIFY : plain',
      ],
    ]
    for (const writers of [1, 8, 32]) {
      const ways = /** @type {const} */ (['plain', 'beside', 'publish', 'publishOff', 'always'])
      const { plain, ...others } = await turns(ways, (way) =>
        publishing(server, way, writers, seconds),
      )
      rows.push([
        `${writers}`,
        shown(plain, 0),
        ...Object.values(others).map((values) => shown(ratios(values, plain), 2)),
      ])
    }
    printed(rows)
  },

  async consume() {
    const rows = [
      [
        '`synchronousCommit`',
        'batch',
        '`id > last`/s',
        'subscription/s',
        'ratio',
        'CPU of the process an event, us: by hand',
        'subscription',
      ],
    ]
    for (const synchronousCommit of /** @type {const} */ (['off', 'on'])) {
      for (const batchSize of [1, 10, 100, 1000]) {
        const count = Math.min(events, batchSize * (synchronousCommit === 'off' ? 2000 : 500))
        await prefill(server, count)
        const asked = { batchSize, synchronousCommit, count, warmUp: count / 4 }
        const ways = /** @type {const} */ (['last', 'pglisten'])
        const { last, pglisten } = await turns(ways, (kind) => consuming(server, kind, asked))
        const [byHand, ours] = [last, pglisten].map((results) =>
          results.map(({ perSecond }) => perSecond),
        )
        rows.push([
          synchronousCommit,
          `${batchSize}`,
          shown(byHand ?? [], 0),
          shown(ours ?? [], 0),
          shown(ratios(ours ?? [], byHand ?? []), 2),
          ...[last, pglisten].map((results) =>
            shown(
              results.map(({ cpuUs }) => cpuUs),
              1,
            ),
          ),
        ])
      }
    }
    printed(rows)
  },

  async drain() {
    await prefill(server, 1_000_000)
    const rows = [['backlog', 'batch', 'events/s', 'seconds', 'RSS, MiB']]
    for (const batchSize of [100, 1000, 10_000]) {
      const asked = /** @type {const} */ ({
        batchSize,
        synchronousCommit: 'off',
        count: 1_000_000,
        warmUp: 0,
      })
      const { drained } = await turns(['drained'], () => consuming(server, 'pglisten', asked))
      rows.push([
        '1,000,000',
        batchSize.toLocaleString('en-US'),
        shown(
          drained.map(({ perSecond }) => perSecond),
          0,
        ),
        shown(
          drained.map(({ perSecond }) => 1_000_000 / perSecond),
          1,
        ),
        shown(
          drained.map(({ rss }) => rss / 2 ** 20),
          0,
        ),
      ])
    }
    printed(rows)
  },

  async latency() {
    const rows = [
      ['events/s', 'LISTEN p50, ms', 'p99', 'subscription p50', 'p99', 'p50, difference'],
    ]
    for (const perSecond of [2, 20, 100, 500]) {
      const count = Math.max(30, Math.min(1000, perSecond * 6))
      const ways = /** @type {const} */ (['listen', 'pglisten'])
      const { listen, pglisten } = await turns(ways, (kind) =>
        latency(server, kind, perSecond, count),
      )
      const at = (/** @type {number} */ part, /** @type {typeof listen} */ results) =>
        results.map(
          ({ latencies }) =>
            latencies.toSorted((a, b) => a - b)[Math.floor(part * (latencies.length - 1))] ??
            Number.NaN,
        )
      const [theirs, ours] = [at(0.5, listen), at(0.5, pglisten)]
      rows.push([
        `${perSecond}`,
        shown(theirs, 2),
        shown(at(0.99, listen), 2),
        shown(ours, 2),
        shown(at(0.99, pglisten), 2),
        shown(
          ours.map((value, index) => value - (theirs[index] ?? Number.NaN)),
          2,
        ),
      ])
    }
    printed(rows)
  },

  async queues() {
    installQueues()
    const rows = [
      [
        'queue',
        'jobs/s, 30,000 that wait',
        'pglisten / queue',
        'CPU of the process a job, us',
        'job sent to work p50, ms (20/s)',
        'p99',
      ],
    ]
    const drained = await turns(QUEUES, (kind) => draining(server, kind, 30_000))
    const delayed = await turns(QUEUES, (kind) => delaying(server, kind, 20, 100))
    const ours = drained.pglisten.map(({ perSecond }) => perSecond)
    for (const kind of QUEUES) {
      const rates = drained[kind].map(({ perSecond }) => perSecond)
      const at = (/** @type {number} */ part) =>
        delayed[kind].map(
          (values) =>
            values.toSorted((a, b) => a - b)[Math.floor(part * (values.length - 1))] ?? Number.NaN,
        )
      rows.push([
        kind,
        shown(rates, 0),
        shown(ratios(ours, rates), 1),
        shown(
          drained[kind].map(({ cpuUs }) => cpuUs),
          0,
        ),
        shown(at(0.5), 1),
        shown(at(0.99), 1),
      ])
    }
    printed(rows)
  },
}

try {
  for (const name of cases) await CASES[name]?.()
} finally {
  await pool.close()
  await server.stop()
}
process.exit(0)
