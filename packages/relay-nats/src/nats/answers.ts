// Messages that wait for the stream's answers: one subscription for all of them, which costs less than a request for each.
import type { Msg, MsgHdrs, Subscription } from '@nats-io/transport-node'
import type { Link } from './link.js'

/** What the stream has answered to one message. */
export interface Answer {
  /** The sequence of the message, if it is stored. */
  sequence: number | undefined
  /** JetStream's code and text, if it is refused. */
  refusal: Refusal | undefined
}

/** Why a message is not stored. */
export interface Refusal {
  /** JetStream's number of the error; 503 where nobody answers for the subject, 0 for what did not come from the stream. */
  code: number
  message: string
}

/** One message, ready to be sent. */
export interface Outgoing {
  subject: string
  payload: Uint8Array
  headers: MsgHdrs
  /** Whether the stream is asked to answer. */
  isAnswered: boolean
}

/** What has become of messages that were sent together. */
export interface Outcome {
  /** The answers, in the order of the messages that ask for one; a hole where none came. */
  answers: (Answer | undefined)[]
  /** Why nothing more was waited for, if that is not because every answer came. */
  failure: Error | undefined
}

/** See the file. */
export class Answers {
  readonly #link: Link
  readonly #subscription: Subscription
  #round = 0
  #onAnswer: ((round: number, index: number, message: Msg) => void) | undefined

  constructor(link: Link) {
    this.#link = link
    const start = link.inbox.length + 1
    this.#subscription = link.nc.subscribe(`${link.inbox}.*.*`, {
      callback: (error, message) => {
        if (error) return
        const [round, index] = message.subject.slice(start).split('.')
        this.#onAnswer?.(Number(round), Number(index), message)
      },
    })
  }

  close(): void {
    this.#subscription.unsubscribe()
  }

  /**
   * Sends messages and waits for their answers, at most `timeoutMs` from one to the next, and no longer than the connection lasts.
   * Never rejects.
   */
  async send(messages: readonly Outgoing[], timeoutMs: number): Promise<Outcome> {
    const round = (this.#round += 1)
    const asked = messages.filter(({ isAnswered }) => isAnswered).length
    const answers = Array.from<Answer | undefined>({ length: asked })
    return new Promise((resolve) => {
      let missing = asked
      let heardAt = performance.now()
      const end = (failure?: Error) => {
        this.#onAnswer = undefined
        clearInterval(timer)
        notLost()
        notRefused()
        resolve({ answers, failure })
      }
      const notLost = this.#link.whenLost(end)
      const notRefused = this.#link.whenRefused(end)
      const timer = setInterval(() => {
        if (performance.now() - heardAt >= timeoutMs)
          end(new Error(`the stream did not answer within ${timeoutMs} ms`))
      }, timeoutMs / 10)
      this.#onAnswer = (ofRound, index, message) => {
        if (ofRound !== round || answers[index] !== undefined) return
        heardAt = performance.now()
        answers[index] = readAnswer(message)
        missing -= 1
        if (missing === 0) end()
      }
      // The connection may have been lost since the caller looked; then the client would throw the messages away.
      if (!this.#link.isConnected) {
        end(new Error('there is no connection to NATS'))
        return
      }
      try {
        this.#publish(messages, round)
      } catch (error) {
        end(error as Error)
      }
    })
  }

  #publish(messages: readonly Outgoing[], round: number): void {
    let index = 0
    for (const { subject, payload, headers, isAnswered } of messages) {
      if (isAnswered) {
        const reply = `${this.#link.inbox}.${round}.${index}`
        this.#link.nc.publish(subject, payload, { headers, reply })
        index += 1
      } else this.#link.nc.publish(subject, payload, { headers })
    }
  }
}

/** The answer to a message: empty for the first one of an atomic batch. */
function readAnswer(message: Msg): Answer {
  if (message.headers?.code === 503)
    return refused(503, 'nobody answers for the subject: is there the stream, and JetStream?')
  if (message.data.length === 0) return { sequence: undefined, refusal: undefined }
  try {
    const { seq, error } = message.json<{
      seq?: number
      error?: { err_code?: number; code?: number; description?: string }
    }>()
    if (error)
      return refused(error.err_code ?? error.code ?? 0, error.description ?? 'no description')
    if (typeof seq === 'number') return { sequence: seq, refusal: undefined }
  } catch {
    // Told below.
  }
  return refused(0, 'expected the answer of a stream, got something else')
}

const refused = (code: number, message: string): Answer => ({
  sequence: undefined,
  refusal: { code, message },
})
