// Everything that a connection can be in the middle of, under every fault: the right error, once, and a pool that goes on.

import test, { type ExecutionContext } from 'ava'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type CallOptions,
  type Connection,
  ConnectionClosedError,
  ConnectionPool,
  ConnectionTimeoutError,
  DatabaseError,
} from 'pglisten'
import { Arena, signal } from '../../lab/faults/arena.js'
import {
  createObjects,
  FAILING,
  LOCK,
  type Operation,
  OPERATIONS,
  STRUCK,
  takeEffects,
  type Underway,
} from '../../lab/faults/operations.js'
import { uniqueName } from '../../lab/unique-name.js'
import { waitFor, within } from '../../lab/wait.js'
import type { WitnessSession } from '../../lab/witness.js'

let arena: Arena

test.before(async () => {
  arena = await Arena.open()
  await createObjects(arena)
})
test.beforeEach(() => arena.proxy.clear())
test.after.always(() => arena?.close())

const REASON = new Error('no longer wanted')

/** A backend that is looked at so often, and each time is where it was, stays there. */
const SAME_TIMES = 20

const COMMIT = 'COMMIT'
const SOURCE = 'COPY from us, which waits for its source'
const READER = 'COPY to us, which waits for its reader'
const CURSOR = 'cursor, between fetches'
const BLOCK = 'transaction, between statements'

/** What the server gives as its reason, in short. */
const REASONS = /administrator|crash|unexpected postmaster exit|idle-in-transaction timeout/

/** Says in short how an operation ended. */
async function ending(outcome: Promise<unknown>, what: string): Promise<string> {
  try {
    await within(outcome, { timeoutMs: 30_000, what })
    return 'goes on'
  } catch (error) {
    if (error === REASON) return 'reason'
    if (error instanceof DatabaseError) return error.sqlState
    if (error instanceof ConnectionClosedError) {
      // The server cannot say why while nobody takes what it has to send.
      if (what === READER) return 'closed'
      return `closed: ${REASONS.exec(error.message)?.[0] ?? 'no reason'}`
    }
    if (error instanceof ConnectionTimeoutError)
      return error.message.includes('is not known') ? 'late: effect unknown' : 'late'
    return String(error)
  }
}

interface Running {
  operation: Operation
  connection: Connection
  processId: number
  underway: Underway
}

interface Stage {
  pool: ConnectionPool
  applicationName: string
  all: Running[]
  /** Lets everything that waits for the lock go on. */
  unlock: () => Promise<void>
}

interface StageOptions {
  options?: string
  bounds?: CallOptions
  of?: readonly Operation[]
  /** Whether to wait until each operation is in the middle of its work. */
  isReached?: boolean
}

/** Looks at where backends are, at all of them at once, until it is stopped. */
class Places {
  /** What each waits for, how much it has copied, and how often in a row it was seen so. */
  readonly #seen = new Map<number, { place: string; times: number }>()
  #isOver = false

  constructor() {
    // Whoever waits for a place says that it was waited for in vain.
    this.#look().catch(() => {})
  }

  stop(): void {
    this.#isOver = true
  }

  async waits(processId: number, event: string, what: string): Promise<void> {
    this.#seen.set(processId, { place: '', times: 0 })
    // A COPY that the reader still keeps up with waits for a moment too, and has more rows when it is looked at again.
    await waitFor(
      () => {
        const { place, times } = this.#seen.get(processId)!
        return place.split(' ')[0] === event && times >= SAME_TIMES
      },
      { what: `${what} to wait for ${event}` },
    )
  }

  async #look(): Promise<void> {
    const sql = `
      SELECT coalesce(json_object_agg(a.pid, concat_ws(' ', a.wait_event, c.tuples_processed)), '{}')
      FROM pg_stat_activity AS a LEFT JOIN pg_stat_progress_copy AS c USING (pid) WHERE a.pid = ANY ($1)`
    while (!this.#isOver) {
      const places = await arena.ask<Record<string, string>>(sql, [[...this.#seen.keys()]])
      for (const [processId, seen] of this.#seen) {
        const place = places[processId] ?? ''
        seen.times = place === seen.place ? seen.times + 1 : 0
        seen.place = place
      }
      await sleep(10)
    }
  }
}

/** Begins all operations, each on a connection of its own. */
async function begin(
  t: ExecutionContext,
  { options, bounds = {}, of = OPERATIONS, isReached = true }: StageOptions = {},
): Promise<Stage> {
  const holder: WitnessSession = await arena.direct.session()
  await holder.ask(`SELECT pg_advisory_lock(${LOCK})`)
  let isLocked = true
  const unlock = async () => {
    if (!isLocked) return
    isLocked = false
    await holder[Symbol.asyncDispose]()
  }
  t.teardown(unlock)
  const applicationName = uniqueName('struck')
  const pool = new ConnectionPool({
    dsn: arena.dsn,
    applicationName,
    options,
    maxDbPoolSize: of.length,
  })
  t.teardown(() => pool.close({ timeoutMs: 100 }))
  const places = new Places()
  t.teardown(() => places.stop())
  // All connections first: the time of an operation runs from its beginning.
  const connections = await Promise.all(of.map(() => pool.connection()))
  const starting = of.map(async (operation, index): Promise<Running> => {
    const connection = connections[index]!
    const { processId } = connection.info
    const waits = (event: string) => places.waits(processId, event, operation.name)
    const isFailing = options === FAILING
    const scene = { connection, bounds, isFailing, waits: isReached ? waits : async () => {} }
    const underway = await operation.begin(scene)
    await underway.reached
    return { operation, connection, processId, underway }
  })
  const all = await Promise.all(starting)
  places.stop()
  return { pool, applicationName, all, unlock }
}

/** How these operations ended, by their names. */
async function endings(all: readonly Running[]): Promise<Record<string, string>> {
  const ended = all.map(
    async ({ operation, underway }) =>
      [operation.name, await ending(underway.end(), operation.name)] as const,
  )
  return Object.fromEntries(await Promise.all(ended))
}

/** How all operations are expected to end, and some of them in another way. */
const but = (end: string, exceptions: Record<string, string> = {}) => ({
  ...Object.fromEntries(OPERATIONS.map(({ name }) => [name, end])),
  ...exceptions,
})

/** Splits the operations: those of a name, and all others. */
function split({ all }: Stage, names: readonly string[]): [Running[], Running[]] {
  const isNamed = ({ operation }: Running) => names.includes(operation.name)
  return [all.filter(isNamed), all.filter((one) => !isNamed(one))]
}

/** Waits until it is known that connections with an idle transaction are lost. What is sent before would be answered by that. */
async function isNoticed(stage: Stage): Promise<void> {
  const [idle] = split(stage, [CURSOR, BLOCK])
  await waitFor(() => idle.every(({ connection }) => connection.transactionStatus === 'idle'))
}

/** The connections of these operations are lost, and say so; all others are as good as before. Then all are given back. */
async function giveBack(
  t: ExecutionContext,
  { all }: Stage,
  isLost: (operation: Operation) => boolean,
): Promise<void> {
  for (const { operation, connection, processId } of all) {
    const asked = within(connection.fetchVal('SELECT pg_backend_pid()'))
    if (isLost(operation)) await t.throwsAsync(asked, { instanceOf: ConnectionClosedError })
    else t.is(await asked, processId, operation.name)
    t.is(connection.transactionStatus, 'idle', operation.name)
    await within(connection.close(), { what: operation.name })
  }
}

/** As many statements at once as the pool has connections work; then all are idle, on the server too. */
async function goesOn(t: ExecutionContext, { pool, applicationName, all }: Stage): Promise<void> {
  t.like(pool.status(), { waiting: 0, available: pool.status().size })
  const asked = all.map((_, n) => pool.fetchVal('SELECT $1::int4', [n]))
  t.deepEqual(
    await within(Promise.all(asked)),
    all.map((_, n) => n),
  )
  t.like(pool.status(), { waiting: 0, available: pool.status().size })
  const busy = `
    SELECT coalesce(json_agg(json_build_array(state, wait_event, query)), '[]')::text FROM pg_stat_activity
    WHERE application_name = $1 AND state <> 'idle'`
  await waitFor(async () => (await arena.ask<string>(busy, [applicationName])) === '[]', {
    what: `the server to be done: ${await arena.ask<string>(busy, [applicationName])}`,
  })
}

const processIds = ({ all }: Stage) => all.map(({ processId }) => processId)

/** Lets a backend notice that its client is gone before it has something to send. */
const NOTICING = '-c client_connection_check_interval=100ms'

/** A fault that costs every connection. */
interface Loss {
  name: string
  options?: string
  strike: (stage: Stage) => Promise<unknown> | void
  heal?: () => Promise<unknown>
  /** How operations end. */
  end: string
  /** How some end in another way, by name. */
  but?: Record<string, string>
}

const LOSSES: readonly Loss[] = [
  {
    name: 'a backend that is terminated',
    strike: (stage) => Promise.all(processIds(stage).map((id) => arena.terminate(id))),
    end: '57P01',
    but: {
      // Between two statements nobody can be told, so the next one is.
      [CURSOR]: 'closed: administrator',
      [BLOCK]: 'closed: administrator',
      [READER]: 'closed',
    },
  },
  {
    name: 'a network that resets every connection',
    options: NOTICING,
    strike: () => arena.proxy.reset(),
    end: 'closed: no reason',
    but: { [READER]: 'closed' },
  },
  {
    name: 'a backend that crashes, and ends all others',
    async strike() {
      await using other = await arena.session()
      signal(other.processId, 'SIGKILL')
    },
    heal: () => arena.isBack(),
    // It comes as a warning, which is no answer.
    end: 'closed: crash',
    but: { [READER]: 'closed' },
  },
  {
    name: 'a server that is killed and started again',
    strike: () => arena.server.kill(),
    heal: () => arena.server.start(),
    end: 'closed: no reason',
    but: {
      // A backend that reads from its client says why it ends; one that waits for a lock just ends.
      [SOURCE]: '57P01',
      [READER]: 'closed',
      [CURSOR]: 'closed: unexpected postmaster exit',
      [BLOCK]: 'closed: unexpected postmaster exit',
    },
  },
]

for (const { name, options, strike, heal, end, but: exceptions } of LOSSES) {
  test.serial(`${name} ends all of them, and the pool goes on`, async (t) => {
    const stage = await begin(t, options === undefined ? {} : { options })
    await strike(stage)
    await isNoticed(stage)
    const ended = await endings(stage.all)
    await heal?.()
    t.deepEqual(ended, but(end, exceptions))
    await giveBack(t, stage, () => true)
    await goesOn(t, stage)
    t.deepEqual(await takeEffects(arena), [])
  })
}

test.serial(
  'a network that swallows everything ends them soon after their time, but for a COMMIT',
  async (t) => {
    // The server never learns that these connections are gone.
    t.teardown(() => arena.proxy.reset())
    const stage = await begin(t, { bounds: { timeoutMs: 6000 }, options: NOTICING })
    arena.proxy.swallow('both')
    const [[commit], others] = split(stage, [COMMIT])
    // Whatever becomes of a statement in it, a transaction that was not committed has no effect.
    const rolledBack = [
      BLOCK,
      'copyRecordsToTable',
      'statement of a transaction',
      'statement of a nested transaction',
    ]
    const expected = but('late: effect unknown', {
      ...Object.fromEntries(rolledBack.map((name) => [name, 'late'])),
      [BLOCK]: 'late',
      [COMMIT]: 'closed: no reason',
    })
    const { [COMMIT]: _, ...before } = expected
    t.deepEqual(await endings(others), before)
    // Whether a commit was carried out nobody could say, so it waits for as long as the connection lasts.
    let isOver = false
    const committing = commit!.underway.end().finally(() => (isOver = true))
    committing.catch(() => {})
    for (let round = 0; round < 20; round += 1) await arena.ask('SELECT 1')
    t.false(isOver)
    arena.proxy.reset()
    arena.proxy.clear()
    t.is(await ending(committing, COMMIT), 'closed: no reason')
    await giveBack(t, stage, () => true)
    await goesOn(t, stage)
    t.deepEqual(await takeEffects(arena), [])
  },
)

test.serial(
  '`idle_in_transaction_session_timeout` ends what is idle, which tells why',
  async (t) => {
    const of = OPERATIONS.filter(({ name }) => [CURSOR, BLOCK].includes(name))
    const stage = await begin(t, { of, options: '-c idle_in_transaction_session_timeout=6000' })
    await isNoticed(stage)
    const end = 'closed: idle-in-transaction timeout'
    t.deepEqual(await endings(stage.all), { [CURSOR]: end, [BLOCK]: end })
    await giveBack(t, stage, () => true)
    await goesOn(t, stage)
  },
)

/** A fault that leaves the connections as they were. */
interface Interruption {
  name: string
  options?: string
  bounds?: (signal: AbortSignal) => CallOptions
  /** Whether it strikes by itself, maybe before every operation is where it is meant to strike. */
  isTimed?: true
  strike?: (stage: Stage, abort: AbortController) => Promise<unknown> | void
  end: string
  but?: Record<string, string>
  /** The operations that end only once what they wait for is there, after all others have ended. */
  goOn?: string[]
  /** What takes effect all the same. */
  effects?: string[]
}

const INTERRUPTIONS: readonly Interruption[] = [
  {
    name: 'nothing but time',
    strike: ({ unlock }) => unlock(),
    end: 'goes on',
    goOn: [SOURCE],
    effects: [
      ...['batch', 'commit', 'copied', 'many', 'nested', 'outer'],
      ...['pipeline', 'prepared', 'source', 'statement', 'tx'],
    ],
  },
  {
    name: 'an error of the server',
    options: FAILING,
    isTimed: true,
    end: STRUCK,
    but: { [SOURCE]: '22P04' },
    goOn: [SOURCE],
  },
  {
    name: 'a signal',
    bounds: (signal) => ({ signal }),
    strike: (_, abort) => abort.abort(REASON),
    end: 'reason',
    but: { [COMMIT]: 'goes on' },
    goOn: [COMMIT],
    effects: ['commit'],
  },
  {
    name: 'a time that is over',
    bounds: () => ({ timeoutMs: 5000 }),
    end: 'late',
    but: { [COMMIT]: 'goes on', [CURSOR]: 'goes on' },
    goOn: [COMMIT, READER],
    effects: ['commit'],
  },
  {
    name: '`pg_cancel_backend`',
    strike: (stage) =>
      Promise.all(processIds(stage).map((id) => arena.ask('SELECT pg_cancel_backend($1)', [id]))),
    end: '57014',
    but: { [CURSOR]: 'goes on', [BLOCK]: 'goes on' },
    goOn: [SOURCE],
  },
  {
    name: '`statement_timeout`',
    options: '-c statement_timeout=1000',
    isTimed: true,
    end: '57014',
    but: { [CURSOR]: 'goes on', [BLOCK]: 'goes on', [COMMIT]: 'goes on' },
    goOn: [SOURCE, COMMIT, READER],
    effects: ['commit'],
  },
]

for (const fault of INTERRUPTIONS) {
  const { name, options, bounds, isTimed = false, strike, end, goOn = [], effects = [] } = fault
  test.serial(
    `${name}: every operation ends as it should, and its connection goes on`,
    async (t) => {
      const abort = new AbortController()
      const stage = await begin(t, {
        ...(options === undefined ? {} : { options }),
        ...(bounds ? { bounds: bounds(abort.signal) } : {}),
        isReached: !isTimed,
      })
      await strike?.(stage, abort)
      const [last, others] = split(stage, goOn)
      const ended = await endings(others)
      if (goOn.includes(COMMIT)) await stage.unlock()
      for (const { underway } of last) underway.release?.()
      t.deepEqual({ ...ended, ...(await endings(last)) }, but(end, fault.but))
      await giveBack(t, stage, () => false)
      await goesOn(t, stage)
      t.deepEqual(await takeEffects(arena), effects)
    },
  )
}
