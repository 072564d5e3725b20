// Sees what a listener delivers while a fault strikes it, and holds that against what was sent.

import { isDeepStrictEqual } from 'node:util'
import { ConnectionPool, Gap, type Listener, type ListenerOptions } from 'pglisten'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Arena } from './arena.js'
import { uniqueName } from '../unique-name.js'
import type { Fault } from './faults.js'
import { waitFor } from '../wait.js'
import type { ServerWitness } from '../witness.js'

/** Between two numbers. */
const PERIOD_MS = 4
/** A moment is told to the millisecond. */
const ROUNDING_MS = 2

/** Numbers that are notified one by one, on several channels in turn, past the proxy. */
export class Numbers {
  /** When each was known not to be committed, and when to be; `undefined`: it is not known what became of it. */
  readonly sent: { before: number; after: number | undefined }[] = []
  /** Nothing is sent for now. */
  paused = false
  #stopped = false
  readonly #done: Promise<void>

  constructor(witness: ServerWitness, channels: readonly string[]) {
    this.#done = this.#send(witness, channels)
  }

  /** Resolves when the last number is committed. */
  async stop(): Promise<void> {
    this.#stopped = true
    await this.#done
  }

  async #send(witness: ServerWitness, channels: readonly string[]): Promise<void> {
    while (!this.#stopped) {
      await sleep(PERIOD_MS)
      if (this.paused) continue
      const number = this.sent.length
      const before = Date.now()
      const sent = { before, after: undefined as number | undefined }
      this.sent.push(sent)
      try {
        await witness.notify(channels[number % channels.length]!, `${number}`)
        sent.after = Date.now()
      } catch {
        // The fault struck it too.
      }
    }
  }
}

/** What one consumer got, in order. */
export type Stream = (number | Gap)[]

function take(stream: Stream, payload: string): void {
  const number = Number(payload)
  if (!Number.isNaN(number)) stream.push(number)
}

/** A listener with two consumers that keep what they get. */
export class Witness {
  readonly pool: ConnectionPool
  readonly listener: Listener
  readonly applicationName = uniqueName('victim')
  readonly channels = [uniqueName('a'), uniqueName('B'), uniqueName('c')]
  readonly called: Stream = []
  readonly iterated: Stream = []
  /** Its events, in order. */
  readonly events: string[] = []
  /** Failed attempts to connect again, by message. */
  readonly attempts: string[] = []
  readonly errors: Error[] = []
  #iteration: Promise<void> | undefined

  constructor(dsn: string, options: ListenerOptions = {}, connectTimeoutSec = 1) {
    this.pool = new ConnectionPool({
      dsn,
      applicationName: this.applicationName,
      connectTimeoutSec,
      maxDbPoolSize: 2,
    })
    this.listener = this.pool.listener({
      channels: this.channels,
      reconnect: { initialDelayMs: 20, maxDelayMs: 400 },
      ...(options as object),
    })
    const { listener } = this
    for (const name of ['connected', 'disconnected', 'reconnected', 'closed'] as const)
      listener.on(name, () => this.events.push(name))
    listener.on('warning', ({ error }) => error && this.attempts.push(error.message))
    listener.on('error', (error) => {
      this.errors.push(error)
      this.attempts.push(error.message)
    })
  }

  /** `retry`: the first attempts to connect may fail, as on a machine that stalls for longer than one may take. */
  async start({ retry = false } = {}): Promise<void> {
    const { listener } = this
    for (const channel of this.channels)
      await listener.addCallback(channel, (_, payload) => take(this.called, payload))
    listener.addGapCallback((_, gap) => this.called.push(gap))
    await listener.startup({ retry })
    this.attempts.length = 0
    listener.listen()
    const messages = listener.messages({ gaps: 'include' })
    this.#iteration = (async () => {
      for await (const item of messages) {
        if (item instanceof Gap) this.iterated.push(item)
        else take(this.iterated, item.payload)
      }
    })()
    // Whoever stops the witness learns of it.
    this.#iteration.catch(() => {})
  }

  /** The backend of the session. */
  async processId(): Promise<number> {
    const session = await waitFor(() => this.listener.stats().session, { what: 'a session' })
    return session.processId
  }

  /** The channels that the present session listens to, without the one of its fences. */
  async serverChannels(): Promise<string[]> {
    const rows = await this.listener.connection.execute<{ name: string }>(
      'SELECT name FROM pg_listening_channels() AS name',
    )
    return rows.map(({ name }) => name).filter((name) => !name.startsWith('pglisten_'))
  }

  async stop(): Promise<void> {
    await this.pool.close()
    await this.#iteration
  }
}

/** What a fault did. */
export interface Observation {
  /** From the fault to the event `disconnected`. */
  noticedMs: number
  /** From the end of the fault (or, if it has none, from the notice) to the event `reconnected`. */
  recoveredMs: number
  gap: Gap
  oldProcessId: number
  newProcessId: number
  events: string[]
  attempts: string[]
  errors: Error[]
  /** What is wrong with what was delivered; empty is right. */
  violations: string[]
  delivered: number
  missing: number
}

/** Lets a fault strike a listener and watches until it is back. */
export async function observe(arena: Arena, fault: Fault): Promise<Observation> {
  arena.proxy.clear()
  const witness = new Witness(arena.dsn, fault.options)
  const { listener, channels } = witness
  let numbers: Numbers | undefined
  try {
    await witness.start({ retry: true })
    numbers = new Numbers(arena.direct, channels)
    await waitFor(() => witness.called.length >= 20 && witness.iterated.length >= 20)
    const oldProcessId = await witness.processId()
    const victim = { processId: oldProcessId, channel: channels[0]! }
    const noticed = at(listener, 'disconnected')
    const recovered = at(listener, 'reconnected')
    numbers.paused = fault.isQuiet === true
    const struckAt = performance.now()
    await fault.strike(arena, victim)
    const noticedAt = await within(noticed, `${fault.name} to be noticed`)
    let from = noticedAt
    if (fault.heal) {
      await waitFor(() => witness.attempts.length >= 2, { what: `attempts under ${fault.name}` })
      from = performance.now()
      await fault.heal(arena, victim)
      // What takes its time to come back was not there before.
      if (fault.restarts) from = performance.now()
    }
    const recoveredAt = await within(recovered, `the listener to be back after ${fault.name}`)
    await fault.cleanUp?.(arena, victim)
    numbers.paused = false
    const back = numbers.sent.length
    await waitFor(() => numbers!.sent.slice(back).filter(({ after }) => after).length > 20)
    await numbers.stop()
    await listener.sync()
    const violations = [...judge(numbers, witness.called), ...judge(numbers, witness.iterated)]
    const gaps = [witness.called, witness.iterated].map((stream) =>
      stream.find((item) => item instanceof Gap)!,
    )
    if (!isDeepStrictEqual(gaps[0], gaps[1])) violations.push('the consumers saw different gaps')
    const newProcessId = await witness.processId()
    // Asking the session itself moves the listener to another one, which takes a connection.
    const listening = await waitFor(() => witness.serverChannels().catch(() => undefined), {
      what: `the channels after ${fault.name}`,
    })
    if (!isDeepStrictEqual(listening.sort(), [...channels].sort()))
      violations.push(`the server listens to ${listening.join()}`)
    const delivered = witness.iterated.length - 1
    return {
      noticedMs: noticedAt - struckAt,
      recoveredMs: recoveredAt - from,
      gap: gaps[0]!,
      oldProcessId,
      newProcessId,
      events: [...witness.events],
      attempts: [...witness.attempts],
      errors: witness.errors,
      violations,
      delivered,
      missing: numbers.sent.length - delivered,
    }
  } finally {
    await numbers?.stop()
    await witness.stop()
  }
}

/** When an event comes first. */
function at(listener: Listener, event: 'disconnected' | 'reconnected'): Promise<number> {
  return new Promise((resolve) => {
    listener.once(event, () => resolve(performance.now()))
  })
}

async function within(promise: Promise<number>, what: string): Promise<number> {
  let moment: number | undefined
  void promise.then((value) => (moment = value))
  return waitFor(() => moment, { what })
}

/** Reports of one kind are counted beyond this number. */
const MAX_REPORTS = 3

/** What is wrong with a stream, given what was sent: a number may be missing only where and when a gap says so. */
export function judge({ sent }: Numbers, stream: Stream, gapCount = 1): string[] {
  const wrong: string[] = []
  const missing: string[] = []
  const gaps = stream.filter((item) => item instanceof Gap).length
  if (gaps !== gapCount) wrong.push(`${gaps} gaps instead of ${gapCount}`)
  let last = -1
  // Several with nothing in between are one interval.
  let from: number | undefined
  let to = 0
  for (const item of [...stream, sent.length]) {
    if (item instanceof Gap) {
      from ??= item.lostAt.getTime()
      to = item.resumedAt.getTime()
      continue
    }
    if (item <= last) {
      wrong.push(`${item} after ${last}`)
      continue
    }
    for (let number = last + 1; number < item; number += 1) {
      const { before, after } = sent[number]!
      if (after === undefined) continue
      if (from === undefined) missing.push(`${number} is missing, and there is no gap in its place`)
      else if (after + ROUNDING_MS < from)
        missing.push(`${number} is missing, and was committed ${from - after} ms before lostAt`)
      else if (before - ROUNDING_MS > to)
        missing.push(`${number} is missing, and was sent ${before - to} ms after resumedAt`)
    }
    last = item
    from = undefined
  }
  if (missing.length > MAX_REPORTS)
    missing.splice(MAX_REPORTS, Infinity, `${missing.length - MAX_REPORTS} more are missing`)
  return [...wrong, ...missing]
}
