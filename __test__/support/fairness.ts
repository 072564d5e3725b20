// What a flood of notifications leaves of the event loop: how often, and how late, timers fire meanwhile.

import { otherPool } from './listener.js'

/** How often the timers are meant to fire, in milliseconds. */
const INTERVAL_MS = 1

export interface Fairness {
  /** From the first delivery to the last, in milliseconds. */
  deliveryMs: number
  /** How often a timer fired meanwhile. */
  ticks: number
  /** The longest time without a timer, in milliseconds. */
  longestMs: number
  /** All those times, sorted. */
  delays: number[]
}

/**
 * Observes the timers while `work` runs: from the first call of `begin`, which `work` is given, to the call of `end`.
 */
export async function observeTimers(
  work: (observer: { begin: () => void; end: () => void }) => Promise<void>,
): Promise<Fairness> {
  const delays: number[] = []
  let begun: number | undefined
  let ended: number | undefined
  let last = 0
  const tick = () => {
    const now = performance.now()
    if (begun === undefined || ended !== undefined) return
    delays.push(now - last)
    last = now
  }
  const timer = setInterval(tick, INTERVAL_MS)
  const begin = () => {
    begun ??= last = performance.now()
  }
  const end = () => {
    if (ended !== undefined) return
    ended = performance.now()
    // What has passed since the last timer counts as well.
    delays.push(ended - last)
  }
  try {
    await work({ begin, end })
  } finally {
    clearInterval(timer)
  }
  delays.sort((a, b) => a - b)
  return {
    deliveryMs: (ended ?? Number.NaN) - (begun ?? Number.NaN),
    ticks: delays.length - 1,
    longestMs: delays.at(-1) ?? Number.NaN,
    delays,
  }
}

/** Notifies `1` … `count` in one transaction, each payload with 40 bytes. */
export async function floodWithOneTransaction(channel: string, count: number): Promise<void> {
  await using connection = await (await otherPool()).connection()
  await connection.execute(
    `SELECT count(pg_notify($1, lpad(n::text, 40, '0'))) FROM generate_series(1, $2::int4) AS n`,
    [channel, count],
  )
}

/** Lets callbacks take `count` notifications of one transaction, and checks that they are complete and in order. */
export async function million(count = 1_000_000): Promise<Fairness & { wrong: number }> {
  const pool = await otherPool()
  const listener = pool.listener({
    buffer: { maxMessages: count, maxBytes: count * 200 },
  })
  const channel = `million_${process.pid}_${Date.now()}`
  let received = 0
  let wrong = 0
  const fairness = await observeTimers(async ({ begin, end }) => {
    let done = () => {}
    const complete = new Promise<void>((resolve) => {
      done = resolve
    })
    await listener.addCallback(channel, (_, payload) => {
      begin()
      received += 1
      if (Number(payload) !== received || payload.length !== 40) wrong += 1
      if (received < count) return
      end()
      done()
    })
    await listener.startup()
    listener.listen()
    await floodWithOneTransaction(channel, count)
    await complete
  })
  const { dropped } = listener.stats()
  await listener.shutdown()
  return { ...fairness, wrong: wrong + dropped }
}
