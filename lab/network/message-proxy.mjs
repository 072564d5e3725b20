// A way to the server that understands the server's messages and can change each of them.

import { once } from 'node:events'
import { connect, createServer } from 'node:net'

/** The kind and the length of a message. */
export const HEADER_BYTES = 5
/** The answer of a server without TLS to who asks for it: one byte, outside of any message. */
const NO_TLS = 'N'.charCodeAt(0)

/**
 * @callback Change Gives what is passed on in the place of a message, its header included.
 * @param {Buffer} message
 * @returns {Buffer}
 */

export class MessageProxy {
  #server
  #target
  /** @type {Set<import('node:net').Socket>} */
  #sockets = new Set()
  #changeFor

  /**
   * @param {string} dsn Of the server.
   * @param {() => Change} changeFor Called for each connection.
   */
  constructor(dsn, changeFor) {
    this.#target = new URL(dsn)
    this.#changeFor = changeFor
    this.#server = createServer((client) => this.#take(client))
  }

  /** Gives the DSN of the server by way of this proxy. */
  async start() {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    const dsn = new URL(this.#target)
    dsn.hostname = '127.0.0.1'
    const address = this.#server.address()
    dsn.port = String(typeof address === 'object' ? address?.port : '')
    return dsn.href
  }

  stop() {
    for (const socket of this.#sockets) socket.destroy()
    this.#server.close()
  }

  /** @param {import('node:net').Socket} client */
  #take(client) {
    const change = this.#changeFor()
    const upstream = connect(Number(this.#target.port), this.#target.hostname)
    let pending = Buffer.alloc(0)
    let isFirst = true
    upstream.on('data', (chunk) => {
      if (isFirst && chunk.length === 1 && chunk[0] === NO_TLS) {
        client.write(chunk)
        return
      }
      isFirst = false
      pending = Buffer.concat([pending, chunk])
      const passed = []
      while (pending.length >= HEADER_BYTES) {
        const end = 1 + pending.readUInt32BE(1)
        if (pending.length < end) break
        passed.push(change(pending.subarray(0, end)))
        pending = pending.subarray(end)
      }
      client.write(Buffer.concat(passed))
    })
    client.on('data', (chunk) => upstream.write(chunk))
    for (const [from, to] of /** @type {const} */ ([
      [client, upstream],
      [upstream, client],
    ])) {
      this.#sockets.add(from)
      from.on('error', () => {})
      from.on('close', () => {
        this.#sockets.delete(from)
        to.destroy()
      })
    }
  }
}
