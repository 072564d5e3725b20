// Many listeners of one session, in three threads, beside the soak's listener: who they are, and how they are judged.

import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { BufferOptions } from 'pglisten'
import {
  type Habit,
  type MemberOutcome,
  type MemberRun,
  Members,
  type MembersResult,
  type Plan,
} from './crowd-members.js'
import type { Answer, CrowdTask, Order } from './crowd-worker.js'
import { type Due, type Ledger, NOTHING_SEEN, type Verdict, judge } from './oracle.js'
import { randomNumbers } from '../random.mjs'
import { seenOf } from './recording.js'
import { CHANNELS } from './soak-settings.js'
import { within } from '../wait.js'

const THREADS = 3
/** The main thread has the soak's own listener and the proxy to serve. */
const SHARE_OF_MAIN = 0.25
const DEADLINE_MS = 90_000
/** The habits of the listeners, in turn. */
const HABITS: Habit[] = ['restarts', 'moves and restarts', 'stays', 'moves', 'stays']
const CONSUMERS: Plan['consumer'][] = ['callbacks', 'callbacks', 'batches', 'messages']
const BUFFERS: BufferOptions[] = [
  {},
  { maxMessages: 500, overflow: 'dropOldest' },
  { maxMessages: 500, overflow: 'dropNewest' },
  { maxMessages: 2000, overflow: 'dropNewest' },
]

/** The sums over all streams of the crowd. */
export interface CrowdReport {
  listeners: number
  streams: number
  /** How many streams were there from the first fault to the last. */
  whole: number
  moves: number
  verdict: Omit<Verdict, 'violations'>
  ownSent: number
  violations: string[]
}

/** The plan of each listener, by the seed. */
function plansOf(size: number, seed: number): Plan[] {
  const random = randomNumbers(seed)
  const one = <Item>(items: readonly Item[]) => items[Math.floor(random() * items.length)]!
  return Array.from({ length: size }, (_, index): Plan => {
    // The first two are in the main thread, with one pool: one ignores what it sends, the other hears it.
    const habit =
      index === 0 ? 'ignores own' : index === 1 ? 'stays' : HABITS[index % HABITS.length]!
    const isPlain = index < 2
    // Half of the others wait for the same channel and nothing else: they share what comes.
    const isAlike = !isPlain && index % 2 === 0
    const some = CHANNELS.map((_, channel) => ({ channel, at: random() }))
      .sort((a, b) => a.at - b.at)
      .slice(0, 1 + Math.floor(random() * CHANNELS.length))
      .map(({ channel }) => channel)
    const channels = isAlike ? [0] : some
    const consumer = isPlain ? 'batches' : isAlike ? 'callbacks' : one(CONSUMERS)
    const concurrency = one([1, 4] as const)
    const buffer = isPlain ? {} : one(isAlike ? BUFFERS.slice(0, 2) : BUFFERS)
    return {
      name: `${index + 1} (${habit}, ${consumer})`,
      habit,
      channels,
      consumer,
      concurrency,
      buffer,
      isSlow: !isPlain && random() < 0.5,
      hearsOwn: isPlain,
      seed: seed + index + 1,
    }
  })
}

/** The crowd, wherever its members are. */
export class Crowd {
  readonly #plans: Plan[][] = Array.from({ length: THREADS }, () => [])
  readonly #main: Members
  readonly #workers: Worker[]
  readonly #failed: Promise<never>
  /** Of each thread, the main one first. */
  #results: MembersResult[] = []

  constructor(dsn: string, size: number, seed: number) {
    const plans = plansOf(size, seed)
    const inMain = Math.max(2, Math.round(size * SHARE_OF_MAIN))
    for (const [index, plan] of plans.entries()) {
      const thread = index < inMain ? 0 : 1 + (index % (THREADS - 1))
      this.#plans[thread]!.push(plan)
    }
    const [main, ...others] = this.#plans
    this.#main = new Members(dsn, main!)
    this.#workers = others.map((plans) => {
      const workerData: CrowdTask = { dsn, plans }
      return new Worker(new URL('./crowd-thread.mjs', import.meta.url), { workerData })
    })
    this.#failed = Promise.race(
      this.#workers.map(async (worker) => {
        const [error] = (await once(worker, 'error')) as [unknown]
        throw new Error('a thread of the crowd failed', { cause: error })
      }),
    )
    this.#failed.catch(() => {})
  }

  async start(): Promise<void> {
    await this.#all('start', this.#main.start())
  }

  async live(): Promise<void> {
    this.#main.live()
    await this.#all('live')
  }

  /** All are connected, and have heard everything. */
  async settle(): Promise<void> {
    await this.#all('settle', this.#main.settle())
  }

  async end(): Promise<void> {
    const own = this.#main.end()
    const answers = await this.#all('end', own)
    this.#results = [await own, ...answers.flatMap(({ result }) => result ?? [])]
  }

  /** The threads' answers to an order that the main thread carries out itself. */
  async #all(order: Order, own?: Promise<unknown>): Promise<Answer[]> {
    const answers = this.#workers.map(async (worker) => {
      const answer = once(worker, 'message')
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
      worker.postMessage(order)
      return ((await answer) as [Answer])[0]
    })
    const all = Promise.all([Promise.all(answers), own])
    const [answered] = await within(Promise.race([all, this.#failed]), {
      timeoutMs: DEADLINE_MS,
      what: `the crowd to ${order}`,
    })
    return answered
  }

  /** @param shared - The backend of the session of all that did not move, and how often it was lost. */
  judge(ledger: Ledger, shared: { processId: number; reconnects: number }): CrowdReport {
    const report: CrowdReport = {
      listeners: 0,
      streams: 0,
      whole: 0,
      moves: 0,
      verdict: { ...NOTHING_SEEN },
      ownSent: 0,
      violations: [],
    }
    for (const [thread, { outcomes, ownSent }] of this.#results.entries()) {
      report.ownSent += ownSent
      for (const [index, outcome] of outcomes.entries()) {
        judgeMember(this.#plans[thread]![index]!, outcome, ledger, shared, report)
      }
    }
    return report
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#main.close()
    await Promise.all(this.#workers.map((worker) => worker.terminate()))
  }
}

function judgeMember(
  plan: Plan,
  { runs, processId, own, problems }: MemberOutcome,
  ledger: Ledger,
  shared: { processId: number; reconnects: number },
  report: CrowdReport,
): void {
  const { violations } = report
  const due = ledger.part({
    of: CHANNELS.length,
    channels: new Set(plan.channels),
    // Callbacks that run at the same time keep the order of each channel.
    orderedByChannel: plan.consumer === 'callbacks' && plan.concurrency > 1,
  })
  report.listeners += 1
  for (const [index, run] of runs.entries()) {
    judgeRun(`${plan.name}, run ${index + 1}`, run, due, report)
  }
  const [run] = runs
  if (runs.length === 1 && run) {
    report.whole += 1
    if (run.stream.gaps.filter(({ gap }) => gap.reason !== 'overflow').length !== run.reconnects) {
      violations.push(`${plan.name}: not one gap for each of ${run.reconnects} lost sessions`)
    }
    if (run.move === 'none' && run.reconnects !== shared.reconnects) {
      violations.push(
        `${plan.name}: ${run.reconnects} of ${shared.reconnects} losses of the shared session`,
      )
    }
  }
  const isShared = processId === shared.processId
  if (runs.at(-1)?.move !== 'tried' && isShared !== (runs.at(-1)?.move === 'none')) {
    violations.push(`${plan.name}: in the end at session ${processId}, shared ${shared.processId}`)
  }
  if (plan.habit === 'ignores own' ? own > 0 : plan.hearsOwn && own === 0) {
    violations.push(`${plan.name}: heard ${own} of what the pool of one sent that ignores it`)
  }
  violations.push(...problems)
}

function judgeRun(name: string, run: MemberRun, due: Due, report: CrowdReport): void {
  const verdict = judge(name, seenOf(run.stream), due, {
    since: run.since,
    until: run.until ?? -Infinity,
    moves: run.move === 'none' ? 0 : 1,
  })
  report.streams += 1
  if (run.move === 'done') report.moves += 1
  const sums = report.verdict
  for (const key of Object.keys(sums) as (keyof typeof sums)[]) sums[key] += verdict[key]
  report.violations.push(...verdict.violations)
  // A shutdown may come between a new session and its gap, so only who was there to the end has one for each.
  if (verdict.disconnectGaps > run.reconnects) {
    report.violations.push(
      `${name}: ${verdict.disconnectGaps} gaps of ${run.reconnects} lost sessions`,
    )
  }
}
