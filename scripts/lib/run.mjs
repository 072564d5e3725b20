// Runs the programs that the scripts are made of, so that none of them outlives the script.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

/** The project's folder: every program runs there. */
export const root = fileURLToPath(new URL('../..', import.meta.url))

/** @type {Set<import('node:child_process').ChildProcess>} */
const running = new Set()
let interrupted = false

/**
 * @typedef {object} RunOptions
 * @property {'show' | 'keep' | 'both'} [output] Where the output goes: the terminal, the result, or both.
 * @property {Record<string, string>} [env] Variables on top of ours.
 * @property {((chunk: string) => void) | undefined} [onOutput] Sees what is kept, as it comes.
 *
 * @typedef {object} RunResult
 * @property {boolean} ok
 * @property {string} output What was kept.
 */

/**
 * Runs a program to its end; a failure is a result, not an exception.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {RunOptions} [options]
 * @returns {Promise<RunResult>}
 */
export async function run(command, args, { output = 'show', env = {}, onOutput } = {}) {
  const child = spawn(command, args, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: [
      'ignore',
      output === 'show' ? 'inherit' : 'pipe',
      output === 'show' ? 'inherit' : 'pipe',
    ],
    // npm is a batch file there.
    shell: process.platform === 'win32' && command === 'npm',
  })
  running.add(child)
  let kept = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (/** @type {string} */ chunk) => {
      kept += chunk
      onOutput?.(chunk)
      if (output === 'both') process.stdout.write(chunk)
    })
  }
  /** @type {string | undefined} */
  const problem = await new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message))
    child.once('close', (code, signal) => {
      resolve(code === 0 ? undefined : `${command} ended with ${signal ?? `exit code ${code}`}`)
    })
  })
  running.delete(child)
  // What follows a step must not start while the clean-up runs.
  if (interrupted) await new Promise(() => {})
  if (problem !== undefined) kept += kept === '' || kept.endsWith('\n') ? problem : `\n${problem}`
  return { ok: problem === undefined, output: kept }
}

/**
 * A program that an installed package brings along, run by this very Node.
 * @param {string} file Its path below `node_modules`.
 * @param {readonly string[]} args
 * @param {RunOptions} [options]
 */
export function runTool(file, args, options) {
  return run(process.execPath, [`${root}node_modules/${file}`, ...args], options)
}

/**
 * On Ctrl-C and the like: ends what runs, then does `cleanUp`, then exits as the signal's victim.
 * @param {() => unknown} cleanUp
 * @returns {() => void} Leaves signals to others again.
 */
export function onInterrupt(cleanUp) {
  /** @type {(() => void)[]} */
  const given = []
  for (const [signal, number] of /** @type {const} */ ([
    ['SIGINT', 2],
    ['SIGTERM', 15],
    ['SIGHUP', 1],
  ])) {
    const end = () => {
      interrupted = true
      const ended = [...running].map((child) => once(child, 'exit'))
      for (const child of running) child.kill(signal)
      void (async () => {
        try {
          await Promise.all(ended)
          await cleanUp()
        } finally {
          process.exit(128 + number)
        }
      })()
    }
    process.once(signal, end)
    given.push(() => process.off(signal, end))
  }
  return () => {
    for (const off of given) off()
  }
}
