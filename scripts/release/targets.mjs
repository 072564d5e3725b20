// The platforms that addons are made for, and how each is built.

/**
 * @typedef {object} Target
 * @property {string} name As in the names of its package (`pglisten-…`) and of its addon.
 * @property {string} os
 * @property {string} cpu
 * @property {'glibc' | 'musl'} [libc]
 * @property {string} label For people.
 */

/** By Rust's name of the platform. @type {Record<string, Target>} */
export const TARGETS = {
  'x86_64-unknown-linux-gnu': {
    ...{ name: 'linux-x64-gnu', os: 'linux', cpu: 'x64', libc: 'glibc' },
    label: 'Linux on x64 with glibc 2.17 or newer',
  },
  'aarch64-unknown-linux-gnu': {
    ...{ name: 'linux-arm64-gnu', os: 'linux', cpu: 'arm64', libc: 'glibc' },
    label: 'Linux on arm64 with glibc 2.17 or newer',
  },
  'x86_64-unknown-linux-musl': {
    ...{ name: 'linux-x64-musl', os: 'linux', cpu: 'x64', libc: 'musl' },
    label: 'Linux on x64 with musl, such as Alpine',
  },
  'aarch64-unknown-linux-musl': {
    ...{ name: 'linux-arm64-musl', os: 'linux', cpu: 'arm64', libc: 'musl' },
    label: 'Linux on arm64 with musl, such as Alpine',
  },
  'x86_64-apple-darwin': {
    ...{ name: 'darwin-x64', os: 'darwin', cpu: 'x64' },
    label: 'macOS on Intel',
  },
  'aarch64-apple-darwin': {
    ...{ name: 'darwin-arm64', os: 'darwin', cpu: 'arm64' },
    label: 'macOS on Apple silicon',
  },
  'x86_64-pc-windows-msvc': {
    ...{ name: 'win32-x64-msvc', os: 'win32', cpu: 'x64' },
    label: 'Windows on x64',
  },
  'aarch64-pc-windows-msvc': {
    ...{ name: 'win32-arm64-msvc', os: 'win32', cpu: 'arm64' },
    label: 'Windows on arm64',
  },
}

/** @param {Target} target */
export const addonFile = ({ name }) => `pglisten.${name}.node`

/**
 * GCC 4.8 of the toolchain from npm does not say which version of the architecture it compiles for, which ring's assembly
 * asks. All of 64-bit ARM is version 8 or newer.
 */
const OLD_GCC_ON_ARM = { CFLAGS_aarch64_unknown_linux_gnu: '-D__ARM_ARCH=8' }

/** What links with zig, from crates.io; `napi build` would install its newest version by itself. */
const ZIGBUILD = 'cargo-zigbuild@0.24.1'

/** @typedef {{ flags: string[], env: Record<string, string> }} Build The flags of `napi build`, and variables on top of ours. */

/**
 * How `napi build` is asked for a target on this machine, or why it cannot be.
 * @param {string} triple
 * @param {{ hasRust: (triple: string) => boolean, has: (command: string) => boolean }} machine
 * @returns {Build | { reason: string }}
 */
export function buildPlan(triple, { hasRust, has }) {
  const target = /** @type {Target} */ (TARGETS[triple])
  if (target.os !== process.platform) return { reason: `built on ${target.os} only` }
  if (!hasRust(triple)) {
    return { reason: `Rust's half is not installed: \`rustup target add ${triple}\`` }
  }
  // A toolchain with the C library of 2014, from npm: the addon then runs wherever Node does.
  if (target.libc === 'glibc') {
    return { flags: ['--use-napi-cross'], env: target.cpu === 'arm64' ? OLD_GCC_ON_ARM : {} }
  }
  if (target.libc !== 'musl') return { flags: [], env: {} }
  if (!has('zig')) return { reason: '`zig`, which links it, is not on the PATH' }
  if (!has('cargo-zigbuild')) {
    return {
      reason: `\`cargo-zigbuild\` is not on the PATH: \`cargo install --locked ${ZIGBUILD}\``,
    }
  }
  return { flags: ['--cross-compile'], env: {} }
}
