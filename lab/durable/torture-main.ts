// `npm run torture -- --seconds N`: durable subscriptions under torture, for longer than in the tests.

import { parseArgs } from 'node:util'
import { startServer } from '../server/test-server.js'
import { torture } from './torture.js'

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '10' } } })
const server = await startServer({
  settings: {
    max_prepared_transactions: 20,
    max_connections: 200,
    fsync: true,
    synchronous_commit: true,
  },
})
try {
  const { verdicts, chaos, writerErrors, lagMs } = await torture(
    server.dsn,
    Number(values.seconds) * 1000,
  )
  console.log(
    `done to the processes: ${JSON.stringify(chaos)}; everything was done after ${Math.round(lagMs)} ms`,
  )
  let isRight = writerErrors.length === 0
  for (const error of writerErrors) console.error(error)
  for (const {
    subscription,
    committed,
    lost,
    doubled,
    alien,
    inversions,
    counterInversions,
  } of verdicts) {
    const counts = {
      lost: lost.length,
      doubled: doubled.length,
      alien: alien.length,
      inversions,
      counterInversions,
    }
    console.log(`${subscription}: ${committed} events, ${JSON.stringify(counts)}`)
    if (Object.values(counts).some((count) => count > 0)) isRight = false
  }
  process.exitCode = isRight ? 0 : 1
} finally {
  await server.stop()
}
