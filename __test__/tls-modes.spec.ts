// Each mode of encryption against each kind of server and certificate: as in libpq, with psql as the referee.

import test from 'ava'
import fs from 'node:fs'
import {
  MODES,
  type Outcome,
  PSQL,
  outcomeHere,
  outcomeOfLibpq,
  tlsCases,
  tlsTable,
} from './support/tls-table.js'
import { TlsServer } from './support/tls-server.js'

const PAGE = new URL('../docs/configuration.md', import.meta.url)

/** Without what the formatter adds to a table. */
const plain = (line: string) => line.replaceAll(/ +/g, ' ').replaceAll(/-{2,}/g, '---')

test('each mode does with each server what libpq does, and what the documentation says', async (t) => {
  t.timeout(120_000)
  const tls = await TlsServer.start()
  t.teardown(() => tls.stop())
  const rows: { name: string; outcomes: Outcome[] }[] = []
  for (const one of tlsCases(tls)) {
    await tls.change(one.setup)
    const outcomes: Outcome[] = []
    for (const mode of MODES) {
      const outcome = await outcomeHere(tls, one, mode)
      outcomes.push(outcome)
      if (PSQL) t.is(outcome, outcomeOfLibpq(tls, one, mode), `${one.name}, ${mode}`)
    }
    rows.push({ name: one.name, outcomes })
  }
  if (!PSQL) t.log('There is no psql here: compared with the documentation alone.')
  const table = tlsTable(rows)
  if (process.env['PGLISTEN_PRINT_TABLE']) console.log(table.join('\n'))
  const page = fs.readFileSync(PAGE, 'utf8').split('\n').map(plain)
  for (const line of table.map(plain)) t.true(page.includes(line), line)
})
