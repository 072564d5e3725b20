// A listing of a folder is read at one glance.

import { execFileSync } from 'node:child_process'
import path from 'node:path'
import test from 'ava'
import { root } from '../support/code-blocks.js'

const MOST = 20
const CODE = /^(src-ts|src-rs|__test__|lab|scripts|bench|examples)\//

test(`no folder of code has more than ${MOST} files beside each other`, (t) => {
  const tracked = execFileSync('git', ['ls-files', '-z'], { cwd: root, encoding: 'utf8' })
  const counts = new Map<string, number>()
  for (const file of tracked.split('\0').filter((name) => CODE.test(name))) {
    const folder = path.posix.dirname(file)
    counts.set(folder, (counts.get(folder) ?? 0) + 1)
  }
  t.true(counts.size > 30)
  t.deepEqual(
    [...counts].filter(([, count]) => count > MOST),
    [],
  )
})
