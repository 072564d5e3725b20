// `npm run types`: writes the comparison of the clients into docs/types.md, from a run on a server of its own.

import { readFile, writeFile } from 'node:fs/promises'
import { startServer } from '../server/dev-server.mjs'
import { sideBySide } from './side-by-side.js'
import { withSection } from './table.js'

const FILE = new URL('../../docs/types.md', import.meta.url)

const server = await startServer()
try {
  const rows = await sideBySide(server.dsn)
  const page = await readFile(FILE, 'utf8')
  const written = await withSection(page, rows)
  await writeFile(FILE, written)
  console.log(written === page ? 'docs/types.md is up to date' : 'docs/types.md is written anew')
} finally {
  await server.stop()
}
