// What is measured: the cases, and who takes part in each.

import { SetupError } from '../../scripts/lib/setup.mjs'

/**
 * @typedef {Omit<import('./contestant.mjs').Task, 'client' | 'packageFolder' | 'dsn'>} CaseTask
 *
 * @typedef {object} Case
 * @property {string} id
 * @property {string} title
 * @property {readonly string[]} contestants
 * @property {CaseTask} task
 * @property {number} [bytes] The length of each payload.
 * @property {number} [rate] Notifications per second, where they come one by one.
 * @property {number} [times] How often it is done in each round: where single runs are far apart.
 * @property {readonly string[]} [once] Contestants that do it once in each round all the same: no target compares them.
 * @property {boolean} [isBusy] Whether every processor is loaded by another process meanwhile.
 * @property {boolean} [optional] Where it cannot be done, it is left out.
 * @property {number} [rounds] In how many rounds it is done, where each would come to the same.
 * @property {string} [group] Cases of one group take turns, since they are compared with each other.
 * @property {boolean} [hasBaseline] Whether the build of another commit takes part, where one is asked for.
 * @property {number} [only] The one channel that is notified, of all that are listened to.
 */

/** The contestant that is another build of this package, with callbacks. */
export const BASELINE = 'pglisten before'

/** The contestant that is a socket of Node's, and no client. */
export const NODE_SOCKET = 'node socket'

/** All but the shared one have a session of their own, with a buffer that pauses it. */
const OURS = ['pglisten callback', 'pglisten shared', 'pglisten iterator', 'pglisten batches']
/** Where batches are what counts. */
const COLUMNS = 'pglisten columns'
const PEERS = ['pg', 'postgres', 'pg-listen']
const CALLBACKS = ['pglisten callback', 'pglisten shared', ...PEERS]
/** Those that no target compares, in bursts and in latency. */
const OTHERS = ['pglisten shared', 'pglisten iterator', 'postgres', 'pg-listen']
const WARM_UP = 50_000

/**
 * @param {readonly string[]} python Contestants that happen to be installed.
 * @param {boolean} hasBaseline Whether there is another build of this package.
 * @returns {Case[]}
 */
export function plan(python, hasBaseline = false) {
  const cases = all(python)
  for (const one of cases) {
    if (hasBaseline && one.hasBaseline) one.contestants = [...one.contestants, BASELINE]
  }
  return cases
}

/** @param {readonly string[]} python @returns {Case[]} */
function all(python) {
  return [
    ...[
      { bytes: 16, times: 1 },
      { bytes: 40, times: 3, once: [...OTHERS, ...python] },
      { bytes: 1000, times: 3, once: ['raw socket', ...OTHERS] },
    ].map(({ bytes, times, once = [] }) => ({
      id: `burst-${bytes}`,
      title: `Burst: 500,000 notifications of ${bytes} B in one transaction`,
      contestants: ['raw socket', ...OURS, COLUMNS, ...PEERS, ...(bytes === 40 ? python : [])],
      task: task('burst', { count: 500_000, warmUp: WARM_UP }),
      bytes,
      times,
      once,
    })),
    {
      id: 'burst-async',
      title: 'The same with 40 B and an asynchronous handler',
      contestants: CALLBACKS,
      task: task('burst', { count: 500_000, warmUp: WARM_UP, async: true }),
      bytes: 40,
    },
    ...[40, 1000].map((bytes) => ({
      id: `burst-300k-${bytes}`,
      title: `Burst: 300,000 notifications of ${bytes} B in one transaction`,
      contestants: ['raw socket', ...OURS, COLUMNS, ...PEERS.slice(0, 2)],
      task: task('burst', { count: 300_000, warmUp: WARM_UP }),
      bytes,
      times: 2,
      once: ['raw socket', 'pglisten shared', 'postgres'],
      hasBaseline: true,
    })),
    ...[1000, 8000, 30_000].map((rate) => ({
      id: `steady-${rate}`,
      title: `${rate.toLocaleString('en')} notifications a second, each a transaction`,
      contestants: ['pglisten callback', 'pglisten batches', 'pg', 'postgres', NODE_SOCKET],
      // Three seconds, after as many in which V8 compiles what is hot.
      task: task('steady', { count: 3 * rate, warmUp: Math.max(3 * rate, 5000) }),
      rate,
      times: 2,
      once: ['pglisten batches', 'postgres', NODE_SOCKET],
      hasBaseline: true,
    })),
    {
      id: 'busy-1000',
      title: '1,000 notifications a second while other processes load every processor',
      contestants: ['pglisten callback', 'pg', 'postgres'],
      task: task('steady', { count: 3000, warmUp: 5000 }),
      rate: 1000,
      isBusy: true,
      times: 3,
      once: ['postgres'],
      hasBaseline: true,
    },
    {
      id: 'coalesce',
      title:
        '1,000 transactions of the same 1,000 different payloads of 40 B, while JavaScript is busy',
      contestants: ['pglisten shared', 'pglisten coalesce'],
      task: task('behind', { count: 1_000_000, warmUp: 5000 }),
      bytes: 40,
    },
    ...[
      // At a low rate V8 needs seconds to find and compile what is hot, and collects all garbage after eight.
      { rate: 1000, seconds: 8, times: 3, once: ['pglisten batches', ...OTHERS] },
      { rate: 10_000, seconds: 5, times: 1 },
    ].map(({ rate, seconds, times, once = [] }) => ({
      id: `latency-${rate}`,
      title: `Latency at ${rate.toLocaleString('en')} notifications a second, each a transaction`,
      contestants: [...OURS, ...PEERS],
      task: task('latency', { count: seconds * rate, warmUp: 10_000 }),
      rate,
      times,
      once,
    })),
    {
      id: 'latency-young',
      title: 'Latency at 1,000 a second in a process that has just begun',
      contestants: ['pglisten callback', 'pg'],
      task: task('latency', { count: 3000, warmUp: 1000 }),
      rate: 1000,
      times: 2,
    },
    {
      id: 'lone',
      title: 'A notification that comes alone, once everything is compiled',
      contestants: [...OURS, ...PEERS],
      task: task('lone', { count: 10, warmUp: 12_000 }),
      rate: 1000,
      rounds: 1,
      // Not every system lets a thread be taken through its steps, and only Linux is asked to.
      optional: true,
    },
    ...[1, 100, 10_000].map((channels) => ({
      id: `channels-${channels}`,
      title: `100,000 notifications of 40 B over ${channels.toLocaleString('en')} channels`,
      contestants: CALLBACKS,
      task: task('burst', { count: 100_000, warmUp: WARM_UP, channels }),
      bytes: 40,
      times: 3,
      once: PEERS,
      group: 'channels',
    })),
    {
      id: 'channels-one',
      title: 'The same, all of them over the 5,000th of 10,000 channels',
      contestants: CALLBACKS,
      task: task('burst', { count: 100_000, warmUp: WARM_UP, channels: 10_000 }),
      bytes: 40,
      times: 3,
      once: PEERS,
      group: 'channels',
      // PostgreSQL looks for a channel from the first to the last that is listened to, so its part is the same.
      only: 5000,
    },
    ...[1, 10, 100].map((consumers) => ({
      id: `consumers-${consumers}`,
      title: `50,000 notifications of 40 B for ${consumers} consumers of one channel`,
      contestants: [...OURS, ...PEERS],
      task: task('burst', { count: 50_000, warmUp: 5000, consumers }),
      bytes: 40,
      group: 'consumers',
    })),
    {
      id: 'retain',
      title: 'Memory held by one payload in 1,000, of 1,000,000 with 1 kB each',
      contestants: [...OURS, COLUMNS, ...PEERS],
      task: task('retain', { count: 1_000_000, warmUp: WARM_UP, keepEvery: 1000 }),
      bytes: 1000,
    },
    {
      id: 'start',
      title: 'From the start of the process to the first notification',
      contestants: CALLBACKS,
      task: task('start', { count: 1, warmUp: 0 }),
    },
    {
      id: 'statements',
      title: '2,000 statements, each awaited, on one connection',
      contestants: ['pglisten', 'pg'],
      task: task('statements', { count: 2000, warmUp: 2000 }),
    },
  ]
}

/**
 * The cases that somebody asked for: a case's whole name means that case alone, any other text each case whose name
 * contains it. No text at all means every case.
 * @template {{ id: string }} Some @param {readonly Some[]} cases @param {readonly string[]} only
 */
export function chosen(cases, only) {
  const ids = new Set(cases.map(({ id }) => id))
  const picked = cases.filter(
    ({ id }) =>
      only.length === 0 || only.some((text) => (ids.has(text) ? id === text : id.includes(text))),
  )
  if (picked.length > 0) return picked
  throw new SetupError(
    `Expected --only to name some of ${[...ids].join(', ')}, got ${only.join(', ')}`,
  )
}

/**
 * @param {CaseTask['kind']} kind
 * @param {Partial<CaseTask> & Pick<CaseTask, 'count' | 'warmUp'>} rest
 * @returns {CaseTask}
 */
function task(kind, rest) {
  return { kind, channels: 1, ...rest }
}
