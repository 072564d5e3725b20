// @ts-check
// The life of a durable subscription that runs here, told to people on standard error: its beginning, a lost connection, its return.
'use strict'

/** @import { SessionMessage, Subscription, SubscriptionMessage } from 'pglisten' */

const { subscribe, unsubscribe } = require('node:diagnostics_channel')
const { describeError } = require('../lib/errors.js')
const { visible } = require('../lib/terminal.js')

const SESSION = 'pglisten:session'
const SUBSCRIPTION = 'pglisten:subscription'

/** Tells of the one subscription of this process. */
class TailLife {
  /** Whether the server knows the subscription. */
  isMade = false
  #subscription
  #channels
  #tell
  /** When the session that hears of events was lost. @type {number | undefined} */
  #lostAt
  /** Whether an attempt to read has failed, and none has gone well since. */
  #isTrying = false
  /** Whether the next warning is about positions that were adopted, of which was told. */
  #isAdopted = false
  #onSession = (/** @type {unknown} */ message) =>
    this.#session(/** @type {SessionMessage} */ (message))
  #onSubscription = (/** @type {unknown} */ message) =>
    this.#moment(/** @type {SubscriptionMessage} */ (message))

  /** @param {Subscription<any>} subscription @param {string[]} channels @param {(line: string) => void} tell */
  constructor(subscription, channels, tell) {
    this.#subscription = subscription.name
    this.#channels = channels
    this.#tell = tell
    subscribe(SESSION, this.#onSession)
    subscribe(SUBSCRIPTION, this.#onSubscription)
    subscription.on('warning', ({ message, unread, error }) => {
      if (this.#isAdopted) this.#isAdopted = false
      else if (unread === undefined) {
        this.#isTrying = true
        tell(`still trying: ${describeError(error)}`)
      } else tell(visible(message))
    })
  }

  /** Tells nothing more. */
  end() {
    unsubscribe(SESSION, this.#onSession)
    unsubscribe(SUBSCRIPTION, this.#onSubscription)
  }

  /** @param {SessionMessage} message */
  #session({ event, code, sqlState, processId }) {
    // It listens once the server has made the subscription.
    if (event === 'connecting') this.isMade = true
    else if (event === 'lost') {
      this.#lostAt = performance.now()
      const codes = [sqlState, code].filter((one) => one !== undefined).join(', ')
      this.#tell(`connection lost${codes === '' ? '' : ` (${codes})`}; reconnecting`)
    } else if (event === 'connected' && this.#lostAt !== undefined) {
      const away = ((performance.now() - this.#lostAt) / 1000).toFixed(1)
      this.#lostAt = undefined
      this.#isTrying = false
      this.#tell(`connected again after ${away} s, as server process ${processId}`)
    }
  }

  /** @param {SubscriptionMessage} message */
  #moment({ subscription, event }) {
    if (subscription !== this.#subscription) return
    if (event === 'started') this.#tell(`listening to ${this.#channels.map(visible).join(', ')}`)
    else if (event === 'adopted') {
      this.#isAdopted = true
      this.#tell('adopted the positions of a restored dump')
    } else if ((event === 'done' || event === 'asleep') && this.#lostAt === undefined) {
      if (this.#isTrying) this.#tell('connected again')
      this.#isTrying = false
    }
  }
}

module.exports = { TailLife }
