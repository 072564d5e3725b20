// What the stream says of itself: its last sequence, and a message of it.
import {
  JetStreamApiError,
  jetstreamManager,
  type JetStreamManager,
  type StreamInfo,
} from '@nats-io/jetstream'
import type { MsgHdrs } from '@nats-io/transport-node'
import { Header, headerOf, parseNumbered, type Numbered } from '../wire/headers.js'
import type { Link } from './link.js'

/** JetStream's code for a message that is not there. */
const NO_MESSAGE = 10037

/** A stored message, without its body. */
export interface Stored {
  /** Its sequence in the stream. */
  sequence: number
  /** When the stream has stored it. */
  time: Date
  subject: string
  headers: MsgHdrs | undefined
  /** Its number among all messages of its epoch; `undefined` if no relay has written it. */
  numbered: Numbered | undefined
}

/** Where the stream ends. */
export interface StreamEnd {
  /** When the stream was made: another time means that it is another stream. */
  created: string
  /** The last sequence that was given, also if that message is gone. */
  last: number
}

/** A setting by which messages go from the middle of a stream. */
export interface Hole {
  /** What it is. */
  what: string
  /** What it should be. */
  advice: string
}

/**
 * What makes holes in a stream. By the last messages a relay of a durable source knows what is stored: it reads them up to the first hole, and would store
 * again what is behind.
 */
export function holesOf({ config }: StreamInfo): Hole[] {
  const holes: Hole[] = []
  const { retention, max_msgs_per_subject: most } = config
  if (retention !== 'limits') {
    const what = `retention is ${retention}: messages go when they are read`
    holes.push({ what, advice: 'set retention to limits' })
  }
  if (most > 0) {
    const what = `the stream keeps only so many messages of a subject (max_msgs_per_subject): ${most}`
    holes.push({ what, advice: 'set max_msgs_per_subject to -1' })
  }
  return holes
}

/** See the file. */
export class StreamReader {
  readonly name: string
  readonly #link: Link
  readonly #timeoutMs: number
  #manager: Promise<JetStreamManager> | undefined

  constructor(link: Link, name: string, timeoutMs: number) {
    this.#link = link
    this.name = name
    this.#timeoutMs = timeoutMs
  }

  async info(): Promise<StreamInfo> {
    return (await this.#jsm()).streams.info(this.name)
  }

  async end(): Promise<StreamEnd> {
    const { created, state } = await this.info()
    return { created, last: state.last_seq }
  }

  /** The message of a sequence, or `undefined` if it is gone. */
  async message(sequence: number): Promise<Stored | undefined> {
    return this.#get({ seq: sequence })
  }

  /** The last message of the stream, or `undefined` without any. */
  async newest(): Promise<Stored | undefined> {
    return this.lastOf('>')
  }

  /** The last message of a subject, or `undefined` without any. */
  async lastOf(subject: string): Promise<Stored | undefined> {
    return this.#get({ last_by_subj: subject })
  }

  async #get(query: { seq: number } | { last_by_subj: string }): Promise<Stored | undefined> {
    const jsm = await this.#jsm()
    try {
      const found = await jsm.streams.getMessage(this.name, query)
      if (found === null) return undefined
      return {
        sequence: found.seq,
        time: found.time,
        subject: found.subject,
        headers: found.header,
        numbered: parseNumbered(headerOf(found.header, Header.sequence)),
      }
    } catch (error) {
      if (error instanceof JetStreamApiError && error.code === NO_MESSAGE) return undefined
      throw error
    }
  }

  #jsm(): Promise<JetStreamManager> {
    // Without the check, which asks for more rights than the relay needs.
    this.#manager ??= jetstreamManager(this.#link.nc, {
      checkAPI: false,
      timeout: this.#timeoutMs,
    })
    return this.#manager
  }
}
