// Makes the tarballs that are published: pglisten's own, and one for each platform that can be built for here.
//
//   npm run package                      everything that this machine can make
//   npm run package -- --target TRIPLE   only that platform's (may be given more than once); fails if it cannot be made
//
// They are in target/tarballs/ then, those that have the main one as a peer in its folder companions/, each checked: what the addon needs of its system, and what npm says to a trial publication.

import fs from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { checkAddon } from './release/addon-check.mjs'
import { buildAddon, has, hasRust } from './release/build-addon.mjs'
import { thirdPartyNotices } from './release/notices.mjs'
import { npm, pack } from './lib/npm.mjs'
import { onInterrupt, root, run } from './lib/run.mjs'
import { SetupError, installPackages, requireNode, requireRust, runMain } from './lib/setup.mjs'
import { stageMain, stagePlatform } from './release/staging.mjs'
import { TARGETS, buildPlan } from './release/targets.mjs'

const out = path.join(root, 'target', 'tarballs')
const work = path.join(root, 'target', 'packages')
/** The packages beside the main one, which have it as a peer: the same everywhere. */
const companions = ['opentelemetry', 'console', 'relay-nats'].map((name) =>
  path.join(root, 'packages', name),
)

await runMain(async () => {
  const wanted = wantedTargets()
  onInterrupt(() => {})
  requireNode()
  await requireRust()
  await installPackages()
  fs.rmSync(out, { recursive: true, force: true })
  fs.mkdirSync(out, { recursive: true })

  const built = await run(process.execPath, ['scripts/build-ts.mjs'])
  if (!built.ok) throw new SetupError('Building the TypeScript facade failed.')
  const rows = [row(await publishable(stageMain(path.join(work, 'pglisten'))))]
  const beside = path.join(out, 'companions')
  fs.mkdirSync(beside)
  for (const folder of companions) rows.push(row(await publishable(folder, beside)))
  const left = []
  for (const [triple, target] of Object.entries(TARGETS)) {
    if (wanted.length > 0 && !wanted.includes(triple)) continue
    const plan = buildPlan(triple, { hasRust, has })
    if ('reason' in plan) {
      left.push(`${target.name}: ${plan.reason}`)
      continue
    }
    const addon = await buildAddon(triple, plan, work)
    const checked = checkAddon(addon, target)
    if ('problem' in checked)
      throw new SetupError(`${addon} for ${target.label} ${checked.problem}.`)
    const folder = stagePlatform(path.join(work, target.name), triple, addon)
    fs.writeFileSync(path.join(folder, 'THIRD-PARTY-NOTICES.md'), thirdPartyNotices(triple))
    rows.push(row(await publishable(folder), checked.needs))
  }

  console.log(`\n| In ${path.relative(process.cwd(), out)}/ | packed | unpacked | files | needs |`)
  console.log('| --- | --- | --- | --- | --- |')
  console.log(rows.join('\n'))
  if (left.length > 0) console.log(`\nNot made here:\n${left.map((it) => `- ${it}`).join('\n')}`)
  return wanted.length > 0 && left.length > 0 ? 1 : 0
})

function wantedTargets() {
  try {
    const { values } = parseArgs({ options: { target: { type: 'string', multiple: true } } })
    const wanted = values.target ?? []
    for (const triple of wanted) {
      if (!(triple in TARGETS)) {
        throw new TypeError(
          `Expected --target to be one of ${Object.keys(TARGETS).join(', ')}, got ${triple}`,
        )
      }
    }
    return wanted
  } catch (error) {
    throw new SetupError(error instanceof Error ? error.message : String(error))
  }
}

/**
 * Packs a folder and has npm try everything of a publication but the upload.
 * @param {string} folder @param {string} [into]
 */
async function publishable(folder, into = out) {
  const packed = await pack(folder, into)
  try {
    const { stderr } = await npm(['publish', '--dry-run', packed.file], { cwd: into })
    const warnings = stderr
      .split('\n')
      .filter((line) => /^npm warn publish/i.test(line) && !line.includes('to be logged in'))
    if (warnings.length > 0) throw new SetupError(warnings.join('\n'))
  } catch (error) {
    if (error instanceof SetupError) throw error
    throw new SetupError(`npm would not publish ${packed.file}.`, { cause: error })
  }
  return packed
}

/** @param {Awaited<ReturnType<typeof pack>>} packed @param {string} [needs] */
function row({ file, size, unpackedSize, files }, needs = '') {
  const kilobytes = (/** @type {number} */ bytes) => `${Math.round(bytes / 1000)} kB`
  return `| ${path.basename(file)} | ${kilobytes(size)} | ${kilobytes(unpackedSize)} | ${files.length} | ${needs} |`
}
