// `npm run tls-table`: the table of modes and certificates, in Markdown, each outcome held against psql's.

import { MODES, PSQL, outcomeOfLibpq, tlsRows, tlsTable } from './tls-table.js'
import { TlsServer } from './tls-server.js'

const tls = await TlsServer.start()
let differences = 0
try {
  const rows = await tlsRows(tls, (one, outcomes) => {
    for (const [index, mode] of MODES.entries()) {
      const libpqs = PSQL ? outcomeOfLibpq(tls, one, mode) : outcomes[index]
      if (libpqs === outcomes[index]) continue
      differences += 1
      console.error(`${one.name}, ${mode}: ${outcomes[index]}, but with psql ${libpqs}`)
    }
  })
  console.log(tlsTable(rows).join('\n'))
  console.log(PSQL ? `\n${differences} differences from psql` : '\nNot compared: no psql here')
} finally {
  await tls.stop()
}
process.exitCode = differences > 0 ? 1 : 0
