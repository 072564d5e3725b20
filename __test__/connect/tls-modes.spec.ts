// Each mode of encryption against each kind of server and certificate: as in libpq, with psql as the referee.

import test from 'ava'
import fs from 'node:fs'
import { MODES, SYSTEM_PSQL, outcomeOfLibpq, tlsRows, tlsTable } from '../../lab/tls/tls-table.js'
import { TlsServer } from '../../lab/tls/tls-server.js'

const PAGE = new URL('../../docs/encryption.md', import.meta.url)

/** Without what the formatter adds to a table. */
const plain = (line: string) => line.replaceAll(/ +/g, ' ').replaceAll(/-{2,}/g, '---')

test('each mode does with each server what libpq does, and what the documentation says', async (t) => {
  t.timeout(120_000)
  const tls = await TlsServer.start()
  t.teardown(() => tls.stop())
  const rows = await tlsRows(tls, (one, outcomes) => {
    if (!SYSTEM_PSQL) return
    const libpqs = MODES.map((mode) => outcomeOfLibpq(tls, one, mode))
    t.deepEqual(outcomes, libpqs, one.name)
  })
  if (!SYSTEM_PSQL) t.log('There is no psql here: compared with the documentation alone.')
  const page = new Set(fs.readFileSync(PAGE, 'utf8').split('\n').map(plain))
  for (const line of tlsTable(rows).map(plain)) t.true(page.has(line), line)
})
