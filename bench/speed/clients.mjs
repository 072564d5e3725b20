// Each contestant in the fast use that its documentation shows: subscribed to some channels, with every payload handed to
// every handler, or connected for statements.

import { Client } from 'pg'
import createSubscriber from 'pg-listen'
import postgres from 'postgres'
import { BASELINE } from './plan.mjs'

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

/** All that subscribe. @param {Package} pglisten The build under test. @returns {Record<string, Subscribe>} */
export const subscribers = (pglisten) => ({ ...oursWith(pglisten), ...theirs })

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
