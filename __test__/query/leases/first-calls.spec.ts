// The first calls on connections that are leased at their first use: of callbacks, of messages, of listeners.

import test from 'ava'
import type { CallOptions, Connection } from 'pglisten'
import { uniqueName } from '../../../lab/unique-name.js'
import { collect, waitFor } from '../../../lab/wait.js'
import { runFixture } from '../../support/child.js'
import { ask, notify, openListener, run, uniqueChannel } from '../../support/listener.js'

test('a call that was aborted before leases nothing, and nothing is rejected unhandled', async (t) => {
  t.deepEqual(await runFixture('query/aborted-calls.mjs'), { unexpected: [], mostWaiting: 0 })
})

const BOUNDS: Record<string, () => CallOptions> = {
  'no bounds': () => ({}),
  'a time': () => ({ timeoutMs: 10_000 }),
  'a signal': () => ({ signal: new AbortController().signal }),
  both: () => ({ timeoutMs: 10_000, signal: new AbortController().signal }),
}

const encoded = { types: { encoders: { int4: (value: number) => value } } }

for (const [name, bounds] of Object.entries(BOUNDS)) {
  test.serial(
    `statements that nobody awaits are run although the callback returns, or the loop goes on (${name})`,
    async (t) => {
      const table = uniqueName('unawaited')
      await run(`CREATE TABLE ${table} (n int4)`)
      t.teardown(() => run(`DROP TABLE ${table}`))
      const channel = uniqueChannel()
      const { listener } = await openListener(t, { channels: [channel] })
      const insert = `INSERT INTO ${table} VALUES ($1)`
      const failures: unknown[] = []
      const start = (connection: Connection, first: number) => {
        for (const call of [
          connection.execute(insert, [first], bounds()),
          connection.execute(insert, [first + 1], { ...bounds(), ...encoded }),
          connection.executeMany(insert, [[first + 2]], bounds()),
          connection.pipeline([[insert, [first + 3]]], { ...bounds(), ...encoded }),
        ])
          call.catch((error: unknown) => failures.push(error))
      }
      await listener.addCallback(channel, (connection) => start(connection, 10))
      await listener.startup()
      listener.listen()
      const messages = listener.messages({ channels: [channel] })
      const loop = collect(
        (async function* () {
          let first = 20
          for await (const message of messages) {
            start(message.connection, (first += 10))
            yield message
          }
        })(),
        3,
      )
      for (const payload of ['1', '2', '3']) await notify(channel, payload)
      await loop
      const stored = () => ask<number>(`SELECT count(*)::int4 FROM ${table}`)
      await waitFor(async () => failures.length > 0 || (await stored()) === 24, {
        timeoutMs: 60_000,
        what: 'the rows of all statements',
      })
      t.deepEqual(failures, [])
      t.is(await stored(), 24)
    },
  )
}
