// The consumer for JavaScript: messages and gaps of a stream, with a look at the counters at each of them.
import {
  DeliverPolicy,
  JetStreamApiError,
  jetstream,
  jetstreamManager,
  type Consumer,
  type ConsumerMessages,
  type JetStreamManager,
  type JsMsg,
} from '@nats-io/jetstream'
import type { NatsConnection, QueuedIterator, Status } from '@nats-io/transport-node'
import { checkInteger, checkNames, checkSignal, checkText, refuse } from '../options/checks.js'
import { checkChannels, checkPrefix } from '../options/options.js'
import { sleep } from '../nats/sleep.js'
import { Header, headerOf, parseNumbered, type Numbered } from '../wire/headers.js'
import { encodeToken, gapSubjectOf, subjectOf } from '../wire/subjects.js'
import {
  gapBodyOf,
  gapOf,
  isOfRelay,
  messageOf,
  noticedGap,
  seenOf,
  type RelayGap,
  type RelayMessage,
} from './items.js'
import { Tracker } from './tracker.js'

const NO_MESSAGE = 10_037
const RETRY_MS = 500
const GIVE_UP_MS = 60_000
/** How often the stream is asked whether it is still the same one, in milliseconds. */
const LOOK_MS = 10_000

/** The options of {@link subscribe}. */
export interface SubscribeOptions {
  /** The stream. */
  stream: string
  /** The name of the database in subjects, as the relay was told. */
  database: string
  /** The first tokens of the subjects. @default 'pg' */
  prefix?: string | undefined
  /** The channels. @default every channel */
  channels?: readonly string[] | undefined
  /**
   * A durable consumer that exists: it goes on behind the last message that was acknowledged. Its filter should be the subjects of the channels
   * and that of gaps. Without one a consumer is made that ends with the subscription.
   * @default none
   */
  durable?: string | undefined
  /**
   * Where a consumer that is not durable begins: behind the last message, with the oldest one, or with a sequence.
   * @default 'new'
   */
  from?: 'new' | 'all' | number | undefined
  /** Ends the subscription. @default no signal */
  signal?: AbortSignal | undefined
}

interface Resolved {
  stream: string
  database: string
  prefix: string
  from: 'new' | 'all' | number
  channels: readonly string[] | undefined
  durable: string | undefined
}

/**
 * Yields the messages and gaps of a stream that a relay writes, in order. Every message that was in the stream and does not come,
 * because it was removed, is told by a gap with the reason `retention` at its place; a stream that was deleted and made again by one
 * with the reason `stream-reset`. What others have written to the stream is passed over. The end of the iteration ends the consumer; the connection stays.
 *
 * The account needs the rights to ask for the stream, its messages and the consumer; without a durable consumer, also that to make one.
 *
 * @param nc - A connection to NATS. It should have `maxReconnectAttempts: -1`.
 * @throws {@link RelayOptionError} when an option is wrong. The iteration rejects when there is no such stream or durable consumer at
 * first, or a right is missing; a connection that is lost is waited for, also at first.
 */
export function subscribe(
  nc: NatsConnection,
  options: SubscribeOptions,
): AsyncGenerator<RelayMessage | RelayGap, void, undefined> {
  const resolved = resolve(options)
  return new Consumption(nc, resolved, options.signal).items()
}

function resolve(options: SubscribeOptions): Resolved {
  checkNames('options', options, [
    ...['stream', 'database', 'prefix', 'channels', 'durable', 'from', 'signal'],
  ])
  const { from = 'new', signal } = options
  if (typeof from === 'number') checkInteger('from', from, 1, Number.MAX_SAFE_INTEGER)
  else if (from !== 'new' && from !== 'all') refuse('from', "'new', 'all' or a sequence", from)
  checkSignal(signal)
  return {
    stream: checkText('stream', options.stream) ?? refuse('stream', 'a text', undefined),
    database: checkText('database', options.database) ?? refuse('database', 'a text', undefined),
    prefix: checkPrefix(options.prefix ?? 'pg'),
    channels: options.channels === undefined ? undefined : checkChannels(options.channels),
    durable: checkText('durable', options.durable),
    from,
  }
}

/** One subscription. */
class Consumption {
  readonly #nc: NatsConnection
  readonly #options: Resolved
  readonly #ending = new AbortController()
  readonly #tracker: Tracker
  /** The signal of the caller. */
  readonly #given: AbortSignal | undefined
  #created = ''
  #isConnected = true
  #onReconnected: (() => void) | undefined
  /** How often the connection was lost. */
  #losses = 0
  /** How often the connection came back. */
  #reconnects = 0
  /** The highest sequence that was handed out. */
  #last = 0
  /** A message by which the stream is known again: the last one of a relay that this consumer knows of. */
  #known: { sequence: number; number: Numbered } | undefined
  /** The sequence from which on messages are wanted. */
  #first = 1

  constructor(nc: NatsConnection, options: Resolved, signal: AbortSignal | undefined) {
    this.#nc = nc
    this.#options = options
    this.#given = signal
    this.#tracker = new Tracker(options.channels === undefined ? undefined : this.#subjects())
  }

  /** Follows the connection until the subscription ends. */
  async #follow(connection: QueuedIterator<Status>): Promise<void> {
    this.#ending.signal.addEventListener('abort', () => connection.stop(), { once: true })
    for await (const { type } of connection) {
      if (type === 'disconnect') {
        this.#isConnected = false
        this.#losses += 1
      }
      if (type !== 'reconnect') continue
      this.#isConnected = true
      this.#reconnects += 1
      this.#onReconnected?.()
    }
  }

  async *items(): AsyncGenerator<RelayMessage | RelayGap, void, undefined> {
    // Not AbortSignal.any(): Node.js 20 keeps a trace of each such signal for as long as that of the caller lives.
    const end = () => this.#ending.abort(this.#given?.reason)
    try {
      void this.#follow(this.#nc.status() as QueuedIterator<Status>)
      this.#given?.addEventListener('abort', end, { once: true })
      if (this.#given?.aborted) end()
      const jsm = await jetstreamManager(this.#nc, { checkAPI: false })
      const lost = await this.#atFirst(() => this.#begin(jsm))
      if (lost) yield lost
      for (let isFirst = true; !this.#ending.signal.aborted; isFirst = false) {
        if (!isFirst && (await this.#again(() => this.#isAnother(jsm)))) {
          this.#tracker.reset()
          this.#known = undefined
          this.#last = 0
          this.#first = 1
          yield noticedGap('stream-reset', null, 0)
        }
        const open = async () => {
          const reconnects = this.#reconnects
          const consumer = await this.#consumer()
          return { reconnects, consumer, messages: await consumer.consume({ max_messages: 1000 }) }
        }
        const { reconnects, consumer, messages } = await (isFirst
          ? this.#atFirst(open)
          : this.#again(open))
        const watch = this.#watch(jsm, messages, reconnects)
        try {
          for await (const message of messages) yield* this.#itemsOf(message)
        } finally {
          watch.end()
          await messages.close()
          if (this.#options.durable === undefined) void consumer.delete().catch(() => {})
        }
        if (!watch.goesOn()) break
      }
    } catch (error) {
      if (!this.#ending.signal.aborted) throw error
    } finally {
      this.#given?.removeEventListener('abort', end)
      this.#ending.abort()
    }
  }

  *#itemsOf(message: JsMsg): Generator<RelayMessage | RelayGap> {
    const isDurable = this.#options.durable !== undefined
    const ack = isDurable ? () => message.ack() : () => {}
    // Others should not write to the stream; what they write is none of a database's, and nothing about it can be relied on.
    if (!isOfRelay(message)) {
      ack()
      return
    }
    const body = gapBodyOf(message)
    // What is handed out again was looked at before.
    const isAgain = message.seq <= this.#last
    const seen = seenOf(message, body)
    const missing = isAgain ? 0 : this.#tracker.see(seen)
    if (!isAgain && seen.number) this.#known = { sequence: message.seq, number: seen.number }
    this.#last = Math.max(this.#last, message.seq)
    if (missing !== 0) yield noticedGap('retention', missing, message.seq)
    if (body === undefined) yield messageOf(message, isAgain, ack)
    else if (body.dropped === 0) ack()
    else yield gapOf(message, body, ack)
  }

  /** Learns what the stream has before the first message. Returns a gap if what the consumer begins with was removed. */
  async #begin(jsm: JetStreamManager): Promise<RelayGap | undefined> {
    const { stream, durable, from } = this.#options
    const { created, state } = await jsm.streams.info(stream)
    this.#created = created
    if (durable !== undefined) {
      const { ack_floor: floor } = await jsm.consumers.info(stream, durable)
      if (floor.stream_seq > 0 && state.first_seq > floor.stream_seq + 1)
        return noticedGap('retention', null, state.first_seq)
      await this.#startAt(jsm, floor.stream_seq)
    } else if (from === 'new') {
      this.#first = state.last_seq + 1
      await this.#startAt(jsm, state.last_seq)
    } else if (typeof from === 'number') {
      this.#first = from
      if (state.first_seq > from) return noticedGap('retention', null, state.first_seq)
      await this.#startAt(jsm, from - 1)
    }
    return undefined
  }

  /** Notes the numbers of the message with that sequence, and of the last ones of the subjects. */
  async #startAt(jsm: JetStreamManager, sequence: number): Promise<void> {
    if (sequence === 0) return
    const number = await this.#numberOf(jsm, { seq: sequence }, Header.sequence)
    if (number === undefined) return
    this.#known = { sequence, number }
    const ofSubjects = new Map<string, Numbered>()
    for (const subject of this.#options.channels === undefined ? [] : this.#subjects()) {
      const last = await this.#numberOf(
        jsm,
        { last_by_subj: subject },
        Header.channelSequence,
        sequence,
      )
      if (last === undefined) continue
      // Its last message came later, so the one before the first that is handed out is not known.
      if (last === 'later') return this.#tracker.start(number, new Map())
      ofSubjects.set(subject, last)
    }
    this.#tracker.start(number, ofSubjects)
  }

  async #numberOf(
    jsm: JetStreamManager,
    query: { seq: number } | { last_by_subj: string },
    header: string,
  ): Promise<Numbered | undefined>
  async #numberOf(
    jsm: JetStreamManager,
    query: { seq: number } | { last_by_subj: string },
    header: string,
    upTo: number,
  ): Promise<Numbered | 'later' | undefined>
  async #numberOf(
    jsm: JetStreamManager,
    query: { seq: number } | { last_by_subj: string },
    header: string,
    upTo = Infinity,
  ): Promise<Numbered | 'later' | undefined> {
    try {
      const found = await jsm.streams.getMessage(this.#options.stream, query)
      if (found === null) return undefined
      if (found.seq > upTo) return 'later'
      return parseNumbered(headerOf(found.header, header))
    } catch (error) {
      if (error instanceof JetStreamApiError && error.code === NO_MESSAGE) return undefined
      throw error
    }
  }

  #subjects(): string[] {
    const { prefix, database, channels } = this.#options
    if (channels === undefined) return [`${prefix}.${encodeToken(database)}.>`]
    return [
      ...channels.map((channel) => subjectOf(prefix, database, channel)),
      gapSubjectOf(prefix, database),
    ]
  }

  async #consumer(): Promise<Consumer> {
    const { stream, durable } = this.#options
    const { consumers } = jetstream(this.#nc)
    if (durable !== undefined) return consumers.get(stream, durable)
    return consumers.get(stream, {
      filter_subjects: this.#subjects(),
      deliver_policy: DeliverPolicy.StartSequence,
      opt_start_seq: Math.max(this.#first, this.#last + 1),
    })
  }

  /**
   * Whether there is another stream of that name now. Another time of creation alone does not say so: nats-server 2.12 forgets that
   * of a stream whose settings were changed, when it is restarted.
   */
  async #isAnother(jsm: JetStreamManager): Promise<boolean> {
    const { created, state } = await jsm.streams.info(this.#options.stream)
    if (created === this.#created) return false
    const known = this.#known
    const isThere = known !== undefined && state.last_seq >= known.sequence
    const found = isThere
      ? await this.#numberOf(jsm, { seq: known.sequence }, Header.sequence)
      : undefined
    this.#created = created
    if (!isThere) return true
    // A message that is gone proves nothing. Should the stream be another one after all, the counters tell that at the next message.
    return found !== undefined && (found.epoch !== known.number.epoch || found.n !== known.number.n)
  }

  /** Rejects as `work` does, but repeats it when the connection was lost meanwhile. */
  async #atFirst<Result>(work: () => Promise<Result>): Promise<Result> {
    const losses = this.#losses
    try {
      return await work()
    } catch (error) {
      if (this.#losses === losses && this.#isConnected) throw error
      return this.#again(work)
    }
  }

  /** Repeats `work` until it succeeds, but no longer than a minute while there is a connection: by then something is really missing. */
  async #again<Result>(work: () => Promise<Result>): Promise<Result> {
    let failedAt: number | undefined
    for (;;) {
      try {
        return await work()
      } catch (error) {
        if (this.#nc.isClosed()) throw error
        // A server that is away is waited for.
        failedAt = this.#isConnected ? (failedAt ?? performance.now()) : undefined
        if (failedAt !== undefined && performance.now() - failedAt > GIVE_UP_MS) throw error
        await sleep(RETRY_MS, this.#ending.signal)
      }
    }
  }

  /**
   * Ends the consumer's messages when another consumer has to take its place.
   *
   * - The stream is another one: a consumer of the client goes on with the next number of a stream that was made again, and skips those
   *   below. So the stream is asked at whatever the client has to say, and now and then.
   * - The connection was lost and is back: when it is lost a second time before anything has come, the client goes on to ask for 0
   *   messages. It may have been lost and back since the consumer began to be made, when it had come back `reconnects` times.
   */
  #watch(jsm: JetStreamManager, messages: ConsumerMessages, reconnects: number) {
    let goesOn = false
    let isLooking = false
    const replace = () => {
      goesOn = true
      void messages.close()
    }
    const look = async () => {
      if (isLooking) return
      isLooking = true
      try {
        const { created } = await jsm.streams.info(this.#options.stream)
        if (created !== this.#created) replace()
      } catch {
        // It is away, or being made again: the client says more.
      } finally {
        isLooking = false
      }
    }
    const timer = setInterval(() => void look(), LOOK_MS)
    const onAbort = () => void messages.close()
    this.#ending.signal.addEventListener('abort', onAbort, { once: true })
    this.#onReconnected = replace
    if (this.#reconnects !== reconnects) replace()
    void (async () => {
      for await (const status of messages.status()) {
        if (status.type === 'next' && status.options.batch === 0) replace()
        else if (!ROUTINE.has(status.type)) await look()
      }
    })()
    return {
      /** Whether another consumer has to take its place. */
      goesOn: () => goesOn && !this.#ending.signal.aborted,
      end: () => {
        clearInterval(timer)
        this.#onReconnected = undefined
        this.#ending.signal.removeEventListener('abort', onAbort)
      },
    }
  }
}

/** What the client says all the time. */
const ROUTINE = new Set(['next', 'heartbeat', 'flow_control', 'debug', 'discard'])
