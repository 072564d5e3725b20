// Builds the addon for a target, and finds out what this machine has for that.

import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { runTool } from '../lib/run.mjs'
import { SetupError } from '../lib/setup.mjs'
import { checkToolchain } from './toolchain.mjs'

/** Whether Rust's standard library for a target is installed. @param {string} triple */
export function hasRust(triple) {
  const folder = execFileSync('rustc', ['--print', 'target-libdir', '--target', triple], {
    encoding: 'utf8',
  })
  return fs.existsSync(folder.trim())
}

/** Whether a program is on the PATH. @param {string} command */
export function has(command) {
  const names = process.platform === 'win32' ? [`${command}.exe`] : [command]
  const folders = (process.env['PATH'] ?? '').split(path.delimiter)
  return folders.some((folder) => names.some((name) => fs.existsSync(path.join(folder, name))))
}

/**
 * @param {string} triple @param {import('./targets.mjs').Build} build
 * @param {string} folder Where the addons of all targets go.
 * @returns {Promise<string>} The addon's file.
 */
export async function buildAddon(triple, { flags, env }, folder) {
  const output = path.join(folder, 'addons', triple)
  console.log(`Building the addon for ${triple}`)
  if (flags.includes('--use-napi-cross')) await checkToolchain(triple)
  fs.rmSync(output, { recursive: true, force: true })
  const { ok } = await runTool(
    '@napi-rs/cli/dist/cli.js',
    [
      ...['build', '--platform', '--release', '--target', triple, ...flags],
      ...['--output-dir', output, '--no-js', '--dts', 'index.d.ts', '--', '--locked'],
    ],
    { env },
  )
  if (!ok) throw new SetupError(`Building the addon for ${triple} failed.`)
  const addon = fs.readdirSync(output).find((name) => name.endsWith('.node'))
  return path.join(output, /** @type {string} */ (addon))
}
