// The crowd's listeners of one thread: each does as its plan says, and keeps what it sees.

import { setMaxListeners } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { type BufferOptions, ConnectionPool, Gap, type Listener } from 'pglisten'
import { keyOf } from './oracle.js'
import { randomNumbers } from '../random.mjs'
import { type Recorded, Recording } from './recording.js'
import { CHANNELS, SESSION, poolOptions } from './soak-settings.js'

/** Notified by the pool of a listener with `ignoreOwn`, which must not hear it. */
const OWN_CHANNEL = 'oracle own'
const OWN_EVERY_MS = 250
/** A callback is slow with one in so many notifications. */
const SLOW_EVERY = 300
const SLOW_MS = 150
const ASK_TIMEOUT_MS = 4000
const DEADLINE_MS = 30_000

/** What a listener does during the run. */
export type Habit = 'stays' | 'restarts' | 'moves' | 'moves and restarts' | 'ignores own'

/** One listener, in data that can go to another thread. */
export interface Plan {
  name: string
  habit: Habit
  /** Indices of {@link CHANNELS}. */
  channels: number[]
  consumer: 'callbacks' | 'batches' | 'messages'
  concurrency: 1 | 4
  buffer: BufferOptions
  isSlow: boolean
  /** Whether it listens to what the pool of {@link Members} notifies, too. */
  hearsOwn: boolean
  seed: number
}

/** What a listener saw from a startup to its shutdown. */
export interface MemberRun {
  stream: Recorded
  /** When `startup()` had resolved. */
  since: number
  /** When a `sync()` began that resolved; `undefined` when there was none before the shutdown. */
  until: number | undefined
  /** Whether it asked for a session of its own, and whether it got one. */
  move: 'none' | 'tried' | 'done'
  reconnects: number
}

/** How a listener fared. */
export interface MemberOutcome {
  runs: MemberRun[]
  /** The backend of its last session. */
  processId: number | undefined
  /** Heard of {@link OWN_CHANNEL}. */
  own: number
  problems: string[]
}

/** How a thread's listeners fared, and how often their pool notified {@link OWN_CHANNEL}. */
export interface MembersResult {
  outcomes: MemberOutcome[]
  ownSent: number
}

/** The listeners of a thread, and their pool. */
export class Members {
  readonly #pool: ConnectionPool
  readonly #members: Member[]
  readonly #ending = new AbortController()
  #lives: Promise<unknown> = Promise.resolve()
  #ownSent = 0

  constructor(dsn: string, plans: readonly Plan[]) {
    this.#pool = new ConnectionPool(poolOptions(dsn))
    setMaxListeners(plans.length + 1, this.#ending.signal)
    this.#members = plans.map((plan) => new Member(this.#pool, plan))
  }

  async start(): Promise<void> {
    await Promise.all(this.#members.map((member) => member.start()))
  }

  /** They begin with what they do besides listening. */
  live(): void {
    const lives = this.#members.map((member) => member.live(this.#ending.signal))
    if (this.#members.some((member) => member.ignoresOwn)) lives.push(this.#notifyOwn())
    this.#lives = Promise.all(lives)
  }

  /** All are up, and have got everything that was committed before the call. */
  async settle(): Promise<void> {
    this.#ending.abort()
    await this.#lives
    await Promise.all(this.#members.map((member) => member.settle()))
  }

  async end(): Promise<MembersResult> {
    const outcomes = await Promise.all(this.#members.map((member) => member.end()))
    await this.close()
    return { outcomes, ownSent: this.#ownSent }
  }

  async close(): Promise<void> {
    this.#ending.abort()
    await this.#pool.close()
  }

  async #notifyOwn(): Promise<void> {
    while (!this.#ending.signal.aborted) {
      await pause(OWN_EVERY_MS, this.#ending.signal)
      const sent = this.#pool.execute('SELECT pg_notify($1, $2)', [OWN_CHANNEL, 'own'], {
        timeoutMs: ASK_TIMEOUT_MS,
      })
      // Faults strike the pool's connections too.
      await sent.then(
        () => (this.#ownSent += 1),
        () => {},
      )
    }
  }
}

class Member {
  readonly #plan: Plan
  readonly #listener: Listener
  readonly #random: () => number
  readonly #runs: MemberRun[] = []
  readonly #problems: string[] = []
  #recording = new Recording()
  #run: Omit<MemberRun, 'stream' | 'reconnects'> | undefined
  #reconnectsBefore = 0
  #iteration: Promise<void> = Promise.resolve()
  #processId: number | undefined
  #own = 0

  constructor(pool: ConnectionPool, plan: Plan) {
    this.#plan = plan
    this.#random = randomNumbers(plan.seed)
    const names = plan.channels.map((index) => CHANNELS[index]!)
    this.#listener = pool.listener({
      ...SESSION,
      channels: this.#plan.hearsOwn ? [...names, OWN_CHANNEL] : names,
      concurrency: plan.concurrency,
      buffer: plan.buffer,
      ignoreOwn: this.ignoresOwn,
    })
    // Attempts that fail while the server is away are no news here.
    this.#listener.on('error', () => {})
  }

  get ignoresOwn(): boolean {
    return this.#plan.habit === 'ignores own'
  }

  async start(): Promise<void> {
    if (this.#plan.consumer === 'callbacks' && this.#runs.length === 0) await this.#addCallbacks()
    await this.#startup()
    this.#recording = new Recording()
    this.#reconnectsBefore = this.#listener.stats().reconnects
    this.#consume()
    this.#run = { since: Date.now(), until: undefined, move: 'none' }
  }

  /** Tries again while the server is away. */
  async #startup(): Promise<void> {
    const deadline = performance.now() + DEADLINE_MS
    for (;;) {
      try {
        // Half of the time the listener itself tries again.
        await this.#listener.startup({ retry: this.#random() < 0.5, timeoutMs: DEADLINE_MS })
        return
      } catch (error) {
        if (performance.now() > deadline) throw error
        await sleep(50 + this.#random() * 200)
      }
    }
  }

  async #addCallbacks(): Promise<void> {
    const heard = async (name: string, payload: string) => {
      this.#record(name, payload)
      if (this.#isSlowNow()) await sleep(this.#random() * SLOW_MS)
    }
    for (const index of this.#plan.channels) {
      const name = CHANNELS[index]!
      await this.#listener.addCallback(name, (_connection, payload) => heard(name, payload))
    }
    if (this.#plan.hearsOwn)
      await this.#listener.addCallback(OWN_CHANNEL, () => void (this.#own += 1))
    this.#listener.addGapCallback((_connection, gap) => this.#recording.addGap(gap))
  }

  #consume(): void {
    if (this.#plan.consumer === 'callbacks') {
      this.#listener.listen()
      return
    }
    const recording = this.#recording
    const work = async () => {
      if (this.#plan.consumer === 'batches') {
        for await (const batch of this.#listener.batches({ gaps: 'include' })) {
          for (const item of batch) this.#take(item, recording)
          if (this.#isSlowNow()) await sleep(this.#random() * SLOW_MS)
        }
        return
      }
      for await (const item of this.#listener.messages({ gaps: 'include' })) {
        this.#take(item, recording)
        if (this.#isSlowNow()) await sleep(this.#random() * SLOW_MS)
      }
    }
    this.#iteration = work().catch((error: unknown) => {
      this.#problems.push(`${this.#plan.name}: an iteration ended: ${String(error)}`)
    })
  }

  #take(item: Gap | { channel: string; payload: string }, recording: Recording): void {
    if (item instanceof Gap) recording.addGap(item)
    else if (item.channel === OWN_CHANNEL) this.#own += 1
    else this.#record(item.channel, item.payload, recording)
  }

  #record(channel: string, payload: string, recording = this.#recording): void {
    const [writer, number, padding] = payload.split(':')
    const index = Number(number) % CHANNELS.length
    if (
      channel !== CHANNELS[index] ||
      !this.#plan.channels.includes(index) ||
      !/^x*$/.test(padding ?? '?')
    ) {
      this.#problems.push(
        `${this.#plan.name}: number ${number} came garbled, or on the wrong channel`,
      )
    }
    recording.add(keyOf(Number(writer), Number(number)))
  }

  #isSlowNow(): boolean {
    return this.#plan.isSlow && this.#random() < 1 / SLOW_EVERY
  }

  async live(ending: AbortSignal): Promise<void> {
    try {
      await this.#live(ending)
    } catch (error) {
      this.#problems.push(`${this.#plan.name}: came to an end: ${String(error)}`)
    }
  }

  async #live(ending: AbortSignal): Promise<void> {
    const { habit } = this.#plan
    const moves = habit === 'moves' || habit === 'moves and restarts'
    const restarts = habit === 'restarts' || habit === 'moves and restarts'
    if (!moves && !restarts) return
    while (!ending.aborted) {
      await pause(1000 + this.#random() * 5000, ending)
      if (ending.aborted) return
      if (moves) await this.#ask()
      if (!restarts || this.#random() < 0.5) continue
      await pause(this.#random() * 8000, ending)
      await this.#stop()
      await pause(this.#random() * 2000, ending)
      await this.start()
    }
  }

  /** The first answer comes from a session of the listener's own. */
  async #ask(): Promise<void> {
    const run = this.#run!
    if (run.move === 'none') run.move = 'tried'
    try {
      const answer = await this.#listener.connection.fetchVal<number>('SELECT 1', [], {
        timeoutMs: ASK_TIMEOUT_MS,
      })
      if (answer !== 1) this.#problems.push(`${this.#plan.name}: got ${String(answer)} for 1`)
      run.move = 'done'
    } catch {
      // The session may be lost before, or meanwhile.
      return
    }
    const listeners = this.#listener.stats().session?.listeners ?? 1
    if (listeners !== 1) {
      this.#problems.push(`${this.#plan.name}: shares its own session with ${listeners - 1}`)
    }
  }

  /** In the middle of everything, now with and now without an orderly end. */
  async #stop(): Promise<void> {
    if (this.#random() < 0.7) {
      const until = Date.now()
      const synced = this.#listener.sync({ signal: AbortSignal.timeout(2000) })
      await synced.then(
        () => (this.#run!.until = until),
        () => {},
      )
    }
    await this.#shutdown(this.#random() < 0.5)
  }

  async settle(): Promise<void> {
    const deadline = performance.now() + DEADLINE_MS
    for (;;) {
      const until = Date.now()
      try {
        await this.#listener.sync({ signal: AbortSignal.timeout(5000) })
        this.#run!.until = until
        break
      } catch (error) {
        if (performance.now() > deadline) {
          this.#problems.push(`${this.#plan.name}: no sync at the end: ${String(error)}`)
          break
        }
        await sleep(100)
      }
    }
    this.#processId = this.#listener.stats().session?.processId
  }

  async end(): Promise<MemberOutcome> {
    await this.#shutdown(false)
    return {
      runs: this.#runs,
      processId: this.#processId,
      own: this.#own,
      problems: this.#problems,
    }
  }

  async #shutdown(drain: boolean): Promise<void> {
    await this.#listener.shutdown({ drain })
    await this.#iteration
    const reconnects = this.#listener.stats().reconnects - this.#reconnectsBefore
    this.#runs.push({ ...this.#run!, stream: this.#recording.recorded(), reconnects })
  }
}

async function pause(ms: number, ending: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal: ending }).catch(() => {})
}
