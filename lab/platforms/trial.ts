// A user of one platform: both packages in a folder, and a real Node.js of that platform that runs programs there.

import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { root } from '../../scripts/lib/run.mjs'
import { exampleOf, withoutIds } from '../../scripts/release/readme-example.mjs'
import { stageMain, stagePlatform } from '../../scripts/release/staging.mjs'
import type { Row, Running } from './rows.js'

/** Emulated, everything takes several times as long. */
const DEADLINE_MS = 300_000

/** Lays the packages out as an installation has them. */
export function layOut(folder: string, row: Row, addon: string): void {
  const modules = path.join(folder, 'node_modules')
  stageMain(path.join(modules, 'pglisten'))
  const staged = stagePlatform(path.join(folder, 'platform'), row.publishedAs, addon)
  const { name } = JSON.parse(fs.readFileSync(path.join(staged, 'package.json'), 'utf8'))
  fs.renameSync(staged, path.join(modules, name))
  fs.copyFileSync(path.join(import.meta.dirname, 'program.cjs'), path.join(folder, 'program.cjs'))
}

/** Where the trial connects to. */
export interface Servers {
  plain: string
  encrypted: string
  /** The authority of the server's certificate, in PEM. */
  ca: string
}

/** Runs everything. Returns a sentence that says what was seen; rejects with what went wrong. */
export async function tryPlatform(
  folder: string,
  { launcher }: Running,
  node: string,
  { plain, encrypted, ca }: Servers,
): Promise<string> {
  fs.writeFileSync(path.join(folder, 'ca.pem'), ca)
  const { commonjs, source, output } = exampleOf(path.join(root, 'README.md'))
  fs.writeFileSync(path.join(folder, 'example.cjs'), commonjs)
  fs.writeFileSync(path.join(folder, 'example.mjs'), source)
  const start = async (program: string, env: Record<string, string>) => {
    const words = [...launcher, node, program]
    // The pipes of Node.js are sockets, which a Node.js in Wine cannot write to.
    const files = ['out', 'err'].map((name) => path.join(folder, `${program}.${name}`))
    const [out, err] = files.map((file) => fs.openSync(file, 'w')) as [number, number]
    const child = spawn(words[0]!, words.slice(1), {
      cwd: folder,
      env: { ...process.env, WINEDEBUG: '-all', WINEPREFIX: path.join(folder, 'wine'), ...env },
      stdio: ['ignore', out, err],
      timeout: DEADLINE_MS,
      killSignal: 'SIGKILL',
    })
    fs.closeSync(out)
    fs.closeSync(err)
    const [code, signal] = await once(child, 'close')
    const [printed, complaints] = files.map((file) => fs.readFileSync(file, 'utf8').trim())
    if (code !== 0) throw new Error(`${program} ended with ${signal ?? code}: ${complaints}`)
    return printed!
  }
  for (const program of ['example.cjs', 'example.mjs']) {
    const printed = await start(program, { DATABASE_URL: plain })
    if (withoutIds(printed) !== withoutIds(output))
      throw new Error(`${program} printed: ${printed}`)
  }
  const seen = await start('program.cjs', { DATABASE_URL: plain })
  const seenEncrypted = await start('program.cjs', { DATABASE_URL: encrypted, TRIAL_CA: 'ca.pem' })
  return `${seen}; TLS: ${seenEncrypted}`
}

/** Ends what Wine leaves running for the folder's programs. */
export async function endWine(folder: string): Promise<void> {
  const prefix = path.join(folder, 'wine')
  if (!fs.existsSync(prefix)) return
  const env = { ...process.env, WINEPREFIX: prefix }
  // It fails when nothing runs any more.
  await promisify(execFile)('wineserver', ['--kill', '--wait'], { env }).catch(() => {})
}
