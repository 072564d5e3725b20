// The package with the addon of the machine that runs the matrix.

import { TARGETS } from '../targets.mjs'

/** @returns {string} Its name. */
export function currentAddon() {
  const libc = process.platform === 'linux' ? 'glibc' : undefined
  const target = Object.values(TARGETS).find(
    (one) => one.os === process.platform && one.cpu === process.arch && one.libc === libc,
  )
  if (!target) throw new Error(`No addon for ${process.platform}-${process.arch}`)
  return `pglisten-${target.name}`
}
