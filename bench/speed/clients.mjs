// Each contestant in the fast use that its documentation shows: subscribed to some channels, with every payload handed to
// every handler, or connected for statements.

import { Client } from 'pg'
import createSubscriber from 'pg-listen'
import postgres from 'postgres'
import { BASELINE, NODE_SOCKET } from './plan.mjs'

/**
 * @typedef {(payload: string) => unknown} Handler
 * @typedef {(dsn: string, channels: readonly string[], handlers: readonly Handler[]) => Promise<unknown>} Subscribe
 * @typedef {(dsn: string) => Promise<(value: number) => Promise<unknown>>} Connect Gives a function that runs a statement.
 * @typedef {typeof import('pglisten')} Package
 */

/** A consumer that is slower than the socket must not lose what it is measured by. A listener that pauses has a session of its own. */
const LOSSLESS = { buffer: { overflow: /** @type {const} */ ('pause') } }
/** The same on a session that could be shared, which nobody may pause. */
const LARGE = { buffer: { maxMessages: 2 ** 31, maxBytes: 2 ** 34 } }

/**
 * The contestants of this package.
 * @param {Package} pglisten The build under test, which is not always that of the working tree.
 * @returns {Record<string, Subscribe>}
 */
const oursWith = ({ ConnectionPool }) => {
  /** @param {string} dsn @param {readonly string[]} channels */
  const startedListener = async (dsn, channels) => {
    const listener = new ConnectionPool(dsn).listener({ channels, ...LOSSLESS })
    await listener.startup()
    return listener
  }

  /** @param {import('pglisten').ListenerOptions} options @returns {Subscribe} */
  const callbacksWith = (options) => async (dsn, channels, handlers) => {
    const listener = new ConnectionPool(dsn).listener(options)
    for (const handler of handlers) {
      const callback = (/** @type {unknown} */ _, /** @type {string} */ payload) => handler(payload)
      for (const channel of channels) await listener.addCallback(channel, callback)
    }
    await listener.startup()
    listener.listen()
  }

  return {
    'pglisten callback': callbacksWith(LOSSLESS),

    [BASELINE]: callbacksWith(LOSSLESS),

    'pglisten shared': callbacksWith(LARGE),

    'pglisten coalesce': callbacksWith({ ...LARGE, coalesce: 'payload' }),

    'pglisten iterator': async (dsn, channels, handlers) => {
      const listener = await startedListener(dsn, channels)
      for (const handler of handlers) {
        const messages = listener.messages()
        void (async () => {
          for await (const { payload } of messages) await handler(payload)
        })()
      }
    },

    'pglisten batches': async (dsn, channels, handlers) => {
      const listener = await startedListener(dsn, channels)
      for (const handler of handlers) {
        const batches = listener.batches()
        void (async () => {
          for await (const batch of batches) for (const { payload } of batch) handler(payload)
        })()
      }
    },

    'pglisten columns': async (dsn, channels, handlers) => {
      const listener = await startedListener(dsn, channels)
      for (const handler of handlers) {
        const batches = listener.batches({ shape: 'columns' })
        void (async () => {
          for await (const { payloads } of batches) for (const payload of payloads) handler(payload)
        })()
      }
    },
  }
}

/** @type {Record<string, Subscribe>} */
const theirs = {
  pg: async (dsn, channels, handlers) => {
    const client = new Client({ connectionString: dsn })
    await client.connect()
    for (const handler of handlers) {
      client.on('notification', ({ payload }) => handler(payload ?? ''))
    }
    for (const channel of channels) await client.query(`LISTEN "${channel}"`)
  },

  postgres: async (dsn, channels, handlers) => {
    const sql = postgres(dsn)
    for (const channel of channels) {
      for (const handler of handlers) await sql.listen(channel, handler)
    }
  },

  'pg-listen': async (dsn, channels, handlers) => {
    // Payloads are JSON to it, unless it is told otherwise.
    // The types of the package know only the `default` among its CommonJS exports.
    const subscriber = createSubscriber.default(
      { connectionString: dsn },
      { parse: (/** @type {string} */ payload) => payload },
    )
    for (const channel of channels) {
      for (const handler of handlers) subscriber.notifications.on(channel, handler)
    }
    await subscriber.connect()
    for (const channel of channels) await subscriber.listenTo(channel)
  },
}

/** The type of a NotificationResponse. */
const NOTIFICATION = 'A'.charCodeAt(0)
/** The length of a message's type and length, and that of a notification's process id. */
const HEADER = 5
const PROCESS_ID = 4

/**
 * What nobody is cheaper than who reads with Node's own sockets: payloads are cut out of what was read, and that is all. `pg` only
 * connects.
 * @type {Subscribe}
 */
async function nodeSocket(dsn, channels, handlers) {
  const client = new Client({ connectionString: dsn })
  await client.connect()
  for (const channel of channels) await client.query(`LISTEN "${channel}"`)
  // The types of the package leave it out.
  const { stream } = /** @type {{ connection: { stream: import('node:net').Socket } }} */ (
    /** @type {unknown} */ (client)
  ).connection
  stream.removeAllListeners('data')
  let rest = Buffer.alloc(0)
  stream.on('data', (/** @type {Buffer<ArrayBuffer>} */ chunk) => {
    const bytes = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk
    let at = 0
    while (at + HEADER <= bytes.length) {
      const end = at + 1 + bytes.readInt32BE(at + 1)
      if (end > bytes.length) break
      if (bytes[at] === NOTIFICATION) {
        const from = bytes.indexOf(0, at + HEADER + PROCESS_ID) + 1
        const payload = bytes.toString('latin1', from, end - 1)
        for (const handler of handlers) handler(payload)
      }
      at = end
    }
    rest = bytes.subarray(at)
  })
  return client
}

/** All that subscribe. @param {Package} pglisten The build under test. @returns {Record<string, Subscribe>} */
export const subscribers = (pglisten) => ({
  ...oursWith(pglisten),
  ...theirs,
  [NODE_SOCKET]: nodeSocket,
})

const STATEMENT = 'SELECT $1::int'

/** All that run statements. @param {Package} pglisten The build under test. @returns {Record<string, Connect>} */
export const connectors = ({ ConnectionPool }) => ({
  pglisten: async (dsn) => {
    const connection = await new ConnectionPool(dsn).connection()
    return (value) => connection.fetchVal(STATEMENT, [value])
  },

  pg: async (dsn) => {
    const client = new Client({ connectionString: dsn })
    await client.connect()
    // With a name it is prepared once, as pglisten does by itself.
    return (value) => client.query({ name: 'statement', text: STATEMENT, values: [value] })
  },
})
