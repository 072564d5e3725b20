// Durable subscriptions under torture, for longer than in the tests: `torture-main.ts SECONDS`. Prints a row of a Markdown table.

import { ServerWitness } from '../witness.js'
import { startServer } from '../server/test-server.js'
import { torture } from './torture.js'

const seconds = Number(process.argv[2])
const server = await startServer({
  settings: {
    max_prepared_transactions: 20,
    max_connections: 200,
    fsync: true,
    synchronous_commit: true,
    full_page_writes: true,
  },
})
try {
  const witness = new ServerWitness(server.dsn)
  const version = await witness.ask<string>('SHOW server_version')
  await witness.close()
  const { verdicts, chaos, writerErrors, lagMs } = await torture(server, seconds * 1000)
  for (const error of writerErrors) console.error(error)
  const sum = (what: (verdict: (typeof verdicts)[number]) => number) =>
    verdicts.reduce((total, verdict) => total + what(verdict), 0)
  const wrong = [
    sum(({ lost }) => lost.length),
    sum(({ doubled }) => doubled.length),
    sum(({ alien }) => alien.length),
    sum(({ inversions }) => inversions),
    sum(({ counterInversions }) => counterInversions),
  ]
  const { 'restart of the server': restarts = 0, ...others } = chaos
  const strikes = Object.values(others).reduce((total, count) => total + count, 0)
  const cells = [
    version,
    `${seconds} s`,
    verdicts[0]!.committed,
    strikes,
    restarts,
    ...wrong,
    `${(lagMs / 1000).toFixed(1)} s`,
  ]
  console.log(`| ${cells.join(' | ')} |`)
  const isRight = writerErrors.length === 0 && wrong.every((count) => count === 0)
  if (!isRight) {
    for (const verdict of verdicts) console.error(JSON.stringify(verdict).slice(0, 2000))
    process.exitCode = 1
  }
} finally {
  await server.stop()
}
