// A browser's side of server-sent events, over a socket that can be left unread.

import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import { once } from 'node:events'
import { waitFor } from '../../lab/wait.js'

export class EventStream {
  readonly ids: number[] = []
  /** The id of the last event as it was sent, for who comes back. */
  lastEventId: string | undefined
  /** How often it was told to begin anew. */
  anew = 0
  firstBody: string | undefined
  #rest = ''

  static async open(url: string, lastEventId?: string): Promise<EventStream> {
    const headers = lastEventId === undefined ? {} : { 'last-event-id': lastEventId }
    const sent = request(url, { headers }).end()
    const [response] = (await once(sent, 'response')) as [IncomingMessage]
    const stream = new EventStream(sent, response)
    // The server says something at once, so from here on it knows of us.
    await waitFor(() => stream.#greeted, { what: 'the stream to open' })
    return stream
  }

  #greeted = false

  /** Waits until the server has ended the stream. */
  async ended(): Promise<void> {
    await waitFor(() => this.response.complete || this.response.destroyed, {
      what: 'the stream to end',
      timeoutMs: 30_000,
    })
  }

  private constructor(
    private readonly sent: ClientRequest,
    private readonly response: IncomingMessage,
  ) {
    sent.on('error', () => {})
    response.on('error', () => {})
    response.setEncoding('utf8').on('data', (chunk: string) => this.#read(chunk))
  }

  #read(chunk: string): void {
    this.#greeted = true
    const blocks = (this.#rest + chunk).split('\n\n')
    this.#rest = blocks.pop()!
    for (const block of blocks) {
      if (/^event: anew$/m.test(block)) this.anew += 1
      const [, sent, id] = /^id: (.*_(\d+))$/m.exec(block) ?? []
      if (id === undefined) continue
      this.lastEventId = sent
      this.ids.push(Number(id))
      this.firstBody ??= [...block.matchAll(/^data: (.*)$/gm)].map((it) => it[1]!).join('\n')
    }
  }

  /** Leaves the socket unread. */
  pause(): void {
    this.response.pause()
  }

  resume(): void {
    this.response.resume()
  }

  /** Waits for an event with this id or a later one. */
  async until(id: number): Promise<void> {
    await waitFor(() => (this.ids.at(-1) ?? 0) >= id, {
      what: `event ${id}`,
      timeoutMs: 30_000,
    })
  }

  close(): void {
    this.sent.destroy()
  }
}
