// A way to the server that changes one of the server's messages in each connection.

import { once } from 'node:events'
import { connect, createServer } from 'node:net'

/** The kind and the length of a message. */
const HEADER = 5

/**
 * @callback Chance Gives a number from 0 to 1.
 * @returns {number}
 */

/** The ways to change a message. @type {Record<string, (message: Buffer, chance: Chance) => Buffer>} */
export const CHANGES = {
  'a byte': (message, chance) => {
    const changed = Buffer.from(message)
    const at = Math.floor(chance() * message.length)
    changed[at] = Math.floor(chance() * 256)
    return changed
  },
  'a byte of the body': (message, chance) => {
    if (message.length === HEADER) return message
    const changed = Buffer.from(message)
    const at = HEADER + Math.floor(chance() * (message.length - HEADER))
    changed[at] = Math.floor(chance() * 256)
    return changed
  },
  'a number of the body': (message, chance) => {
    if (message.length < HEADER + 4) return message
    const changed = Buffer.from(message)
    const at = HEADER + Math.floor(chance() * (message.length - HEADER - 3))
    const numbers = [0, 1, -1, 0x7fffffff, -0x80000000, 0x10000]
    changed.writeInt32BE(numbers[Math.floor(chance() * numbers.length)] ?? 0, at)
    return changed
  },
  'the length': (message, chance) => {
    const changed = Buffer.from(message)
    const lengths = [0, 3, 4, message.length, message.length - 2, 0x7fffffff, 0xffffffff, 70_000]
    changed.writeUInt32BE(lengths[Math.floor(chance() * lengths.length)] ?? 0, 1)
    return changed
  },
  'the end cut off': (message, chance) => {
    const kept = HEADER + Math.floor(chance() * (message.length - HEADER))
    const changed = Buffer.from(message.subarray(0, kept))
    changed.writeUInt32BE(kept - 1, 1)
    return changed
  },
  twice: (message) => Buffer.concat([message, message]),
  left: () => Buffer.alloc(0),
}

/** A way to the server at `target`. */
export class MutatingProxy {
  /** Gives the chance of the next connections. @type {Chance} */
  chance = Math.random
  /** How many messages were changed in each way. @type {Map<string, number>} */
  changed = new Map()
  #server = createServer((client) => this.#take(client))
  #target

  /** @param {URL} target */
  constructor(target) {
    this.#target = target
  }

  async start() {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    const dsn = new URL(this.#target)
    dsn.hostname = '127.0.0.1'
    const address = this.#server.address()
    dsn.port = String(typeof address === 'object' ? address?.port : '')
    dsn.searchParams.set('sslmode', 'disable')
    return dsn.href
  }

  stop() {
    this.#server.close()
  }

  /** @param {import('node:net').Socket} client */
  #take(client) {
    const { chance } = this
    const ways = Object.keys(CHANGES)
    const way = ways[Math.floor(chance() * ways.length)] ?? ''
    // Most sessions have about this many messages.
    let left = Math.floor(chance() * 60)
    const upstream = connect(Number(this.#target.port), this.#target.hostname)
    let read = Buffer.alloc(0)
    upstream.on('data', (chunk) => {
      read = Buffer.concat([read, chunk])
      const out = []
      while (read.length >= HEADER) {
        const total = 1 + read.readUInt32BE(1)
        if (read.length < total) break
        const message = read.subarray(0, total)
        read = read.subarray(total)
        left -= 1
        if (left === -1) this.changed.set(way, (this.changed.get(way) ?? 0) + 1)
        out.push(left === -1 ? (CHANGES[way]?.(message, chance) ?? message) : message)
      }
      client.write(Buffer.concat(out))
    })
    client.on('data', (chunk) => upstream.write(chunk))
    client.on('error', () => {})
    upstream.on('error', () => {})
    client.on('close', () => upstream.destroy())
    upstream.on('close', () => client.destroy())
  }
}
