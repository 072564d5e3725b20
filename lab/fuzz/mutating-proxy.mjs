// A way to the server that changes one of the server's messages in each connection.

import { HEADER_BYTES as HEADER, MessageProxy } from '../network/message-proxy.mjs'

/** Most connections have about this many messages. */
const MOST_MESSAGES = 60

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

/**
 * A way to the server that changes one message of each connection.
 * @param {string} dsn
 * @param {Chance} chance
 * @param {(way: string) => void} changed Called when a message was changed.
 */
export function mutatingProxy(dsn, chance, changed) {
  const ways = Object.keys(CHANGES)
  return new MessageProxy(dsn, () => {
    const way = ways[Math.floor(chance() * ways.length)] ?? ''
    let left = Math.floor(chance() * MOST_MESSAGES)
    return (message) => {
      left -= 1
      if (left !== -1) return message
      changed(way)
      return CHANGES[way]?.(message, chance) ?? message
    }
  })
}
