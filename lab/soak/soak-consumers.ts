// Who listens during a soak: three kinds of consumers of one listener, each of which keeps what it sees.

import { Gap, type Listener } from 'pglisten'
import { keyOf } from './oracle.js'
import { deferred, waitFor } from '../wait.js'

/** Names that have to be quoted, too. */
export const CHANNELS = ['oracle a', 'oracle B', 'oracle "c"', 'oracle/d', 'oracle é']

const GO_ON_DEADLINE_MS = 30_000

/** A callback, batches, and messages that can be made to wait: each keeps what it sees. */
export async function startConsumers(listener: Listener) {
  const streams = new Map<string, (number | Gap)[]>()
  const problems: string[] = []
  const consumer = (name: string) => {
    const seen: (number | Gap)[] = []
    streams.set(name, seen)
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

  const called = consumer('callback')
  for (const channel of CHANNELS) {
    await listener.addCallback(channel, (_, payload) => called.record(channel, payload))
  }
  listener.addGapCallback((_, gap) => void called.seen.push(gap))
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
  return {
    streams,
    problems,
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
