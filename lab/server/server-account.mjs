// Whom the disposable server runs as, and what that account can reach.

import { execFileSync, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'

/** @typedef {{ uid?: number, gid?: number }} Account */

/** PostgreSQL refuses to run as root: then another account does. */
export function unprivilegedAccount() {
  /** @type {Account} */
  const ourselves = {}
  if (process.platform === 'win32') {
    throw new Error(
      'The disposable server needs a POSIX system. Set PGLISTEN_TEST_DSN (or pass --dsn) instead.',
    )
  }
  if (process.getuid?.() !== 0) return ourselves
  for (const name of ['postgres', 'nobody']) {
    try {
      const id = (/** @type {string} */ flag) =>
        Number(execFileSync('id', [flag, name], { encoding: 'utf8', stdio: 'pipe' }))
      return { uid: id('-u'), gid: id('-g') }
    } catch {
      continue
    }
  }
  throw new Error(
    'PostgreSQL refuses to run as root, and there is no user "postgres" or "nobody" to run it as.',
  )
}

/**
 * A clone below /root, or one made under a strict umask, is closed to the server's account: then the
 * server runs from a copy in its own folder.
 * @param {{ initdb: string, postgres: string }} binaries
 * @param {string} folder
 * @param {Account} account
 */
export function reachableBinaries(binaries, folder, account) {
  if (account.uid === undefined) return binaries
  const options = { ...account, cwd: '/', stdio: /** @type {const} */ ('ignore') }
  if (spawnSync(binaries.postgres, ['--version'], options).status === 0) return binaries
  const home = path.resolve(binaries.postgres, '..', '..')
  const copy = path.join(folder, 'postgresql')
  fs.cpSync(home, copy, { recursive: true, verbatimSymlinks: true })
  for (const entry of fs.readdirSync(copy, { recursive: true, encoding: 'utf8' })) {
    giveTo(path.join(copy, entry), account)
  }
  giveTo(copy, account)
  const moved = (/** @type {string} */ file) => path.join(copy, path.relative(home, file))
  return { initdb: moved(binaries.initdb), postgres: moved(binaries.postgres) }
}

/**
 * @param {string} file
 * @param {Account} account
 */
export function giveTo(file, account) {
  if (account.uid !== undefined) fs.lchownSync(file, account.uid, account.gid ?? account.uid)
}
