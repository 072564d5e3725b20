// Older versions of the site: which releases there are, and each of them built below the newest, as `v1.2/`.

import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { run } from '../scripts/lib/run.mjs'
import { SetupError } from '../scripts/lib/setup.mjs'

/** How many are built; older ones are in the repository. */
const MOST = 5

/**
 * The newest release of each minor version, the newest version first; without pre-releases.
 * @param {readonly string[]} tags
 * @returns {{ tag: string, name: string }[]} `name` is that of its folder, such as `v1.2`.
 */
export function releases(tags) {
  /** @type {Map<string, { tag: string, name: string, numbers: number[] }>} */
  const newest = new Map()
  for (const tag of tags) {
    const match = /^v(\d+)\.(\d+)\.(\d+)$/.exec(tag)
    if (match === null) continue
    const numbers = match.slice(1).map(Number)
    const name = `v${numbers[0]}.${numbers[1]}`
    const known = newest.get(name)
    if (known === undefined || compare(numbers, known.numbers) > 0)
      newest.set(name, { tag, name, numbers })
  }
  return [...newest.values()]
    .sort((a, b) => compare(b.numbers, a.numbers))
    .map(({ tag, name }) => ({ tag, name }))
}

/** @param {readonly number[]} a @param {readonly number[]} b */
function compare(a, b) {
  const index = a.findIndex((number, at) => number !== b[at])
  return index < 0 ? 0 : Number(a[index]) - Number(b[index])
}

/**
 * The releases of this clone that have a site.
 * @param {string} root
 */
export function releasesWithSite(root) {
  const git = (/** @type {string[]} */ ...args) =>
    execFileSync('git', args, { cwd: root, encoding: 'utf8' })
  return releases(git('tag', '--list', 'v*').split('\n'))
    .filter(({ tag }) => git('ls-tree', '--name-only', tag, 'site/versions.mjs') !== '')
    .slice(0, MOST)
}

/**
 * Builds each release in a worktree of its own, and puts it into a folder of the newest.
 * @param {object} options
 * @param {string} options.work Where the worktrees go, and go again.
 * @param {string} options.html The newest, which is built.
 * @param {string} options.base
 * @param {readonly { tag: string, name: string }[]} options.versions
 */
export async function buildVersions({ work, html, base, versions }) {
  for (const { tag, name } of versions) {
    const folder = path.join(work, 'versions', name)
    console.log(`Building the site of ${tag}`)
    try {
      await done('git', ['worktree', 'add', '--force', '--detach', folder, tag])
      const install = ['ci', '--prefix', folder, '--no-audit', '--no-fund', '--ignore-scripts']
      await done('npm', install)
      await done(process.execPath, [path.join(folder, 'scripts/site.mjs')], {
        SITE_BASE: `${base}${name}/`,
        SITE_OLD: name,
      })
      fs.cpSync(path.join(folder, 'target/site/html'), path.join(html, name), { recursive: true })
    } finally {
      await run('git', ['worktree', 'remove', '--force', folder], { output: 'keep' })
    }
  }
}

/** @param {string} command @param {string[]} args @param {Record<string, string>} [env] */
async function done(command, args, env = {}) {
  const { ok, output } = await run(command, args, { output: 'keep', env })
  if (!ok) throw new SetupError(`${command} ${args.join(' ')} failed:\n${output}`)
}
