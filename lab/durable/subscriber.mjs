// A process that works a durable subscription, for whoever kills it: node subscriber.mjs SETTINGS, as JSON. What it does it writes
// into the table `done` in the transaction of the batch; what it publishes itself is among the events that have to be done.

import { ConnectionPool } from 'pglisten'

/**
 * @typedef {object} Settings
 * @property {string} dsn
 * @property {string} name The subscription.
 * @property {string} applicationName
 * @property {string} done The table of what is done.
 * @property {string} published The table of what handlers have published.
 * @property {import('pglisten').SubscriptionOptions} options
 * @property {boolean} [chaos] Whether handlers fail now and then, and publish.
 * @property {number} [diesAt] It kills itself when handlers have failed so often.
 * @property {'pause' | 'statement'} [asks] The first event is told to the parent, and its handler waits for the message `go`, or in a
 *   statement that takes a minute.
 */

/** @type {Settings} */
const settings = JSON.parse(process.argv[2] ?? '')
const {
  dsn,
  name,
  applicationName,
  done,
  published,
  options,
  chaos = false,
  diesAt,
  asks,
} = settings
const pool = new ConnectionPool({ dsn, applicationName, maxDbPoolSize: 20 })
const subscription = pool.subscription(name, options)
const ending = new AbortController()
let own = 0
/** Whether handlers still fail now and then. */
let isChaotic = chaos

process.on('SIGTERM', () => ending.abort())
/** Lets the handler go on that has asked. @type {(() => void) | undefined} */
let goOn
let hasAsked = asks === undefined
process.on('message', (message) => {
  if (message === 'go') goOn?.()
  // It is over: what waits is to be done.
  else isChaotic = false
})
// Without its parent it has nothing to do.
process.on('disconnect', () => process.exit(0))
let failures = 0
if (diesAt !== undefined)
  subscription.on('failure', () => {
    failures += 1
    if (failures === diesAt) process.kill(process.pid, 'SIGKILL')
  })
subscription.on('warning', ({ message }) => process.send?.({ warning: message }))

await subscription
  .run(
    async (tx, event) => {
      await tx.execute(
        `INSERT INTO ${done} (event, payload, key, channel, subscription, worker) VALUES ($1, $2, $3, $4, $5, $6)`,
        [event.id, event.payload, event.key, event.channel, name, process.pid],
      )
      if (!hasAsked) {
        hasAsked = true
        const answered = new Promise((resolve) => {
          goOn = () => resolve(undefined)
        })
        process.send?.({ handling: event.payload })
        if (asks === 'statement') await tx.execute('SELECT pg_sleep(60)')
        else await answered
      }
      if (!isChaotic) return
      const chance = Math.random()
      if (chance < 0.01) throw new Error('a handler that fails now and then')
      if (chance < 0.03) await tx.execute('SELECT pg_sleep(0.02)')
      if (chance < 0.07 && !event.payload.startsWith('own')) {
        own += 1
        const payload = `own ${name} ${process.pid} ${own}`
        await tx.publish(event.channel, payload, { key: payload })
        await tx.execute(`INSERT INTO ${published} (payload) VALUES ($1)`, [payload])
      }
    },
    { signal: ending.signal },
  )
  .catch((error) => {
    // Whoever has started it starts another one.
    process.send?.({ warning: String(error) })
    process.exitCode = 1
  })
await pool.close()
process.disconnect?.()
