// The server of a run, which keeps what it has answered: what a commit costs is what matters here.

import fs from 'node:fs'
import path from 'node:path'
import { startServer } from '../../lab/server/dev-server.mjs'

const DURABLE = { fsync: 'on', synchronous_commit: 'on', full_page_writes: 'on' }

/** @param {Record<string, string | number>} [settings] @param {string} [bin] The programs of another PostgreSQL. */
export async function startDurableServer(settings = {}, bin) {
  return startServer({
    ...(bin !== undefined && { bin }),
    settings: {
      ...DURABLE,
      max_connections: 200,
      shared_buffers: '512MB',
      max_wal_size: '4GB',
      ...settings,
    },
  })
}

/** Where the program is that writes beside each other: it comes with PostgreSQL's clients. */
export function pgbench() {
  const folders = (process.env['PATH'] ?? '').split(path.delimiter)
  for (const version of ['18', '17', '16', '15', '14'])
    folders.push(`/usr/lib/postgresql/${version}/bin`)
  const found = folders
    .map((folder) => path.join(folder, 'pgbench'))
    .find((file) => fs.existsSync(file))
  if (found === undefined)
    throw new Error('Expected pgbench on the PATH: it comes with the clients of PostgreSQL')
  return found
}
