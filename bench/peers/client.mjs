// A process that listens with one of the clients, in the way its README shows, and reports what its application sees.

import { Client } from 'pg'
import createSubscriber from 'pg-listen'
import postgres from 'postgres'
import { ConnectionPool } from 'pglisten'

/**
 * @typedef {object} Task
 * @property {string} dsn
 * @property {string} channel
 * @property {boolean} survives Whether the application has a handler for uncaught exceptions, as many services have.
 *
 * @typedef {(payload: unknown) => void} Handler
 */

/** @param {object} report */
const tell = (report) => process.send?.(report)
/** What the client lets its application know. @param {string} how */
const told = (how) => tell({ told: how })

/** The first handler throws when it is asked to; the second shows whether that harms others. @type {Handler[]} */
const handlers = [
  (payload) => {
    if (payload === 'throw') throw new Error('as asked')
    tell({ got: payload })
  },
  (payload) => tell({ second: payload }),
]

/** @type {Record<string, (task: Task) => Promise<void>>} */
const clients = {
  async pglisten({ dsn, channel }) {
    const listener = new ConnectionPool(dsn).listener()
    for (const handler of handlers) {
      await listener.addCallback(channel, (_, payload) => handler(JSON.parse(payload)))
    }
    listener.addGapCallback(() => told('gap'))
    listener.on('error', () => told('error'))
    await listener.startup()
    listener.listen()
  },

  async 'pg-listen'({ dsn, channel }) {
    // Node imports the exports of CommonJS, which are the function; its types know only the `default` among them.
    const subscriber = createSubscriber.default({ connectionString: dsn })
    for (const handler of handlers) subscriber.notifications.on(channel, handler)
    subscriber.events.on('reconnect', () => told('reconnect'))
    subscriber.events.on('error', (error) => {
      console.error('Fatal database connection error:', error.message)
      process.exit(1)
    })
    await subscriber.connect()
    await subscriber.listenTo(channel)
  },

  async postgres({ dsn, channel }) {
    const sql = postgres(dsn)
    for (const handler of handlers) {
      let times = 0
      await sql.listen(
        channel,
        (payload) => handler(JSON.parse(payload)),
        () => {
          times += 1
          if (times > 1) told('onlisten')
        },
      )
    }
  },

  async pg({ dsn, channel }) {
    const client = new Client({ connectionString: dsn })
    client.on('error', () => told('error'))
    for (const handler of handlers) {
      client.on('notification', (message) => {
        if (message.channel === channel) handler(JSON.parse(message.payload ?? ''))
      })
    }
    await client.connect()
    await client.query(`LISTEN ${client.escapeIdentifier(channel)}`)
  },
}

async function start(/** @type {Task} */ task) {
  if (task.survives) process.on('uncaughtException', () => told('uncaughtException'))
  try {
    await clients[process.argv[2] ?? '']?.(task)
    tell({ up: true })
  } catch (error) {
    tell({ refused: error instanceof Error ? error.name : String(error) })
  }
}

process.once('message', (/** @type {Task} */ task) => void start(task))
process.once('disconnect', () => process.exit())
