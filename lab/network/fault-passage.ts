// One connection through a network that fails on demand: what becomes of its bytes.

import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { deferred } from '../wait.js'
import { reset } from './reset.js'

type Way = 'toServer' | 'toClient'
export type Direction = Way | 'both'
const ways = (direction: Direction): Way[] =>
  direction === 'both' ? ['toServer', 'toClient'] : [direction]

/** What happens to a connection. */
export interface Conditions {
  /** Connections are reset as soon as they are made. */
  refuse: boolean
  /** Connections are taken, and nobody answers. */
  hang: boolean
  delayMs: number
  /** What the server sends arrives in bursts, so many milliseconds after the first of it. */
  burstMs: number
  /** Of what the server sends. */
  bytesPerSecond: number
  /** The connection is reset after so many bytes of the server. */
  maxBytes: number
  /** The connection is reset after so many messages of the server. */
  maxMessages: number
  /** After so many bytes of the server everything vanishes, both ways. */
  silentAfterBytes: number
  /** Once the client has sent this text, which still arrives, what the server sends vanishes. */
  silentAfterRequest: string | undefined
}

export const CLEAR: Conditions = {
  refuse: false,
  hang: false,
  delayMs: 0,
  burstMs: 0,
  bytesPerSecond: Infinity,
  maxBytes: Infinity,
  maxMessages: Infinity,
  silentAfterBytes: Infinity,
  silentAfterRequest: undefined,
}

const HEADER_BYTES = 5
const NO_TLS = 'N'.charCodeAt(0)
const SLICE_BYTES = 2048
/** Shorter than this nothing can sleep. */
const TICK_MS = 5

/** Where the messages of a server end, in bytes from the start of a connection. */
class Frames {
  #pending = Buffer.alloc(0)
  #offset = 0

  /** The ends of the messages that these bytes complete. */
  feed(chunk: Buffer): number[] {
    // Whoever asks for TLS first gets one byte for an answer, outside of any message.
    const isAnswer = this.#offset === 0 && this.#pending.length === 0 && chunk[0] === NO_TLS
    const messages = isAnswer ? chunk.subarray(1) : chunk
    if (isAnswer) this.#offset = 1
    this.#pending = Buffer.concat([this.#pending, messages])
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

/** What bytes wait for while it is closed. */
class Gate {
  passed = Promise.resolve()
  #pass: (() => void) | undefined

  close(): void {
    if (this.#pass) return
    const { promise, resolve } = deferred()
    this.passed = promise
    this.#pass = resolve
  }

  open(): void {
    this.#pass?.()
    this.#pass = undefined
  }
}

/** See the file. */
export class Passage {
  readonly client: Socket
  readonly server: Socket | undefined
  readonly conditions: Conditions
  /** Whether the client has sent {@link Conditions.silentAfterRequest}. */
  isSilent = false
  #mayFallSilent = true
  readonly #swallowed = new Set<Way>()
  readonly #gate = { toServer: new Gate(), toClient: new Gate() }
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
    if (!server) {
      // Reads, so that it learns when the client has had enough.
      client.resume().on('end', () => client.end())
      return
    }
    this.#forward(client, server, 'toServer', (chunk) => this.#ask(server, chunk))
    this.#forward(server, client, 'toClient', (chunk) => this.#answer(chunk))
  }

  /** No request makes the server silent any more; if one has, it stays so. */
  spare(): void {
    this.#mayFallSilent = false
  }

  swallow(direction: Direction): void {
    for (const way of ways(direction)) this.#swallowed.add(way)
  }

  /** Bytes are not taken until {@link Passage.unstall}: who sends is blocked, and nothing is lost. */
  stall(direction: Direction): void {
    for (const gate of this.#gates(direction)) gate.close()
  }

  unstall(direction: Direction): void {
    for (const gate of this.#gates(direction)) gate.open()
  }

  cutNext(): void {
    this.#cutNext = true
  }

  corruptNext(): void {
    this.#corruptNext = true
  }

  reset(): void {
    reset(this.client)
    this.server?.destroy()
  }

  destroy(): void {
    this.client.destroy()
    this.server?.destroy()
  }

  #gates(direction: Direction): Gate[] {
    return ways(direction).map((way) => this.#gate[way])
  }

  #forward(from: Socket, to: Socket, direction: Way, pass: (chunk: Buffer) => Promise<void>): void {
    const { delayMs, burstMs } = this.conditions
    let last = Promise.resolve()
    const inOrder = (what: () => Promise<void> | void) => {
      const due = performance.now() + delayMs
      last = last.then(async () => {
        if (delayMs > 0) await sleep(Math.max(due - performance.now(), 0))
        await this.#gate[direction].passed
        // A network that swallows everything swallows the end of a connection too.
        if (!this.#swallowed.has(direction)) await what()
      })
    }
    from.on('error', () => {})
    let burst: Buffer[] = []
    from.on('data', (chunk: Buffer) => {
      if (burstMs > 0 && direction === 'toClient') {
        burst.push(chunk)
        if (burst.length > 1) return
        setTimeout(() => {
          const whole = Buffer.concat(burst)
          burst = []
          inOrder(() => pass(whole))
        }, burstMs)
        return
      }
      from.pause()
      inOrder(() => pass(chunk))
      if (delayMs > 0) from.resume()
      else void last.then(() => from.resume())
    })
    from.on('end', () => inOrder(() => void to.end()))
    from.on('close', (hadError) => inOrder(() => void (hadError ? to.destroy() : to.end())))
  }

  async #ask(server: Socket, chunk: Buffer): Promise<void> {
    const { silentAfterRequest } = this.conditions
    const isAsked = silentAfterRequest !== undefined && chunk.includes(silentAfterRequest)
    if (isAsked && this.#mayFallSilent) {
      this.isSilent = true
      this.swallow('toClient')
    }
    await this.#write(server, chunk)
  }

  async #answer(chunk: Buffer): Promise<void> {
    const { maxBytes, maxMessages, bytesPerSecond, silentAfterBytes } = this.conditions
    if (this.#toClient + chunk.length >= silentAfterBytes) {
      this.swallow('both')
      return this.#write(this.client, chunk.subarray(0, silentAfterBytes - this.#toClient))
    }
    // What is encrypted has no messages to be seen.
    const ends = maxMessages === Infinity ? [] : this.#frames.feed(chunk)
    const room = maxMessages - this.#messages
    const limit = Math.min(
      room <= ends.length ? ends[room - 1]! - this.#toClient : Infinity,
      maxBytes - this.#toClient,
    )
    this.#messages += ends.length
    this.#toClient += chunk.length
    if (this.#corruptNext) {
      this.#corruptNext = false
      // No ASCII any more, and in every case another byte.
      chunk[chunk.length - 2]! ^= 0x80
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
