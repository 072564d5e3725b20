// A listener that is made, started and listening in one call.
import type { ListenerWarning } from '../deliver/events.js'
import type { ListenerCallback } from '../deliver/subscriptions.js'
import { ArgumentTypeError } from '../errors.js'
import { checkCallback } from '../listen/arguments.js'
import type { Listener } from '../listen/listener.js'
import type { StartupOptions } from '../listen/types.js'
import { expected } from '../options/validate.js'

/** @internal Checks the callbacks of {@link ConnectionPool.listen}. */
export function checkCallbacks(callbacks: object): void {
  if (typeof callbacks !== 'object' || callbacks === null || Array.isArray(callbacks)) {
    const what = 'an object with a callback for each channel, such as `{ orders: callback }`'
    throw new ArgumentTypeError(expected('callbacks', what, callbacks))
  }
  for (const [channel, callback] of Object.entries(callbacks))
    if (callback !== undefined) checkCallback(callback, `callbacks.${channel}`)
}

/** @internal Registers callbacks, which were checked, at a listener that nobody else has, starts it and lets it listen. */
export async function startListening(
  listener: Listener<Record<string, unknown>>,
  callbacks: object,
  { retry, timeoutMs }: StartupOptions,
): Promise<void> {
  for (const [channel, callback] of Object.entries(callbacks) as [string, ListenerCallback][]) {
    if (callback !== undefined)
      await listener.addCallback(channel, callback as ListenerCallback<unknown>)
  }
  // Nobody else can hear of failed attempts before the listener is handed out.
  const warn = ({ message, error }: ListenerWarning) => {
    if (!error) return
    listener.off('warning', warn)
    process.emitWarning(message, { type: 'PglistenWarning', code: 'PGLISTEN_STARTUP' })
  }
  if (retry) listener.on('warning', warn)
  try {
    await listener.startup({ retry, timeoutMs })
  } finally {
    listener.off('warning', warn)
  }
  listener.listen()
}
