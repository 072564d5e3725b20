// PGlite behind a socket, where `npm run test:pglite` has installed it: a server whose clients all share one session.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'

const folder = path.resolve(import.meta.dirname, '../../target/pglite')

/** Whether it is there. Tests that need it are to be skipped otherwise. */
export const HAS_PGLITE = fs.existsSync(path.join(folder, 'node_modules/@electric-sql/pglite'))

/** Whether pgvector for it is there. */
export const HAS_PGVECTOR = fs.existsSync(
  path.join(folder, 'node_modules/@electric-sql/pglite-pgvector'),
)

/** What puts it behind a socket, by the name of its package. */
export type PgliteSocket = 'pglite-socket' | 'pglite-server'

export interface Pglite {
  port: number
  /** Of its only user, in its only database. */
  dsn: string
  stop(): void
}

/** Starts it in a process of its own. With `pglite-server`, `maxConnections` says nothing. */
export async function startPglite(socket: PgliteSocket, maxConnections = 10): Promise<Pglite> {
  const program = path.join(import.meta.dirname, 'pglite-process.mjs')
  const child = spawn(process.execPath, [program, folder, socket, `${maxConnections}`], {
    env: { ...process.env, NODE_OPTIONS: '' },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const stop = () => void child.kill('SIGKILL')
  process.once('exit', stop)
  const [said] = (await Promise.race([
    once(child.stdout, 'data'),
    once(child, 'exit').then(() => {
      throw new Error('PGlite has ended before it listened')
    }),
  ])) as [Buffer]
  child.unref()
  const port = Number(said.toString())
  return {
    port,
    dsn: `postgres://postgres:postgres@127.0.0.1:${port}/postgres`,
    stop() {
      process.off('exit', stop)
      stop()
    },
  }
}
