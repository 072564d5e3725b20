// Runs npm apart from this clone: in any folder, with any PATH, and its output kept.

import { execFile } from 'node:child_process'
import path from 'node:path'
import process from 'node:process'
import { promisify } from 'node:util'

/**
 * @param {readonly string[]} args
 * @param {{ cwd: string, env?: NodeJS.ProcessEnv }} options
 * @returns {Promise<{ stdout: string, stderr: string }>} Rejects when npm fails; the error has both as well.
 */
export function npm(args, { cwd, env = process.env }) {
  // What `npm run` sets describes this clone, and would follow us.
  const clean = Object.fromEntries(
    Object.entries(env).filter(([name]) => !/^npm_(?!config_(cache|registry)$)/i.test(name)),
  )
  const options = { cwd, env: clean, maxBuffer: Infinity }
  const script = process.env['npm_execpath']
  return script?.endsWith('.js')
    ? promisify(execFile)(process.execPath, [script, ...args], options)
    : promisify(execFile)(process.platform === 'win32' ? 'npm.cmd' : 'npm', args, {
        ...options,
        shell: process.platform === 'win32',
      })
}

/**
 * @param {string} folder A package.
 * @param {string} destination Where the tarball goes.
 * @returns {Promise<{ file: string, size: number, unpackedSize: number, files: string[] }>} Sizes in bytes.
 */
export async function pack(folder, destination) {
  const { stdout } = await npm(
    ['pack', '--json', '--ignore-scripts', `--pack-destination=${destination}`],
    { cwd: folder },
  )
  // npm 12 answers with an object by name, the ones before with a list.
  const [packed] = Object.values(JSON.parse(stdout))
  return {
    file: path.join(destination, packed.filename),
    size: packed.size,
    unpackedSize: packed.unpackedSize,
    files: packed.files.map((/** @type {{ path: string }} */ it) => it.path).sort(),
  }
}
