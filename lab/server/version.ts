// Which PostgreSQL the tests run on, for those that need one.

import { spawnSync } from 'node:child_process'
import { postgresBinaries } from './postgres-binaries.mjs'

/** The major version of the servers that tests start. */
export const MAJOR = (() => {
  const { stdout } = spawnSync(postgresBinaries().postgres, ['--version'], { encoding: 'utf8' })
  return Number(/\d+/.exec(stdout)?.[0])
})()
