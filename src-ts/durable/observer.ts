// Tells of the life of a durable subscription: to `node:diagnostics_channel`, to `NODE_DEBUG=pglisten`, and to the user's logger.
import { debuglog } from 'node:util'
import {
  handlerChannels,
  subscriptionChannel,
  type HandlerContext,
  type SubscriptionMessage,
  type SubscriptionMoment,
} from '../observe/channels.js'
import { errorFacts } from '../observe/facts.js'
import { isTraced, traced } from '../observe/tracing.js'
import { logTo, type LogLevel, type ResolvedObservation } from '../options/observation.js'
import type { DurableEvent } from './event.js'

const debug = debuglog('pglisten')

/** At which level each moment is logged. Batches that are done are told to diagnostics alone: there may be thousands in a second. */
const LEVELS: Readonly<Record<SubscriptionMoment, LogLevel | undefined>> = {
  started: 'info',
  working: 'info',
  standingBy: 'debug',
  takeover: 'info',
  asleep: 'debug',
  awake: 'debug',
  done: undefined,
  failure: 'warn',
  givenUp: 'error',
  adopted: 'warn',
  unread: 'warn',
  warning: 'warn',
  ended: 'info',
}

const WORDS: Readonly<Record<SubscriptionMoment, string>> = {
  started: 'started',
  working: 'works',
  standingBy: 'stands by: another process works',
  takeover: 'took over',
  asleep: 'asleep',
  awake: 'awake',
  done: 'done',
  failure: 'failure',
  givenUp: 'given up',
  adopted: 'adopted the positions of a restored dump',
  unread: 'read by nobody',
  warning: 'warning',
  ended: 'ended',
}

/** What is told of a moment besides its name. */
export interface SubscriptionFacts {
  /** Of `unread`: the subscription, if it is another one. */
  subscription?: string
  partition?: number
  count?: number
  event?: DurableEvent<unknown>
  isDropped?: boolean
  error?: unknown
  /** What it is in words: for the logger alone. */
  detail?: string
}

/** Tells of one subscription. */
export class SubscriptionObserver {
  readonly #name: string
  readonly #observation: ResolvedObservation

  constructor(name: string, observation: ResolvedObservation) {
    this.#name = name
    this.#observation = observation
  }

  /** Tells whoever wants to hear. What is told is made only if somebody does. */
  tell(moment: SubscriptionMoment, facts: SubscriptionFacts = {}): void {
    const isHeard = subscriptionChannel.hasSubscribers
    const { logger, payloads } = this.#observation
    const level = facts.error !== undefined && moment === 'ended' ? 'error' : LEVELS[moment]
    const isLogged = level !== undefined && (logger !== undefined || debug.enabled)
    if (!isHeard && !isLogged) return
    const { subscription = this.#name, partition, count, event, isDropped, error } = facts
    const { code, sqlState } = errorFacts(error)
    const { channel, uid, attempt } = event ?? {}
    const message: SubscriptionMessage = {
      ...{ subscription, event: moment, partition, count, channel, uid, attempt, isDropped },
      ...(error === undefined ? { code: undefined, sqlState: undefined } : { code, sqlState }),
    }
    if (isHeard) subscriptionChannel.publish(message)
    if (!isLogged) return
    const text = this.#text(message)
    if (debug.enabled) debug('%s', text)
    if (!logger) return
    // The error of an event is whatever its handler threw: its text may hold anything.
    const ofUs = event === undefined && error instanceof Error ? error.message : undefined
    const { detail = ofUs } = facts
    const err = payloads && error !== undefined ? { err: error } : undefined
    logTo(logger, level, { ...message, ...err }, `${text}${detail ? `: ${detail}` : ''}`)
  }

  #text({ subscription, event, partition, count, uid, attempt, ...more }: SubscriptionMessage) {
    const parts = [`subscription ${subscription}`]
    if (partition !== undefined && partition > 0) parts.push(`partition ${partition}`)
    let text = WORDS[event]
    if (uid !== undefined) text += `: event ${uid}, attempt ${attempt}`
    if (event === 'unread')
      text += `: keeps ${count} events${more.isDropped ? ', and was dropped' : ''}`
    const codes = [more.code, more.sqlState].filter((code) => code !== undefined).join(' ')
    return `${parts.join(', ')}: ${text}${codes === '' ? '' : ` [${codes}]`}`
  }

  /** Calls the handler for an event, told to whoever traces. */
  traced(partition: number, event: DurableEvent<unknown>, call: () => unknown): unknown {
    if (!isTraced(handlerChannels)) return call()
    const { channel, uid, attempt, payload } = event
    const { payloads } = this.#observation
    const context: HandlerContext = {
      ...{ subscription: this.#name, partition, channel, uid, attempt },
      payload: payloads ? payload : undefined,
      error: undefined,
    }
    return traced(handlerChannels, context, payloads, call)
  }
}
