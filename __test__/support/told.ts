// What `node:diagnostics_channel` tells, kept for a test. The channels belong to the process: tests tell theirs apart by names.

import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { ExecutionContext } from 'ava'

/** The messages of a channel from now to the end of the test, as they come. */
export function told<Message>(t: ExecutionContext, channel: string): Message[] {
  const messages: Message[] = []
  const keep = (message: unknown) => void messages.push(message as Message)
  subscribe(channel, keep)
  t.teardown(() => unsubscribe(channel, keep))
  return messages
}

/** The moments of a traced call, with its context as it is then. */
export interface Moment<Context> {
  moment: 'start' | 'end' | 'asyncStart' | 'asyncEnd' | 'error'
  context: Context
  /** The same object for all moments of a call. */
  call: object
}

const MOMENTS = ['start', 'end', 'asyncStart', 'asyncEnd', 'error'] as const

/** The moments of all calls that a tracing channel tells of, from now to the end of the test. */
export function moments<Context extends object>(
  t: ExecutionContext,
  name: string,
): Moment<Context>[] {
  const all: Moment<Context>[] = []
  for (const moment of MOMENTS) {
    const channel = `tracing:${name}:${moment}`
    const keep = (message: unknown) =>
      void all.push({ moment, context: { ...(message as Context) }, call: message as object })
    subscribe(channel, keep)
    t.teardown(() => unsubscribe(channel, keep))
  }
  return all
}
