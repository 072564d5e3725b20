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
 * How `napi build` is asked for a target on this machine, or why it cannot be.
 * @param {string} triple
 * @param {{ hasRust: (triple: string) => boolean, hasZig: () => boolean }} machine
 * @returns {{ flags: string[] } | { reason: string }}
 */
export function buildPlan(triple, { hasRust, hasZig }) {
  const target = /** @type {Target} */ (TARGETS[triple])
  if (target.os !== process.platform) return { reason: `built on ${target.os} only` }
  if (!hasRust(triple)) {
    return { reason: `Rust's half is not installed: \`rustup target add ${triple}\`` }
  }
  // A toolchain with the C library of 2014, from npm: the addon then runs wherever Node does.
  if (target.libc === 'glibc') return { flags: ['--use-napi-cross'] }
  if (target.libc !== 'musl') return { flags: [] }
  if (!hasZig()) return { reason: '`zig`, which links it, is not on the PATH' }
  return { flags: ['--cross-compile'] }
}
