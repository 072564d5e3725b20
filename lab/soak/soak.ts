// A run under faults: writers, a proxy, a listener with five consumers, two of which select, a crowd that shares its session, and the oracle's
// judgement in the end.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { ConnectionPool, type Listener } from 'pglisten'
import { FaultProxy } from '../network/fault-proxy.js'
import { type Commit, Ledger, type Verdict, compare, judge } from './oracle.js'
import { randomNumbers } from '../random.mjs'
import { type DevServer, startServer } from '../server/test-server.js'
import { Crowd, type CrowdReport } from './crowd.js'
import { type Asked, startConsumers } from './soak-consumers.js'
import { type SelectedVerdict, judgeSelected } from './selected.js'
import { FAULTS, FAULT_NAMES, type FaultName, type Field } from './soak-faults.js'
import { CHANNELS, SESSION, poolOptions } from './soak-settings.js'
import { waitFor, within } from '../wait.js'

export interface SoakOptions {
  seed: number
  /** A list of faults, or for how long they strike at random. */
  faults: readonly FaultName[] | { forMs: number }
  /** How many listeners there are beside the one that the faults watch. */
  crowd: number
  /** Told of each fault when it is over. */
  onFault?: (strike: Strike, count: number) => void
  /** When aborted, the run ends, and throws. */
  signal?: AbortSignal
}

/** One fault, and how the listener took it. Times in milliseconds; `undefined`: it did not happen. */
export interface Strike {
  name: FaultName
  /** From the cause to the `disconnected` event. */
  noticedMs: number | undefined
  /** From when it was noticed, or from when the cause was gone if that was later, to the `reconnected` event. */
  recoveredMs: number | undefined
}

export interface SoakReport {
  strikes: Strike[]
  committed: number
  verdicts: Map<string, Verdict>
  /** Overflow gaps whose count and place the other consumers confirm. */
  overflowsCompared: number
  /** The consumers that filter or coalesce. */
  selected: Map<string, SelectedVerdict>
  reconnects: number
  asked: Asked
  crowd: CrowdReport
  violations: string[]
}

const MAX_MESSAGES = 3000
const WRITERS = 3
const RECOVERY_DEADLINE_MS = 30_000
const TABLE = 'oracle_rows'

function* faultsOf(
  faults: SoakOptions['faults'],
  random: () => number,
): Generator<FaultName, void> {
  if ('forMs' in faults) {
    const end = performance.now() + faults.forMs
    // Each kind once before any comes again, so that a short run has many kinds.
    for (;;) {
      const order = FAULT_NAMES.map((name) => ({ name, at: random() })).sort((a, b) => a.at - b.at)
      for (const { name } of order) {
        if (performance.now() >= end) return
        yield name
      }
    }
  }
  yield* faults
}

/** Runs it. A broken promise is a text in `violations`; what keeps the run itself from going on throws. */
export async function soak({
  seed,
  faults,
  crowd: size,
  onFault,
  signal,
}: SoakOptions): Promise<SoakReport> {
  const random = randomNumbers(seed)
  // What was notified must be in the table, also after a crash.
  await using server = await startServer({
    settings: { max_connections: 100, synchronous_commit: 'on' },
  })
  await using admin = new ConnectionPool({ dsn: server.dsn, maxDbPoolSize: 2 })
  await createTable(admin)
  const proxy = await FaultProxy.start(server.port)
  using _ = { [Symbol.dispose]: () => proxy.stop() }
  const dsn = proxy.dsn(server.dsn)
  await using pool = new ConnectionPool(poolOptions(dsn))
  const listener = pool.listener({ ...SESSION, buffer: { maxMessages: MAX_MESSAGES } })
  // Attempts that fail while the server is away are no news here.
  listener.on('error', () => {})
  const session = new Session(listener)
  const consumers = await startConsumers(listener)
  await using crowd = new Crowd(dsn, size, seed)
  await crowd.start()
  if (listener.stats().session?.listeners !== 1 + size) {
    throw new Error(
      `${listener.stats().session?.listeners} listeners share a session of ${1 + size}`,
    )
  }
  await using writer = startWriter(server, seed)
  const field = {
    server,
    proxy,
    admin,
    backend: () => session.processId,
    noticed: () => session.next('disconnected'),
    recovered: () => session.next('reconnected'),
    burst: writer.burst,
    rest: consumers.rest,
    answered: consumers.answered,
    dropped: () => listener.stats().dropped,
    between: (min: number, max: number) => min + random() * (max - min),
  }

  const strikes: Strike[] = []
  const violations: string[] = []
  await consumers.goOn()
  await crowd.live()
  for (const name of faultsOf(faults, random)) {
    signal?.throwIfAborted()
    const strike = await struck(name, field, session)
    strikes.push(strike)
    onFault?.(strike, strikes.length)
    try {
      await consumers.goOn()
    } catch (error) {
      violations.push(`after ${name}: ${String(error)}`)
      break
    }
    // Sometimes the next fault comes before anything has come to rest.
    if (random() < 0.7) await sleep(random() * 500)
  }
  const commits = await writer.end()
  await listener.sync({ signal: AbortSignal.timeout(RECOVERY_DEADLINE_MS) })
  await crowd.settle()
  const { reconnects, session: shared } = listener.stats()
  await listener.shutdown()
  await crowd.end()

  const ledger = new Ledger(await readTable(admin), commits)
  const verdicts = new Map<string, Verdict>()
  let overflowsCompared = 0
  const streams = [...consumers.streams]
  for (const [index, [name, seen]] of streams.entries()) {
    const verdict = judge(name, seen, ledger)
    verdicts.set(name, verdict)
    violations.push(...verdict.violations)
    if (verdict.disconnectGaps !== reconnects) {
      violations.push(`${name}: ${verdict.disconnectGaps} gaps of ${reconnects} lost sessions`)
    }
    const [other, otherSeen] = streams[(index + 1) % streams.length]!
    const compared = compare([name, other], [seen, otherSeen])
    violations.push(...compared.violations)
    overflowsCompared += compared.overflowsCompared
  }
  const selected = new Map<string, SelectedVerdict>()
  const everything = consumers.streams.get('batches')!
  for (const { name, selected: asked, seen } of consumers.selecting) {
    const verdict = judgeSelected(name, everything, seen, asked)
    selected.set(name, verdict)
    violations.push(...verdict.violations)
  }
  violations.push(...consumers.problems)
  const { asked } = consumers
  const crowdReport = crowd.judge(ledger, { processId: shared?.processId ?? 0, reconnects })
  violations.push(...crowdReport.violations)
  return {
    strikes,
    committed: ledger.size,
    verdicts,
    overflowsCompared,
    selected,
    reconnects,
    asked,
    crowd: crowdReport,
    violations,
  }
}

/** What the listener says of its session, to be waited for. */
class Session {
  processId = 0
  readonly #listener: Listener

  constructor(listener: Listener) {
    this.#listener = listener
    listener.on('connected', ({ processId }) => (this.processId = processId))
  }

  async next(event: 'disconnected' | 'reconnected'): Promise<void> {
    const happened = new Promise<void>((resolve) => this.#listener.once(event, () => resolve()))
    await within(happened, { timeoutMs: RECOVERY_DEADLINE_MS, what: event })
  }

  /** Takes the times of a fault from now on. */
  watch(): Watch {
    const watch = new Watch()
    this.#listener.on('disconnected', watch.onLost).on('reconnected', watch.onBack)
    return watch
  }

  unwatch(watch: Watch): void {
    this.#listener.off('disconnected', watch.onLost).off('reconnected', watch.onBack)
  }

  get isConnected(): boolean {
    return this.#listener.state === 'connected'
  }
}

/** The times of one fault. */
class Watch {
  #beginsAt = performance.now()
  #endsAt: number | undefined
  #lostAt: number | undefined
  #backAt: number | undefined

  readonly begins = () => {
    this.#beginsAt = performance.now()
    this.#lostAt = undefined
    this.#backAt = undefined
  }
  readonly ends = () => void (this.#endsAt ??= performance.now())
  readonly onLost = () => void (this.#lostAt ??= performance.now())
  readonly onBack = () => void (this.#backAt = performance.now())

  get isOver(): boolean {
    return this.#lostAt !== undefined && this.#backAt !== undefined
  }

  strike(name: FaultName): Strike {
    const [begins, lost, back] = [this.#beginsAt, this.#lostAt, this.#backAt]
    if (lost === undefined || back === undefined) {
      return { name, noticedMs: undefined, recoveredMs: undefined }
    }
    const recoverableAt = Math.max(lost, this.#endsAt ?? lost)
    return { name, noticedMs: lost - begins, recoveredMs: Math.max(0, back - recoverableAt) }
  }
}

async function struck(
  name: FaultName,
  field: Omit<Field, 'begins' | 'ends'>,
  session: Session,
): Promise<Strike> {
  const { breaks, strike } = FAULTS[name]
  await waitFor(() => session.isConnected, { what: 'a session to strike' })
  const watch = session.watch()
  try {
    await strike({ ...field, begins: watch.begins, ends: watch.ends })
    watch.ends()
    await waitFor(() => session.isConnected && (!breaks || watch.isOver), {
      timeoutMs: RECOVERY_DEADLINE_MS,
      what: 'recovery',
    })
  } catch (error) {
    throw new Error(`the fault "${name}" could not be caused, or not be recovered from`, {
      cause: error,
    })
  }
  session.unwatch(watch)
  return watch.strike(name)
}

function startWriter(server: DevServer, seed: number) {
  const file = fileURLToPath(new URL('./oracle-writer.mjs', import.meta.url))
  const child = fork(file, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], execArgv: [] })
  const commits: Commit[] = []
  const ended = Promise.all([once(child, 'exit'), once(child, 'disconnect')])
  child.on('message', (message: { commits: Commit[] }) => commits.push(...message.commits))
  child.send({ dsn: server.dsn, table: TABLE, channels: CHANNELS, writers: WRITERS, seed })
  return {
    burst: (rows: number) => void child.send({ type: 'burst', rows }),
    end: async () => {
      child.send({ type: 'stop' })
      await within(ended, { what: 'the writer to end' })
      if (child.exitCode !== 0) throw new Error(`the writer ended with ${child.exitCode}`)
      return commits
    },
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null) child.kill('SIGKILL')
      await ended
    },
  }
}

async function createTable(admin: ConnectionPool): Promise<void> {
  await using connection = await admin.connection()
  await connection.executeBatch(
    `CREATE TABLE ${TABLE} (writer int, n int, PRIMARY KEY (writer, n))`,
  )
}

async function readTable(admin: ConnectionPool): Promise<Map<number, number[]>> {
  await using connection = await admin.connection()
  const rows = await connection.execute<{ writer: number; numbers: number[] }>(
    `SELECT writer, array_agg(n ORDER BY n) AS numbers FROM ${TABLE} GROUP BY writer`,
  )
  return new Map(rows.map(({ writer, numbers }) => [writer, numbers]))
}
