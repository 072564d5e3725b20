// A console for tests, and a page's side of it without a browser: any header can be sent, and the stream can be left unread.

import { once } from 'node:events'
import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import type { ExecutionContext } from 'ava'
import { serverDsn } from '../../lab/server/test-server.js'
import { waitFor } from '../../lab/wait.js'
import type { ConsoleOptions } from '../../packages/console/src/options.js'
import { ConsoleService } from '../../packages/console/src/service.js'
import { ConsoleWeb } from '../../packages/console/src/web.js'
import type { Sample, Second, Snapshot } from '../../packages/console/src/wire.js'

export interface Answer {
  status: number
  headers: IncomingMessage['headers']
  text: string
}

/** A console in this process. The end of the test closes it. */
export async function openConsole(
  t: ExecutionContext,
  options: Partial<ConsoleOptions> = {},
): Promise<TestConsole> {
  const complete: ConsoleOptions = {
    channels: [],
    dsn: await serverDsn(),
    host: '127.0.0.1',
    port: 0,
    origins: [],
    allowSend: false,
    rate: 50,
    token: undefined,
    ...options,
  }
  const lines: string[] = []
  const service = new ConsoleService(complete, (line) => lines.push(line))
  const web = new ConsoleWeb(service)
  const url = new URL(await web.listen(complete))
  const running = service.run()
  t.teardown(async () => {
    web.close()
    await service.close()
    await running
  })
  const opened = new TestConsole(url, lines)
  await opened.logIn()
  if (!('dsn' in options)) await opened.connected()
  return opened
}

export class TestConsole {
  base = ''
  cookie = ''

  constructor(
    readonly url: URL,
    /** What the command would have printed. */
    readonly lines: string[],
  ) {}

  get token(): string {
    return this.url.hash.slice(1)
  }

  /** Waits until the console listens. */
  async connected(): Promise<void> {
    await waitFor(() => this.lines.includes('listening'), { what: 'the console to listen' })
  }

  /** Sends a request with these headers beside those of a page of the console; `undefined` leaves one out. */
  async send(
    method: string,
    path: string,
    { body, headers = {} }: { body?: unknown; headers?: Record<string, string | undefined> } = {},
  ): Promise<Answer> {
    const sent = this.#request(method, path, headers)
    sent.end(typeof body === 'string' || body === undefined ? body : JSON.stringify(body))
    const [response] = (await once(sent, 'response')) as [IncomingMessage]
    let text = ''
    // A stream of events has no end: that it began is the answer.
    if (response.headers['content-type'] === 'text/event-stream') response.destroy()
    else for await (const chunk of response.setEncoding('utf8')) text += chunk
    return { status: response.statusCode!, headers: response.headers, text }
  }

  async logIn(): Promise<Answer> {
    const answer = await this.send('POST', '/login', { body: { token: this.token } })
    this.cookie = String(answer.headers['set-cookie']).split(';')[0]!
    this.base = (JSON.parse(answer.text) as { base: string }).base
    return answer
  }

  /** Something that only a page that is logged in may do. */
  async act(action: string, body: unknown): Promise<Answer> {
    return this.send('POST', `${this.base}${action}`, { body })
  }

  /** Opens the stream of events. */
  async page(t: ExecutionContext): Promise<TestPage> {
    const sent = this.#request('GET', `${this.base}/events`, {}).end()
    t.teardown(() => sent.destroy())
    const [response] = (await once(sent, 'response')) as [IncomingMessage]
    if (response.statusCode !== 200) throw new Error(`The stream answered ${response.statusCode}`)
    const page = new TestPage(sent, response)
    await waitFor(() => page.events.length > 0, { what: 'the snapshot' })
    return page
  }

  /** What a page that is opened now is told first. */
  async state(t: ExecutionContext): Promise<Snapshot> {
    const page = await this.page(t)
    const snapshot = page.snapshots[0]!
    page.close()
    page.events.length = 0
    page.raw = ''
    return snapshot
  }

  #request(method: string, path: string, headers: Record<string, string | undefined>) {
    const all = {
      cookie: this.cookie,
      origin: method === 'GET' ? undefined : this.url.origin,
      'content-type': 'application/json',
      ...headers,
    }
    const given = Object.entries(all).filter((pair): pair is [string, string] => Boolean(pair[1]))
    return request(new URL(path, this.url), { method, headers: Object.fromEntries(given) })
  }
}

export interface PageEvent {
  event: string
  data: unknown
}

export class TestPage {
  readonly events: PageEvent[] = []
  /** Everything as it came. */
  raw = ''
  isClosed = false
  #rest = ''

  constructor(
    private readonly sent: ClientRequest,
    private readonly response: IncomingMessage,
  ) {
    sent.on('error', () => {})
    response.on('error', () => {})
    response.on('close', () => (this.isClosed = true))
    response.setEncoding('utf8').on('data', (chunk: string) => this.#read(chunk))
  }

  #read(chunk: string): void {
    this.raw += chunk
    const blocks = (this.#rest + chunk).split('\n\n')
    this.#rest = blocks.pop()!
    for (const block of blocks) {
      const [, event, data] = /^event: (\w+)\ndata: ([^\n]*)$/.exec(block) ?? []
      if (event !== undefined) this.events.push({ event, data: JSON.parse(data!) as unknown })
    }
  }

  /** The data of the events of a kind. */
  all<Data>(event: string): Data[] {
    return this.events.filter((it) => it.event === event).map((it) => it.data as Data)
  }

  get snapshots(): Snapshot[] {
    return this.all<Snapshot>('snapshot')
  }

  get samples(): Sample[] {
    return this.all<Sample>('messages')
  }

  get seconds(): Second[] {
    return this.all<Second>('second')
  }

  /** The messages of the samples, in their order. */
  get messages() {
    return this.samples.flatMap(({ messages }) => messages)
  }

  /** The newest total of a channel. */
  total(channel: string): number {
    return new Map(this.samples.at(-1)?.totals).get(channel) ?? 0
  }

  pause(): void {
    this.response.pause()
  }

  resume(): void {
    this.response.resume()
  }

  close(): void {
    this.sent.destroy()
  }
}
