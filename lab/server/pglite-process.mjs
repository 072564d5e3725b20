// A process of its own for PGlite: it runs inside the process that has it, and is ended with that.
//
//   node pglite-process.mjs FOLDER pglite-socket MAX_CONNECTIONS
//   node pglite-process.mjs FOLDER pglite-server
//
// FOLDER has the packages. Prints the port once it takes connections.

import { once } from 'node:events'
import { createRequire } from 'node:module'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { freePort } from './ports.mjs'

const [folder = '', socket, maxConnections] = process.argv.slice(2)
const { resolve } = createRequire(path.join(folder, 'package.json'))

/** The package's module, whatever it exports. @param {string} name @returns {Promise<any>} */
const load = (name) => import(pathToFileURL(resolve(name)).href)

const { PGlite } = await load('@electric-sql/pglite')
// An installation from before has no pgvector.
const { vector } = await load('@electric-sql/pglite-pgvector').catch(() => ({}))
const db = await PGlite.create({ extensions: vector === undefined ? {} : { vector } })
const port = await freePort()
if (socket === 'pglite-socket') {
  const { PGLiteSocketServer } = await load('@electric-sql/pglite-socket')
  const options = { db, host: '127.0.0.1', port, maxConnections: Number(maxConnections) }
  await new PGLiteSocketServer(options).start()
} else {
  const { createServer } = await import(
    pathToFileURL(path.join(folder, 'node_modules/pglite-server/dist/index.js')).href
  )
  await once(createServer(db).listen(port, '127.0.0.1'), 'listening')
}
console.log(port)
