// Where nats-server is on this machine. Nothing here installs one; CONTRIBUTING.md says how to get it.

import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const tools = fileURLToPath(new URL('../../target/tools/nats-server', import.meta.url))

export interface NatsBinary {
  file: string
  version: string
}

/** The version that a program tells of itself; `undefined` where it does not run here. */
function versionOf(file: string): string | undefined {
  try {
    const told = execFileSync(file, ['--version'], { encoding: 'utf8' })
    return /v(\d+\.\d+\.\d+)/.exec(told)?.[1]
  } catch {
    return undefined
  }
}

/** Those of `target/tools/nats-server/VERSION/`, or its folder `bin`, the newest first. */
function installed(): string[] {
  if (!existsSync(tools)) return []
  const newestFirst = (a: string, b: string) => b.localeCompare(a, 'en', { numeric: true })
  return readdirSync(tools)
    .toSorted(newestFirst)
    .flatMap((version) => [
      path.join(tools, version, 'nats-server'),
      path.join(tools, version, 'bin', 'nats-server'),
    ])
    .filter((file) => existsSync(file))
}

function onPath(): string[] {
  return (process.env['PATH'] ?? '')
    .split(path.delimiter)
    .map((folder) => path.join(folder, 'nats-server'))
    .filter((file) => existsSync(file))
}

/** One nats-server of each version there is: that of `PGLISTEN_NATS_SERVER` alone, or those of `target/tools/nats-server` and the PATH. */
export function natsBinaries(): NatsBinary[] {
  const given = process.env['PGLISTEN_NATS_SERVER']
  const files = given ? [given] : [...installed(), ...onPath()]
  const found = new Map<string, NatsBinary>()
  for (const file of files) {
    const version = versionOf(file)
    if (version === undefined && given)
      throw new Error(`Expected PGLISTEN_NATS_SERVER to be a nats-server, got ${given}`)
    if (version !== undefined && !found.has(version)) found.set(version, { file, version })
  }
  return [...found.values()]
}
