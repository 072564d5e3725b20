// Node.js of other platforms: real programs, as npm and PyPI have them.

import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { npm } from '../../scripts/lib/npm.mjs'
import { root } from '../../scripts/lib/run.mjs'

export type NodePackage =
  | { registry: 'npm'; name: string; version: string }
  | { registry: 'PyPI'; name: string; version: string; platform: string }

/** Where the programs are kept from run to run. */
const kept = path.join(root, 'target', 'platforms', 'nodes')

/** Downloads and unpacks a package once. Returns the program's path. */
export async function installNode(wanted: NodePackage): Promise<string> {
  const { name, version } = wanted
  const platform = wanted.registry === 'PyPI' ? `-${wanted.platform}` : ''
  const folder = path.join(kept, `${name}-${version}${platform}`)
  if (!fs.existsSync(folder)) {
    console.log(`Downloading ${name} ${version}${platform}`)
    const work = fs.mkdtempSync(path.join(fs.mkdirSync(kept, { recursive: true }) ?? kept, 'new-'))
    try {
      if (wanted.registry === 'npm') await fromNpm(wanted, work)
      else fromPypi(wanted, work)
      fs.renameSync(work, folder)
    } catch (error) {
      fs.rmSync(work, { recursive: true, force: true })
      throw error
    }
  }
  const program = fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .find((entry) => entry.isFile() && /^node(\.exe)?$/.test(entry.name))
  if (program === undefined) throw new Error(`No Node.js in ${folder}`)
  const file = path.join(program.parentPath, program.name)
  fs.chmodSync(file, 0o755)
  return file
}

async function fromNpm({ name, version }: NodePackage, folder: string): Promise<void> {
  const { stdout } = await npm(['pack', '--silent', `${name}@${version}`], { cwd: folder })
  const tarball = path.join(folder, stdout.trim())
  execFileSync('tar', ['xzf', tarball], { cwd: folder })
  fs.rmSync(tarball)
}

function fromPypi(
  { name, version, platform }: Extract<NodePackage, { registry: 'PyPI' }>,
  folder: string,
): void {
  const pip = ['-m', 'pip', 'download', '--quiet', '--no-deps', '--only-binary=:all:']
  const python = (args: readonly string[]) =>
    execFileSync('python3', args, { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] })
  python([...pip, `--platform=${platform}`, `${name}==${version}`])
  const wheel = fs.readdirSync(folder).find((file) => file.endsWith('.whl'))!
  python(['-m', 'zipfile', '-e', wheel, '.'])
  fs.rmSync(path.join(folder, wheel))
}
