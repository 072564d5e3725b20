// A network between a listener and its server that fails on demand, in each way in which networks fail.

import { once } from 'node:events'
import { type AddressInfo, type Server, type Socket, connect, createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

export type Direction = 'toServer' | 'toClient' | 'both'

/** What happens to a connection made from now on. */
interface Conditions {
  /** Connections are reset as soon as they are made. */
  refuse: boolean
  /** Connections are taken, and nobody answers. */
  hang: boolean
  delayMs: number
  /** Of what the server sends. */
  bytesPerSecond: number
  /** The connection is reset after so many bytes of the server. */
  maxBytes: number
  /** The connection is reset after so many messages of the server. */
  maxMessages: number
}

const CLEAR: Conditions = {
  refuse: false,
  hang: false,
  delayMs: 0,
  bytesPerSecond: Infinity,
  maxBytes: Infinity,
  maxMessages: Infinity,
}

const HEADER_BYTES = 5
const SLICE_BYTES = 2048
/** Shorter than this nothing can sleep. */
const TICK_MS = 5

/** Where the messages of a server end, in bytes from the start of a connection. */
class Frames {
  #pending = Buffer.alloc(0)
  #offset = 0

  /** The ends of the messages that these bytes complete. */
  feed(chunk: Buffer): number[] {
    this.#pending = Buffer.concat([this.#pending, chunk])
    const ends: number[] = []
    let at = 0
    while (this.#pending.length - at >= HEADER_BYTES) {
      const length = 1 + this.#pending.readInt32BE(at + 1)
      if (this.#pending.length - at < length) break
      at += length
      ends.push(this.#offset + at)
    }
    this.#pending = this.#pending.subarray(at)
    this.#offset += at
    return ends
  }
}

/** One connection through the proxy. */
class Passage {
  readonly client: Socket
  readonly server: Socket | undefined
  readonly conditions: Conditions
  readonly #swallowed = new Set<Direction>()
  #stall: Promise<void> | undefined
  #endStall = () => {}
  #cutNext = false
  #corruptNext = false
  #toClient = 0
  #busyUntil = 0
  #messages = 0
  readonly #frames = new Frames()

  constructor(client: Socket, server: Socket | undefined, conditions: Conditions) {
    this.client = client
    this.server = server
    this.conditions = conditions
    if (!server) return
    this.#forward(client, server, 'toServer', async (chunk) => this.#write(server, chunk))
    this.#forward(server, client, 'toClient', (chunk) => this.#answer(chunk))
  }

  swallow(direction: Direction): void {
    for (const one of direction === 'both' ? (['toServer', 'toClient'] as const) : [direction])
      this.#swallowed.add(one)
  }

  /** The server's bytes are not taken until {@link Passage.unstall}: its sending blocks. */
  stall(): void {
    this.#stall ??= new Promise((resolve) => (this.#endStall = resolve))
  }

  unstall(): void {
    this.#endStall()
    this.#stall = undefined
  }

  cutNext(): void {
    this.#cutNext = true
  }

  corruptNext(): void {
    this.#corruptNext = true
  }

  reset(): void {
    this.client.resetAndDestroy()
    this.server?.destroy()
  }

  destroy(): void {
    this.client.destroy()
    this.server?.destroy()
  }

  #forward(
    from: Socket,
    to: Socket,
    direction: Direction,
    pass: (chunk: Buffer) => Promise<void>,
  ): void {
    const { delayMs } = this.conditions
    let last = Promise.resolve()
    const inOrder = (what: () => Promise<void> | void) => {
      const due = performance.now() + delayMs
      last = last.then(async () => {
        if (delayMs > 0) await sleep(Math.max(due - performance.now(), 0))
        if (direction === 'toClient') await this.#stall
        // A network that swallows everything swallows the end of a connection too.
        if (!this.#swallowed.has(direction)) await what()
      })
    }
    from.on('error', () => {})
    from.on('data', (chunk: Buffer) => {
      from.pause()
      inOrder(() => pass(chunk))
      if (delayMs > 0) from.resume()
      else void last.then(() => from.resume())
    })
    from.on('end', () => inOrder(() => void to.end()))
    from.on('close', (hadError) => inOrder(() => void (hadError ? to.destroy() : to.end())))
  }

  async #answer(chunk: Buffer): Promise<void> {
    const { maxBytes, maxMessages, bytesPerSecond } = this.conditions
    const ends = this.#frames.feed(chunk)
    const room = maxMessages - this.#messages
    const limit = Math.min(
      room <= ends.length ? ends[room - 1]! - this.#toClient : Infinity,
      maxBytes - this.#toClient,
    )
    this.#messages += ends.length
    this.#toClient += chunk.length
    if (this.#corruptNext) {
      this.#corruptNext = false
      chunk[chunk.length - 2] = 0xff
    }
    if (this.#cutNext) {
      await this.#write(this.client, chunk.subarray(0, Math.ceil(chunk.length / 2)))
      return this.reset()
    }
    if (limit <= chunk.length) {
      await this.#write(this.client, chunk.subarray(0, limit))
      return this.reset()
    }
    if (bytesPerSecond === Infinity) return this.#write(this.client, chunk)
    for (let at = 0; at < chunk.length; at += SLICE_BYTES) {
      const slice = chunk.subarray(at, at + SLICE_BYTES)
      await this.#write(this.client, slice)
      const now = performance.now()
      this.#busyUntil = Math.max(this.#busyUntil, now) + (slice.length / bytesPerSecond) * 1000
      if (this.#busyUntil > now + TICK_MS) await sleep(this.#busyUntil - now)
    }
  }

  async #write(to: Socket, chunk: Buffer): Promise<void> {
    if (to.destroyed) return
    await new Promise<void>((resolve) => {
      to.once('close', resolve)
      to.write(chunk, () => {
        to.off('close', resolve)
        resolve()
      })
    })
  }
}

export class FaultProxy {
  /** How many connections were made. */
  connections = 0
  readonly #server: Server
  readonly #passages = new Set<Passage>()
  #conditions = CLEAR
  #target: number
  #swallowNew: Direction | undefined
  #nextConditions: (() => Partial<Conditions>) | undefined

  private constructor(target: number) {
    this.#target = target
    this.#server = createServer({ allowHalfOpen: true }, (client) => this.#take(client))
  }

  /** A proxy in front of a port of this machine. */
  static async start(target: number): Promise<FaultProxy> {
    const proxy = new FaultProxy(target)
    proxy.#server.listen(0, '127.0.0.1')
    await once(proxy.#server, 'listening')
    return proxy
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** A DSN, but by way of this proxy. */
  dsn(direct: string): string {
    const url = new URL(direct)
    url.hostname = '127.0.0.1'
    url.port = `${this.port}`
    return url.href
  }

  /** How many connections there are. */
  get open(): number {
    return this.#passages.size
  }

  /** Where new connections go. */
  get target(): number {
    return this.#target
  }

  /** New connections go to another port. */
  retarget(port: number): void {
    this.#target = port
  }

  /** Resets every connection. */
  reset(): void {
    for (const passage of this.#passages) passage.reset()
  }

  /** Conditions for connections from now on. */
  set(conditions: Partial<Conditions>): void {
    this.#conditions = { ...CLEAR, ...conditions }
  }

  /** Conditions for each connection from now on, by its number, from 1. */
  setEach(conditions: (connection: number) => Partial<Conditions>): void {
    let number = 0
    this.#nextConditions = () => conditions((number += 1))
  }

  /** Bytes vanish: of the connections there are, for ever, and of new ones until {@link FaultProxy.clear}. */
  swallow(direction: Direction): void {
    this.#swallowNew = direction
    for (const passage of this.#passages) passage.swallow(direction)
  }

  /** The server's bytes are not taken, so that it blocks in sending; of the connections there are. */
  stall(): void {
    for (const passage of this.#passages) passage.stall()
  }

  unstall(): void {
    for (const passage of this.#passages) passage.unstall()
  }

  /** Resets each connection in the middle of the next message of the server. */
  cutNextMessage(): void {
    for (const passage of this.#passages) passage.cutNext()
  }

  /** Makes the next text of the server invalid. */
  corruptNextMessage(): void {
    for (const passage of this.#passages) passage.corruptNext()
  }

  /** New connections are as good as ever. */
  clear(): void {
    this.#conditions = CLEAR
    this.#nextConditions = undefined
    this.#swallowNew = undefined
  }

  stop(): void {
    for (const passage of this.#passages) passage.destroy()
    this.#server.close()
  }

  #take(client: Socket): void {
    this.connections += 1
    client.on('error', () => {})
    const conditions = this.#nextConditions
      ? { ...CLEAR, ...this.#nextConditions() }
      : this.#conditions
    if (conditions.refuse) {
      client.resetAndDestroy()
      return
    }
    const server = conditions.hang
      ? undefined
      : connect({ port: this.#target, host: '127.0.0.1', allowHalfOpen: true })
    client.setNoDelay()
    server?.setNoDelay()
    server?.once('error', () => client.resetAndDestroy())
    const passage = new Passage(client, server, conditions)
    if (this.#swallowNew) passage.swallow(this.#swallowNew)
    this.#passages.add(passage)
    const forget = () => {
      if (client.destroyed && (server?.destroyed ?? true)) this.#passages.delete(passage)
    }
    client.on('close', forget)
    server?.on('close', forget)
  }
}
