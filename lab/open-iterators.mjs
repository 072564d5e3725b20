// The time that the JavaScript thread spends on opening and closing 100 iterators of a listener with 10,000 channels.
//
//   node lab/open-iterators.mjs [folder of a built pglisten]

import { createRequire } from 'node:module'
import path from 'node:path'
import { startServer } from './server/dev-server.mjs'

const CHANNELS = 10_000
const ITERATORS = 100

const folder = path.resolve(process.argv[2] ?? path.join(import.meta.dirname, '..'))
/** @type {typeof import('pglisten')} */
const { ConnectionPool } = createRequire(import.meta.url)(path.join(folder, 'dist/index.js'))

const server = await startServer()
try {
  const pool = new ConnectionPool(server.dsn)
  const channels = Array.from({ length: CHANNELS }, (_, index) => `channel_${index}`)
  const listener = pool.listener({ channels })
  await listener.startup()
  for (const [name, options] of /** @type {const} */ ([
    ['every channel', {}],
    ['one channel by name', { channels: ['channel_5000'] }],
  ])) {
    const began = performance.now()
    const iterators = Array.from({ length: ITERATORS }, () => listener.messages(options))
    const opened = performance.now()
    await Promise.all(iterators.map((iterator) => iterator.return?.()))
    const closed = performance.now()
    console.log(
      `${ITERATORS} iterators of ${name}: opened in ${(opened - began).toFixed(1)} ms, closed in ${(closed - opened).toFixed(1)} ms`,
    )
  }
  await pool.close()
} finally {
  await server.stop()
}
