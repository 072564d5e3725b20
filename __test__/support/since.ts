// Tests of what only newer versions of PostgreSQL have.

import test from 'ava'
import { spawnSync } from 'node:child_process'
import { postgresBinaries } from '../../lab/server/postgres-binaries.mjs'

/** The major version of the servers that tests start. */
export const MAJOR = (() => {
  const { stdout } = spawnSync(postgresBinaries().postgres, ['--version'], { encoding: 'utf8' })
  return Number(/\d+/.exec(stdout)?.[0])
})()

/** A test that runs by itself, for what PostgreSQL has from a major version on; skipped before. */
export const since = (major: number) => (MAJOR >= major ? test.serial : test.skip)
