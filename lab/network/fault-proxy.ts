// A network between a listener and its server that fails on demand, in each way in which networks fail.

import { once } from 'node:events'
import { type AddressInfo, type Server, type Socket, connect, createServer } from 'node:net'
import { CLEAR, type Conditions, type Direction, Passage } from './fault-passage.js'
import { reset } from './reset.js'

export type { Direction }

/** See the file. */
export class FaultProxy {
  /** How many connections were made. */
  connections = 0
  readonly #server: Server
  readonly #passages = new Set<Passage>()
  #conditions = CLEAR
  #target: number
  #swallowNew: Direction | undefined
  #isHole = false
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

  /** Of how many of them the client has sent what makes the server silent. */
  get silent(): number {
    return [...this.#passages].filter(({ isSilent }) => isSilent).length
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

  /**
   * Both ways bytes vanish, of the connections there are but one; new ones are as good as ever.
   *
   * @param port The port of the connection, on the server's side, that is left alone.
   */
  silenceOthersThan(port: number | undefined): void {
    for (const passage of this.#passages) {
      if (passage.server?.localPort !== port) passage.swallow('both')
    }
  }

  /** The server's bytes are not taken, so that it blocks in sending; of the connections there are. */
  stall(): void {
    for (const passage of this.#passages) passage.stall('toClient')
  }

  unstall(): void {
    for (const passage of this.#passages) passage.unstall('toClient')
  }

  /** A hole in the network, which is resent what it swallowed: nothing passes, of new connections either. */
  beginHole(): void {
    this.#isHole = true
    for (const passage of this.#passages) passage.stall('both')
  }

  endHole(): void {
    this.#isHole = false
    for (const passage of this.#passages) passage.unstall('both')
  }

  /** Resets each connection in the middle of the next message of the server. */
  cutNextMessage(): void {
    for (const passage of this.#passages) passage.cutNext()
  }

  /** Makes the next text of the server invalid. */
  corruptNextMessage(): void {
    for (const passage of this.#passages) passage.corruptNext()
  }

  /** New connections are as good as ever, and of those there are, no request makes another one silent. */
  clear(): void {
    for (const passage of this.#passages) passage.spare()
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
      reset(client)
      return
    }
    const server = conditions.hang
      ? undefined
      : connect({ port: this.#target, host: '127.0.0.1', allowHalfOpen: true })
    client.setNoDelay()
    server?.setNoDelay()
    server?.once('error', () => reset(client))
    const passage = new Passage(client, server, conditions)
    if (this.#swallowNew) passage.swallow(this.#swallowNew)
    if (this.#isHole) passage.stall('both')
    this.#passages.add(passage)
    const forget = () => {
      if (client.destroyed && (server?.destroyed ?? true)) this.#passages.delete(passage)
    }
    client.on('close', forget)
    server?.on('close', forget)
  }
}
