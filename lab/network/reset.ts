// Breaks a connection with a reset, as a host does that knows nothing of it.
import type { Socket } from 'node:net'

/**
 * Resets a connection. One whose end is being sent is closed instead: Node.js refuses to reset it, and never closes it then, so that
 * the process would not end.
 */
export function reset(socket: Socket): void {
  if (socket.writableEnded && !socket.writableFinished) socket.destroy()
  else socket.resetAndDestroy()
}
