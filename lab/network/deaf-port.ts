// A port that passes connections on, and at which the system drops every packet of a new one on demand, as a network hole does.
//
// The system drops them because the queue of connections that nobody has taken is full: the port belongs to a worker thread that
// stands still.

import { once } from 'node:events'
import { type Socket, connect } from 'node:net'
import { Worker } from 'node:worker_threads'

/** Two connections fill a queue for one; the others must not get in. */
const FILLING = 4
const IN_THE_QUEUE = 2

const HEARING = 0
const FULL = 1
const PASSES = 2

const WORKER = `
const { parentPort, workerData } = require('node:worker_threads')
const net = require('node:net')
const { target, state, FULL, PASSES } = workerData
const sockets = new Set()
const server = net.createServer((client) => {
  const upstream = net.connect(target, '127.0.0.1')
  for (const [from, to] of [[client, upstream], [upstream, client]]) {
    sockets.add(from)
    from.on('error', () => {})
    from.on('close', () => { sockets.delete(from); to.destroy() })
    from.pipe(to)
  }
})
server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => parentPort.postMessage(server.address().port))
parentPort.on('message', () => {
  while (Atomics.load(state, 0) !== FULL) Atomics.wait(state, 0, Atomics.load(state, 0))
  for (const socket of sockets) {
    // Node.js cannot reset a connection whose end is being sent, and would never end.
    if (socket.writableEnded && !socket.writableFinished) socket.destroy()
    else socket.resetAndDestroy()
  }
  parentPort.postMessage('deaf')
  while (Atomics.load(state, 0) !== PASSES) Atomics.wait(state, 0, FULL)
})
`

/** See the file. */
export class DeafPort {
  readonly port: number
  readonly #worker: Worker
  readonly #state: Int32Array
  #filling: Socket[] = []

  private constructor(port: number, worker: Worker, state: Int32Array) {
    this.port = port
    this.#worker = worker
    this.#state = state
  }

  /** A port in front of another one of this machine. */
  static async start(target: number): Promise<DeafPort> {
    const state = new Int32Array(new SharedArrayBuffer(4))
    const workerData = { target, state, FULL, PASSES }
    const worker = new Worker(WORKER, { eval: true, workerData })
    const [port] = (await once(worker, 'message')) as [number]
    return new DeafPort(port, worker, state)
  }

  /** Resets every connection, and drops the packets of new ones until {@link DeafPort.hear}. */
  async deafen(): Promise<void> {
    this.#set(HEARING)
    const deaf = once(this.#worker, 'message')
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker thread has no origin
    this.#worker.postMessage('stand still')
    this.#filling = Array.from({ length: FILLING }, () => connect(this.port, '127.0.0.1'))
    for (const socket of this.#filling) socket.on('error', () => {})
    await Promise.all(this.#filling.slice(0, IN_THE_QUEUE).map((socket) => once(socket, 'connect')))
    this.#set(FULL)
    await deaf
  }

  /** Takes connections again. */
  hear(): void {
    for (const socket of this.#filling) socket.destroy()
    this.#set(PASSES)
  }

  async stop(): Promise<void> {
    this.hear()
    await this.#worker.terminate()
  }

  #set(state: number): void {
    Atomics.store(this.#state, 0, state)
    Atomics.notify(this.#state, 0)
  }
}
