// A process in which one contestant does one task and is measured doing it. Prints a line of JSON for each thing that
// happens: `up` when it listens, with what was loaded, `warm` when it is about to be measured, then the measurement.
//
//   node contestant.mjs '{"client": "pg", "dsn": "…", "kind": "burst", …}'

import { readSync } from 'node:fs'
import { createRequire } from 'node:module'
import { connectors, subscribers } from './clients.mjs'
import { Meter, wakesOfThreads } from './meter.mjs'

/**
 * @typedef {object} Task
 * @property {string} client One of `clients.mjs`.
 * @property {string} packageFolder The folder of the `pglisten` that is measured.
 * @property {string} dsn
 * @property {'burst' | 'steady' | 'behind' | 'latency' | 'lone' | 'retain' | 'start' | 'statements'} kind
 * @property {number} channels How many channels it listens to: `bench_0` and so on.
 * @property {number} count How many notifications or statements are measured,
 * @property {number} warmUp and how many come before those.
 * @property {number} [consumers] How many handlers each notification goes to; 1 by default.
 * @property {boolean} [async] Whether handlers are asynchronous.
 * @property {number} [keepEvery] One payload in so many is kept.
 *
 * @typedef {{ version: string, facade: string, addons: string[] }} Loaded The build that was loaded: its files.
 */

const task = /** @type {Task} */ (JSON.parse(process.argv[2] ?? ''))
// Not in the parent's hands any more: nobody would read what is measured. Who falls behind reads there itself.
if (task.kind !== 'behind') process.stdin.resume().once('end', () => process.exit())

// A package that requires its own name gets itself, so that no other installed build can be taken instead.
const requireOfPackage = createRequire(`${task.packageFolder}/package.json`)
const pglisten = /** @type {import('./clients.mjs').Package} */ (requireOfPackage('pglisten'))

const tell = (/** @type {object} */ what) => process.stdout.write(`${JSON.stringify(what)}\n`)

/** @template Work @param {Record<string, Work>} all @returns {Work} That of the task's client. */
function chosen(all) {
  const work = all[task.client]
  if (work) return work
  throw new TypeError(`Expected one of ${Object.keys(all).join(', ')}, got ${task.client}`)
}

/** Subscribes as many handlers as the task has consumers. */
const subscribe = (/** @type {(payload: string) => unknown} */ handler) => {
  const work = chosen(subscribers(pglisten))
  const handlers = Array.from({ length: task.consumers ?? 1 }, () => handler)
  const channels = Array.from({ length: task.channels }, (_, index) => `bench_${index}`)
  return work(task.dsn, channels, handlers)
}

/** Each is ready when it resolves; what it gives is done after that. @type {Record<Task['kind'], () => Promise<void | (() => Promise<void>)>>} */
const kinds = {
  async burst() {
    const total = (/** @type {number} */ count) => count * (task.consumers ?? 1)
    let target = total(task.warmUp)
    let received = 0
    let characters = 0
    /** @type {Meter | undefined} */
    let meter
    const reached = () => {
      if (meter) tell({ burst: { count: task.count, characters, ...meter.end() } })
      else {
        target = received + total(task.count)
        meter = new Meter()
        tell({ warm: true })
      }
    }
    const take = (/** @type {string} */ payload) => {
      received += 1
      characters += payload.length
      meter?.first()
      if (received === target) reached()
    }
    const takeLater = async (/** @type {string} */ payload) => {
      // What a handler awaits that has nothing to wait for.
      await Promise.resolve()
      take(payload)
    }
    await subscribe(task.async ? takeLater : take)
  },

  async latency() {
    const toMonotonic = monotonicOffset()
    const latencies = new Float64Array(task.count)
    let received = -task.warmUp
    await subscribe((sentAt) => {
      if (received >= 0)
        latencies[received] = performance.now() * 1e6 + toMonotonic - Number(sentAt)
      received += 1
      if (received < task.count) return
      tell({ latency: quantiles(latencies) })
    })
  },

  async steady() {
    const toMonotonic = monotonicOffset()
    const latencies = new Float64Array(task.count)
    let received = -task.warmUp
    /** @type {Meter | undefined} */
    let meter
    let wakes = 0
    await subscribe((sentAt) => {
      if (received === 0) {
        wakes = wakesOfThreads()
        meter = new Meter()
      }
      if (received >= 0)
        latencies[received] = performance.now() * 1e6 + toMonotonic - Number(sentAt)
      received += 1
      if (received < task.count || !meter) return
      const spent = { wakes: wakesOfThreads() - wakes, ...meter.end() }
      tell({ steady: { count: task.count, ...quantiles(latencies), ...spent } })
    })
  },

  async behind() {
    const delivered = { before: 0, after: 0 }
    let isBehind = false
    let characters = 0
    await subscribe((payload) => {
      characters += payload.length
      if (payload.startsWith('end')) return done()
      if (isBehind) delivered.after += 1
      else delivered.before += 1
      if (delivered.before < task.warmUp || isBehind) return
      isBehind = true
      // In a turn of its own, when what came before is done.
      setTimeout(fallBehind, 100)
    })
    let memoryBefore = 0
    /** @type {Meter | undefined} */
    let meter
    const fallBehind = () => {
      memoryBefore = process.memoryUsage.rss()
      tell({ warm: true })
      // JavaScript does nothing else until everything was sent.
      readSync(0, Buffer.alloc(1))
      meter = new Meter()
      meter.first()
    }
    const done = () => {
      if (!meter) return
      const { peakBytes, ...spent } = meter.end()
      tell({
        behind: {
          count: task.count,
          delivered: delivered.after,
          grownBytes: peakBytes - memoryBefore,
          characters,
          ...spent,
        },
      })
    }
  },

  async lone() {
    let characters = 0
    await subscribe((payload) => {
      characters += payload.length
    })
  },

  async retain() {
    const every = task.keepEvery ?? 1000
    /** @type {string[]} */
    const kept = []
    let received = 0
    let before = 0
    await subscribe((payload) => {
      received += 1
      if (received <= task.warmUp) {
        if (received === task.warmUp) {
          before = memory()
          tell({ warm: true })
        }
        return
      }
      if (received % every === 0) kept.push(payload)
      if (received < task.warmUp + task.count) return
      // In a turn of its own: what is being delivered is still held by whoever delivers it.
      setTimeout(() => {
        const heldBytes = memory() - before
        const keptBytes = kept.reduce((total, one) => total + one.length, 0)
        tell({ retain: { heldBytes, keptBytes } })
      }, 100)
    })
  },

  async start() {
    await subscribe(() => tell({ start: { firstNs: performance.now() * 1e6 } }))
  },

  async statements() {
    const query = await chosen(connectors(pglisten))(task.dsn)
    return async () => {
      const times = new Float64Array(task.count)
      for (let index = -task.warmUp; index < task.count; index += 1) {
        const from = performance.now()
        await query(index)
        if (index >= 0) times[index] = (performance.now() - from) * 1e6
      }
      tell({ statements: quantiles(times) })
    }
  },
}

/** @param {Float64Array} times In nanoseconds; gets sorted. */
function quantiles(times) {
  times.sort()
  const at = (/** @type {number} */ quantile) =>
    times[Math.ceil(quantile * times.length) - 1] ?? Number.NaN
  return { p50Ns: at(0.5), p99Ns: at(0.99), p999Ns: at(0.999), maxNs: at(1) }
}

/** @returns {Loaded} */
function loaded() {
  const { version } = requireOfPackage('./package.json')
  const addons = Object.keys(requireOfPackage.cache).filter((file) => file.endsWith('.node'))
  return { version, facade: requireOfPackage.resolve('pglisten'), addons }
}

/** What JavaScript holds, after everything that can be collected was collected. */
function memory() {
  const collect = /** @type {{ gc?: () => void }} */ (globalThis).gc
  if (!collect) throw new Error('This needs --expose-gc.')
  collect()
  collect()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

/** What has to be added to `performance.now()`, in nanoseconds, to get the system's monotonic clock. */
function monotonicOffset() {
  let best = { took: Infinity, offset: 0 }
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const from = performance.now()
    const clock = Number(process.hrtime.bigint())
    const took = performance.now() - from
    if (took < best.took) best = { took, offset: clock - (from + took / 2) * 1e6 }
  }
  return best.offset
}

const begin = await kinds[task.kind]()
tell({ up: true, loaded: loaded() })
await begin?.()
