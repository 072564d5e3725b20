// Durable subscriptions under torture, for some seconds: nothing is lost, doubled or out of order.

import { setPriority } from 'node:os'
import test from 'ava'
import { torture } from '../../lab/durable/torture.js'
import { startServer } from '../../lab/server/test-server.js'

// Its processes would take the processors from tests that run beside it and measure time. Server and children inherit it.
setPriority(10)

test('no event is lost, doubled or out of order, whoever publishes and whoever is killed', async (t) => {
  t.timeout(170_000)
  const server = await startServer({
    settings: {
      max_prepared_transactions: 20,
      max_connections: 200,
      fsync: true,
      synchronous_commit: true,
    },
  })
  t.teardown(() => server.stop())
  const { verdicts, chaos, writerErrors, lagMs } = await torture(server, 5000)
  t.log(JSON.stringify({ chaos, lagMs: Math.round(lagMs) }))
  t.deepEqual(writerErrors, [])
  for (const verdict of verdicts) {
    t.log(`${verdict.subscription}: ${verdict.committed} committed`)
    t.true(verdict.committed > 500)
    t.like(verdict, { lost: [], doubled: [], alien: [], inversions: 0, counterInversions: 0 })
  }
})
