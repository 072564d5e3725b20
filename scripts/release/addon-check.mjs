// Whether an addon asks for no more than every system that its package is for has.

import { compareVersions, newestGlibc, readElf } from './elf.mjs'

/** That of CentOS 7, of 2014: what the oldest supported Node runs on has a newer one. */
const NEWEST_GLIBC = '2.17'

/**
 * @param {string} file @param {import('./targets.mjs').Target} target
 * @returns {{ needs: string } | { problem: string }} What it needs, in a word; or what is wrong with that.
 */
export function checkAddon(file, target) {
  // Elsewhere the toolchain says which system an addon is for, and the system brings its libraries along.
  if (target.os !== 'linux') return { needs: '' }
  const { cpu, versions, libraries } = readElf(file)
  if (cpu !== target.cpu) return { problem: `is for ${cpu}` }
  const foreign = libraries.filter((name) => /^lib(ssl|crypto|pq)\b/.test(name))
  if (foreign.length > 0) return { problem: `needs ${foreign.join(', ')}` }
  const glibc = newestGlibc(versions)
  if (target.libc === 'musl') {
    return glibc === undefined ? { needs: 'musl' } : { problem: `needs glibc ${glibc}` }
  }
  if (glibc === undefined) return { problem: 'names no version of glibc' }
  if (compareVersions(glibc, NEWEST_GLIBC) > 0) {
    return { problem: `needs GLIBC_${glibc}, newer than ${NEWEST_GLIBC}` }
  }
  return { needs: `glibc ${glibc}` }
}
