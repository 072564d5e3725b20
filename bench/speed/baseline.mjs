// Builds another commit of this project beside the working tree, so that the two builds can be compared.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import { root, run } from '../../scripts/lib/run.mjs'
import { SetupError } from '../../scripts/lib/setup.mjs'

/**
 * @typedef {object} Baseline
 * @property {string} sha The full name of the commit.
 * @property {string} name Its first characters, which name its folder.
 * @property {string} folder Where the commit is checked out and built.
 */

const BASELINES = path.join(root, 'target', 'baseline')
/** All baselines share one, so that their dependencies are compiled once. */
const CARGO_TARGET = path.join(BASELINES, 'cargo')
/** Written when everything else is done: a build that was interrupted has none. */
const STAMP = path.join('target', 'baseline.json')
const NAME_LENGTH = 7

/** The step that runs. @type {import('node:child_process').ChildProcess | undefined} */
let running
let stopped = false

/** @param {string} commit Anything that git takes for a commit. @returns {Promise<Baseline>} */
export async function baselineOf(commit) {
  const wanted = ['rev-parse', '--verify', '--end-of-options', `${commit}^{commit}`]
  const { ok, output } = await run('git', wanted, { output: 'keep' })
  if (!ok) {
    throw new SetupError(
      `Expected --against to be a commit of this clone, got ${JSON.stringify(commit)}:\n${output.trim()}\n` +
        'A shallow clone lacks older commits; `git fetch --unshallow` brings them.',
    )
  }
  const sha = output.trim()
  const name = sha.slice(0, NAME_LENGTH)
  return { sha, name, folder: path.join(BASELINES, name) }
}

/** Builds the commit, unless that was done before. @param {string} commit */
export async function buildBaseline(commit) {
  const baseline = await baselineOf(commit)
  if (isBuilt(baseline)) return
  console.log(`Building ${baseline.name}, which takes some minutes the first time`)
  await checkOut(baseline)
  await installPackages(baseline)
  await step(baseline, 'npm', ['run', 'build'], { CARGO_TARGET_DIR: CARGO_TARGET })
  const stamp = path.join(baseline.folder, STAMP)
  fs.mkdirSync(path.dirname(stamp), { recursive: true })
  fs.writeFileSync(stamp, stampOf(baseline))
}

/** @param {Baseline} baseline */
export function isBuilt(baseline) {
  const stamp = path.join(baseline.folder, STAMP)
  return fs.existsSync(stamp) && fs.readFileSync(stamp, 'utf8') === stampOf(baseline)
}

/** Ends the step that runs, with everything that it started; no other step follows. */
export async function stopBuilding() {
  stopped = true
  if (running === undefined) return
  const hasExited = running.exitCode !== null || running.signalCode !== null
  const exited = hasExited ? undefined : once(running, 'exit')
  kill(running, 'SIGTERM')
  await exited
  // npm may be gone before the compilers that it started.
  kill(running, 'SIGKILL')
}

/** @param {Baseline} baseline */
const stampOf = ({ sha }) =>
  `${JSON.stringify({ sha, platform: `${process.platform}-${process.arch}` })}\n`

/** Starts from an empty folder: what is there belongs to a build that did not end. @param {Baseline} baseline */
async function checkOut({ sha, name, folder }) {
  fs.rmSync(folder, { recursive: true, force: true })
  // With --force, since git still knows the folder when somebody deleted it.
  const add = ['worktree', 'add', '--force', '--detach', folder, sha]
  const { ok, output } = await run('git', add, { output: 'keep' })
  if (!ok) throw new SetupError(`Checking out ${name} failed:\n${output}`)
}

/** @param {Baseline} baseline */
async function installPackages(baseline) {
  const lockFile = 'package-lock.json'
  const [ours, theirs] = [root, baseline.folder].map((folder) =>
    fs.readFileSync(path.join(folder, lockFile), 'utf8'),
  )
  if (ours !== theirs) await step(baseline, 'npm', ['ci', '--no-audit', '--no-fund'])
  else linkFolder(path.join(root, 'node_modules'), path.join(baseline.folder, 'node_modules'))
}

/**
 * Copies a folder by hard links. Relative symbolic links stay as they are, so that `node_modules/pglisten`, which leads
 * to the folder above, leads to the copy's own package.
 * @param {string} from @param {string} to
 */
function linkFolder(from, to) {
  fs.mkdirSync(to)
  for (const entry of fs.readdirSync(from, { withFileTypes: true })) {
    const [source, copy] = [path.join(from, entry.name), path.join(to, entry.name)]
    if (entry.isDirectory()) linkFolder(source, copy)
    else if (entry.isSymbolicLink()) fs.symlinkSync(fs.readlinkSync(source), copy)
    else fs.linkSync(source, copy)
  }
}

/**
 * Runs a program in the baseline's folder. The program leads a process group of its own, so that everything it starts
 * can be ended with it: a shell between npm and a compiler passes no signals on.
 * @param {Baseline} baseline @param {string} command @param {readonly string[]} args
 * @param {Record<string, string>} [env]
 */
async function step({ name, folder }, command, args, env = {}) {
  const isWindows = process.platform === 'win32'
  const child = spawn(command, args, {
    cwd: folder,
    env: { ...environmentOfAnotherProject(), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: !isWindows,
    // npm is a batch file there.
    shell: isWindows,
  })
  running = child
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (/** @type {string} */ text) => {
      output += text
    })
  }
  /** @type {string | number | null} */
  const how = await new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message))
    child.once('close', (code, signal) => resolve(signal ?? code))
  })
  // The process is about to end, and must not say that its own interruption was a failure.
  if (stopped) await new Promise(() => {})
  running = undefined
  if (how !== 0) {
    throw new SetupError(
      `Building ${name} failed: \`${[command, ...args].join(' ')}\` in ${folder} ended with ${how}.\n${output}`,
    )
  }
}

/** Without what `npm run` sets, which describes the working tree's package. */
function environmentOfAnotherProject() {
  return Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => !/^npm_/i.test(name) || /^npm_config_(cache|registry)$/i.test(name),
    ),
  )
}

/** @param {import('node:child_process').ChildProcess} leader @param {NodeJS.Signals} signal */
function kill(leader, signal) {
  try {
    if (process.platform === 'win32' || leader.pid === undefined) leader.kill(signal)
    else process.kill(-leader.pid, signal)
  } catch (error) {
    // Nobody is left in the group.
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'ESRCH') throw error
  }
}
