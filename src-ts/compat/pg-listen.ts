/**
 * The API of pg-listen 1.7 over a listener, so that a program moves here by changing its import.
 *
 * @packageDocumentation
 * @module pglisten/compat/pg-listen
 */
import { EventEmitter } from 'node:events'
import { ListenerCallbackError, ListenerClosedError, ListenerGapError } from '../errors.js'
import { clearTimeout, setTimeout } from '../native/timers.js'
import { ConnectionPool } from '../pool.js'
import {
  listenerOptions,
  poolOptions,
  type ConnectionConfig,
  type Options,
  type Subscriber,
  type SubscriberEvents,
} from './pg-listen-options.js'

export type {
  ConnectionConfig,
  Options,
  PgParsedNotification,
  Subscriber,
  SubscriberEvents,
} from './pg-listen-options.js'

/**
 * Makes a subscriber with the API of [pg-listen](https://github.com/andywer/pg-listen) 1.7. It opens no connection before
 * `connect()`.
 *
 * @typeParam Events - The type of each channel's payload.
 * @param connectionConfig - The configuration of a client of pg, or options of `ConnectionPool`.
 * @param options - The options of pg-listen.
 * @throws `ConnectionPoolConfigurationError` when the configuration is wrong, `ArgumentTypeError` or `ArgumentRangeError`
 * when an option is.
 */
// oxlint-disable-next-line typescript/no-explicit-any -- as pg-listen has it: who does not say gets anything.
function createPostgresSubscriber<Events extends object = Record<string, any>>(
  connectionConfig: ConnectionConfig = {},
  options: Options = {},
): Subscriber<Events> {
  const { parse = JSON.parse, serialize = JSON.stringify } = options
  const { heartbeat, reconnect, retryTimeoutMs } = listenerOptions(options)
  // One connection, so that notifications are sent in the order of the calls.
  const pool = new ConnectionPool({ ...poolOptions(connectionConfig), maxDbPoolSize: 1 })
  const listener = pool.listener<Record<string, unknown>>({
    heartbeat,
    reconnect,
    parse: (text) => (text === '' ? undefined : parse(text)),
  })
  const events = new EventEmitter<SubscriberEvents>().setMaxListeners(0)
  const notifications = new EventEmitter().setMaxListeners(0)
  const channels = new Set<string>()
  /** Settles when every LISTEN and UNLISTEN that was called before is done: a later NOTIFY counts on them. */
  let subscribed: Promise<unknown> = Promise.resolve()
  let isClosed = false
  /** Whether it ends what it has given up: the listener is not closed before that is over. */
  let isGivingUp = false
  let attempts = 0
  let deadline: NodeJS.Timeout | undefined

  const deliver = (_: unknown, payload: unknown, channel: string, processId: number) => {
    const failures: unknown[] = []
    const attempt = (call: () => void) => {
      try {
        call()
      } catch (error) {
        failures.push(error)
      }
    }
    // One by one, since the others are called too when one throws.
    for (const handler of notifications.rawListeners(channel))
      attempt(() => handler.call(notifications, payload))
    attempt(() => events.emit('notification', { processId, channel, payload }))
    if (failures.length > 0) throw failures[0]
  }
  const tryAgain = () => {
    if (attempts < reconnect.maxAttempts) events.emit('reconnect', (attempts += 1))
  }
  const giveUp = () => {
    const message = `the server did not come back within ${retryTimeoutMs} ms (\`retryTimeout\`)`
    isGivingUp = true
    void listener.shutdown().then(() => {
      isGivingUp = false
      // Whoever has closed it meanwhile needs to hear of nothing.
      if (!isClosed) events.emit('error', new ListenerClosedError(message))
    })
  }
  const done = <Result>(work: Promise<Result>): Promise<void> => {
    // Without the outcomes, each of which would have all earlier ones in it.
    subscribed = Promise.allSettled([subscribed, work]).then(() => {})
    return work.then(() => {})
  }

  listener.on('connected', () => {
    clearTimeout(deadline)
    attempts = 0
    events.emit('connected')
  })
  listener.on('disconnected', () => {
    clearTimeout(deadline)
    if (retryTimeoutMs !== undefined) deadline = setTimeout(giveUp, retryTimeoutMs)
    tryAgain()
  })
  listener.on('warning', ({ error }) => error && tryAgain())
  listener.on('error', (error) => {
    // Any other is an attempt that was refused.
    if (error instanceof ListenerCallbackError) events.emit('error', error)
    else tryAgain()
  })
  listener.on('gap', (gap) => {
    if (gap.reason !== 'disconnect') events.emit('error', new ListenerGapError(gap.message, gap))
  })
  listener.on('closed', (error) => {
    clearTimeout(deadline)
    if (error) events.emit('error', error)
  })

  return {
    events,
    notifications: notifications as Subscriber<Events>['notifications'],
    async connect() {
      isGivingUp = false
      await listener.startup()
      listener.listen()
    },
    close() {
      isClosed = true
      return pool.close()
    },
    getSubscribedChannels: () => [...channels],
    listenTo(channel) {
      if (isClosed) return Promise.reject(new ListenerClosedError('the subscriber is closed'))
      // The listener would only note the channel for its next start.
      if (isGivingUp || listener.state === 'closed') {
        const message = 'the subscriber has given up, and listens again after `connect()`'
        return Promise.reject(new ListenerClosedError(message))
      }
      if (channels.has(channel)) return undefined
      channels.add(channel)
      const listening = listener.addCallback(channel, deliver)
      listening.catch(() => channels.delete(channel))
      return done(listening)
    },
    async notify(channel, ...[payload]) {
      const text = payload === undefined ? undefined : serialize(payload)
      await subscribed
      await pool.notify(channel, text)
    },
    unlisten: (channel) =>
      channels.delete(channel) ? done(listener.clearChannelCallbacks(channel)) : undefined,
    unlistenAll() {
      channels.clear()
      return done(listener.clearAllChannels())
    },
  }
}

// For `import` as compilers to CommonJS write it.
Object.defineProperty(createPostgresSubscriber, 'default', { value: createPostgresSubscriber })

export default createPostgresSubscriber
