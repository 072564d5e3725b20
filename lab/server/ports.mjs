// TCP ports of this machine.

import { once } from 'node:events'
import { connect, createServer } from 'node:net'

/**
 * A port on which nobody listens.
 * @returns {Promise<number>}
 */
export async function freePort() {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const address = probe.address()
  probe.close()
  await once(probe, 'close')
  if (address === null || typeof address === 'string') throw new Error('No free TCP port.')
  return address.port
}

/**
 * @param {number} port
 * @returns {Promise<boolean>}
 */
export async function isListening(port) {
  const socket = connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}
