// Who listens during a soak: three kinds of consumers of one listener, each of which keeps what it sees.

import { setTimeout as sleep } from 'node:timers/promises'
import { type Connection, Gap, type Listener, type MessagesOptions } from 'pglisten'
import { NUMBERS_PER_WRITER, keyOf } from './oracle.js'
import type { Selected } from './selected.js'
import { CHANNELS } from './soak-settings.js'
import { deferred, waitFor } from '../wait.js'

const GO_ON_DEADLINE_MS = 30_000
/** The callback asks the server with every so many-th notification, and with every gap. */
const ASK_EVERY = 20
/** The time-out of what a callback asks. */
const ASK_TIMEOUT_MS = 4000
/** The longest that what a callback asks may take: its time-out, 2 s for a cancellation to be confirmed, a busy machine. */
const ASK_BOUND_MS = ASK_TIMEOUT_MS + 2000 + 500

/** What callbacks asked on their connection, and how they fared. Times in milliseconds. */
export interface Asked {
  answered: number
  /** Refused, or without an answer in time. */
  failed: number
  longestAnswerMs: number
  longestFailureMs: number
  gapsAnswered: number
}

/** The pace of the consumer that coalesces: slower than what is notified, so that something waits. */
const NEWEST_PACE_MS = 20

/** The consumers that select, with their options and what these ask for. */
const SELECTING = [
  {
    name: 'filtered',
    options: { filter: { prefix: '2:' } },
    selected: { passes: (key) => Math.floor(key / NUMBERS_PER_WRITER) === 2 },
    paceMs: 0,
  },
  {
    name: 'newest',
    options: {
      coalesce: 'channel',
      // A payload of the oracle is no JSON, so it passes.
      filter: { channels: ['oracle [a-c]', '* ?é', '*/*'], json: { path: ['n'], equals: 1 } },
    },
    selected: {
      passes: (key) => [0, 3].includes(indexOf(key)),
      channelOf: (key) => indexOf(key),
    },
    paceMs: NEWEST_PACE_MS,
  },
] satisfies {
  name: string
  options: MessagesOptions
  selected: Selected
  paceMs: number
}[]

/** The index of a notification's channel. */
function indexOf(key: number): number {
  return (key % NUMBERS_PER_WRITER) % CHANNELS.length
}

/** A callback, batches, and messages that can be made to wait: each keeps what it sees. */
export async function startConsumers(listener: Listener) {
  const streams = new Map<string, (number | Gap)[]>()
  const problems: string[] = []
  const consumer = (name: string, among: Map<string, unknown> = streams) => {
    const seen: (number | Gap)[] = []
    among.set(name, seen)
    const record = (channel: string, payload: string) => {
      const [writer, number, padding] = payload.split(':')
      const key = keyOf(Number(writer), Number(number))
      if (channel !== CHANNELS[Number(number) % CHANNELS.length] || !/^x*$/.test(padding ?? '?')) {
        problems.push(`${name}: number ${number} came garbled, or on the wrong channel`)
      }
      seen.push(key)
    }
    return { seen, record }
  }

  const asked: Asked = {
    answered: 0,
    failed: 0,
    longestAnswerMs: 0,
    longestFailureMs: 0,
    gapsAnswered: 0,
  }
  const ask = async (connection: Connection, number: number) => {
    const began = performance.now()
    const answer = await connection
      .fetchVal('SELECT $1::int', [number], { timeoutMs: ASK_TIMEOUT_MS })
      .catch((error: unknown) => error)
    const took = performance.now() - began
    if (took > ASK_BOUND_MS) problems.push(`a callback waited ${took.toFixed(0)} ms`)
    if (answer === number) {
      asked.answered += 1
      asked.longestAnswerMs = Math.max(asked.longestAnswerMs, took)
      return true
    }
    // A connection that breaks is an outcome; another answer is none.
    if (!(answer instanceof Error)) problems.push(`asked for ${number}, got ${String(answer)}`)
    asked.failed += 1
    asked.longestFailureMs = Math.max(asked.longestFailureMs, took)
    return false
  }
  const called = consumer('callback')
  for (const channel of CHANNELS) {
    await listener.addCallback(channel, async (connection, payload) => {
      called.record(channel, payload)
      if (called.seen.length % ASK_EVERY === 0) await ask(connection, called.seen.length)
    })
  }
  listener.addGapCallback(async (connection, gap) => {
    called.seen.push(gap)
    if (await ask(connection, called.seen.length)) asked.gapsAnswered += 1
  })
  await listener.startup()
  listener.listen()

  const batched = consumer('batches')
  const resting = consumer('messages')
  let rest: Promise<void> = Promise.resolve()
  const iterate = async (work: () => Promise<void>) => {
    try {
      await work()
    } catch (error) {
      problems.push(`an iteration ended: ${String(error)}`)
    }
  }
  const batches = listener.batches({ gaps: 'include' })
  const messages = listener.messages({ gaps: 'include' })
  void iterate(async () => {
    for await (const batch of batches) {
      for (const item of batch) {
        if (item instanceof Gap) batched.seen.push(item)
        else batched.record(item.channel, item.payload)
      }
    }
  })
  void iterate(async () => {
    for await (const item of messages) {
      await rest
      if (item instanceof Gap) resting.seen.push(item)
      else resting.record(item.channel, item.payload)
    }
  })
  const selecting = new Map<string, (number | Gap)[]>()
  for (const { name, options, paceMs } of SELECTING) {
    const { seen, record } = consumer(name, selecting)
    const selected = listener.messages({ ...options, gaps: 'include' })
    void iterate(async () => {
      for await (const item of selected) {
        if (item instanceof Gap) seen.push(item)
        else record(item.channel, item.payload)
        if (paceMs > 0) await sleep(paceMs)
      }
    })
  }
  return {
    streams,
    /** The consumers that select: their names, what they ask for and what they saw. */
    selecting: SELECTING.map(({ name, selected }) => ({
      name,
      selected,
      seen: selecting.get(name)!,
    })),
    problems,
    asked,
    /** Resolves when a callback that asked from now on has its answer. */
    answered: async () => {
      // What is under way may have been sent before.
      const before = asked.answered
      await waitFor(() => asked.answered > before + 1, {
        timeoutMs: GO_ON_DEADLINE_MS,
        what: 'an answer to a callback',
      })
    },
    rest: () => {
      const { promise, resolve } = deferred()
      rest = promise
      return resolve
    },
    /** Resolves when something new has come. */
    goOn: async () => {
      const before = batched.seen.length
      await waitFor(() => batched.seen.length > before + 1, {
        timeoutMs: GO_ON_DEADLINE_MS,
        what: 'another notification',
      })
    },
  }
}
