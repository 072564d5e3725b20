// Publishes the moment at a steady pace, each time in a transaction of its own: node sender.mjs ASKED, as JSON.

import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'

/** @type {{ dsn: string, statement: string, perSecond: number, count: number }} */
const { dsn, statement, perSecond, count } = JSON.parse(process.argv[2] ?? '')
const client = new Client({ connectionString: dsn })
await client.connect()
// The consumer is to be asleep at first.
await sleep(1000)
let next = performance.now()
for (let sent = 0; sent < count; sent += 1) {
  await client.query({ name: 'send', text: statement, values: [`${process.hrtime.bigint()}`] })
  // The pauses differ by a half, so that they do not keep step with anything.
  next = Math.max(next + (1000 / perSecond) * (0.5 + Math.random()), performance.now())
  await sleep(next - performance.now())
}
await client.end()
process.disconnect()
