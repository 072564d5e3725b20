// `npm run test:relay`: relays under faults by chance, on each nats-server there is.

import { natsBinaries } from './nats-binaries.js'
import { chaos } from './chaos.js'

const [faults = '60', seed = '1', source = 'channels', minutes = '0'] = process.argv.slice(2)
if (source !== 'channels' && source !== 'durable')
  throw new TypeError(`Expected a source of channels or durable, got ${source}`)
const binaries = natsBinaries()
if (binaries.length === 0) {
  console.error('There is no nats-server on this machine; CONTRIBUTING.md says how to get one.')
  process.exit(1)
}
for (const binary of binaries) {
  console.log(`nats-server ${binary.version}, ${source}, seed ${seed}`)
  const { verdict, ...rest } = await chaos({
    faults: Number(faults),
    minutes: Number(minutes),
    seed: Number(seed),
    source,
    binary,
    report: (line) => console.log(`  ${line}`),
  })
  const { written, delivered, covered } = verdict
  const wrong = {
    lost: verdict.lost.length,
    doubled: verdict.doubled.length,
    reordered: verdict.reordered.length,
    alien: verdict.alien.length,
    counters: rest.counterFaults.length,
    consumer: rest.consumerFaults.length,
  }
  const happened = Object.values(rest.faults).reduce((sum, one) => sum + one, 0)
  console.log(
    `  ${happened} faults in ${rest.minutes.toFixed(1)} min: ${JSON.stringify(rest.faults)}`,
  )
  console.log(
    `  gaps in ${rest.epochs} epochs: ${JSON.stringify(rest.gaps)}; ${rest.inBatches} messages in atomic batches`,
  )
  console.log(
    `  ${written} rows committed, ${delivered} delivered, ${covered} missing in gaps; outside of gaps: ${JSON.stringify(wrong)}`,
  )
  if (Object.values(wrong).some((count) => count > 0)) {
    const some = (_: string, value: unknown): unknown =>
      Array.isArray(value) ? value.slice(0, 20) : value
    console.log(JSON.stringify({ verdict, ...rest }, some, 1).slice(0, 4000))
    process.exitCode = 1
  }
}
