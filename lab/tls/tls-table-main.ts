// `npm run tls-table`: the table of modes and certificates, in Markdown, each outcome held against psql's. With
// `-- --random COUNT [--seed NUMBER]` so many chains at random instead, under `verify-ca` and `verify-full`.

import { parseArgs } from 'node:util'
import { randomChains } from './random-chains.js'
import {
  MODES,
  SYSTEM_PSQL,
  type Outcome,
  type TlsCase,
  outcomeHere,
  outcomeOfLibpq,
  tlsRows,
  tlsTable,
} from './tls-table.js'
import { TlsServer } from './tls-server.js'

const { values } = parseArgs({
  options: { random: { type: 'string' }, seed: { type: 'string', default: '1' } },
})
const tls = await TlsServer.start()
let differences = 0
const compare = (one: TlsCase, mode: (typeof MODES)[number], outcome: Outcome) => {
  const libpqs = outcomeOfLibpq(tls, one, mode)
  if (libpqs === outcome) return
  differences += 1
  console.error(`${one.name}, ${mode}: ${outcome}, but with psql ${libpqs}`)
}
try {
  if (values.random === undefined) {
    const rows = await tlsRows(tls, (one, outcomes) => {
      if (SYSTEM_PSQL) MODES.forEach((mode, index) => compare(one, mode, outcomes[index]!))
    })
    console.log(tlsTable(rows).join('\n'))
  } else {
    await tryAtRandom(Number(values.random), Number(values.seed))
  }
  console.log(
    SYSTEM_PSQL ? `\n${differences} differences from psql` : '\nNot compared: no psql here',
  )
} finally {
  await tls.stop()
}
process.exitCode = differences > 0 ? 1 : 0

async function tryAtRandom(count: number, seed: number): Promise<void> {
  const seen: Record<string, number> = {}
  let tried = 0
  for (const one of randomChains(tls, seed)) {
    if ((tried += 1) > count) break
    await tls.change(one.setup)
    for (const mode of ['verify-ca', 'verify-full'] as const) {
      const outcome = await outcomeHere(tls, one, mode)
      seen[`${mode} ${outcome}`] = (seen[`${mode} ${outcome}`] ?? 0) + 1
      if (SYSTEM_PSQL) compare(one, mode, outcome)
    }
  }
  console.log(`${count} chains, seed ${seed}: ${JSON.stringify(seen)}`)
}
