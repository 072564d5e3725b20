// PgBouncer, where it is installed.

import { spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { freePort, isListening } from './ports.mjs'
import { giveTo, unprivilegedAccount } from './server-account.mjs'
import { waitFor } from '../wait.js'

/** Its program, or `undefined`: tests that need it are to be skipped. */
export const POOLER = ['pgbouncer', '/usr/sbin/pgbouncer'].find(
  (file) => spawnSync(file, ['--version'], { stdio: 'ignore' }).status === 0,
)

/** Its version without the third number, such as 1.18; 0 where there is none. */
export const POOLER_VERSION = POOLER
  ? Number(/\d+\.\d+/.exec(spawnSync(POOLER, ['--version'], { encoding: 'utf8' }).stdout)?.[0])
  : 0

export interface Pooler {
  port: number
  stop(): void
}

/** Starts a pooler before the database of a DSN; with a certificate it takes encrypted connections only. */
export async function startPooler(
  dsn: string,
  mode: 'session' | 'transaction' | 'statement',
  tls?: { certificate: string; key: string },
): Promise<Pooler> {
  if (!POOLER) throw new Error('PgBouncer is not installed')
  const { username, password, hostname, port: serverPort, pathname } = new URL(dsn)
  const secret = decodeURIComponent(password)
  const account = unprivilegedAccount()
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'pglisten-pooler-'))
  const port = await freePort()
  const write = (name: string, lines: string[]) => {
    const file = path.join(folder, name)
    fs.writeFileSync(file, `${lines.join('\n')}\n`, { mode: 0o600 })
    giveTo(file, account)
    return file
  }
  const users = write('users', [`"${username}" "${secret}"`])
  const encryption = tls && [
    'client_tls_sslmode = require',
    `client_tls_cert_file = ${write('certificate', [tls.certificate])}`,
    `client_tls_key_file = ${write('key', [tls.key])}`,
  ]
  const config = write('config', [
    '[databases]',
    `${pathname.slice(1)} = host=${hostname} port=${serverPort} user=${username} password='${secret}'`,
    '[pgbouncer]',
    'listen_addr = 127.0.0.1',
    `listen_port = ${port}`,
    'auth_type = plain',
    `auth_file = ${users}`,
    `pool_mode = ${mode}`,
    'unix_socket_dir =',
    'ignore_startup_parameters = extra_float_digits',
    ...(encryption ?? []),
  ])
  giveTo(folder, account)
  // It refuses to run as root, as the server does.
  const child = spawn(POOLER, [config], { ...account, cwd: folder, stdio: 'ignore' })
  const stop = () => {
    child.kill('SIGKILL')
    fs.rmSync(folder, { recursive: true, force: true })
  }
  child.unref()
  process.once('exit', stop)
  await waitFor(() => isListening(port), { what: 'the pooler' })
  return {
    port,
    stop() {
      process.off('exit', stop)
      stop()
    },
  }
}
