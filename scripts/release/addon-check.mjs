// Whether an addon asks for no more than every system that its package is for has.

import fs from 'node:fs'
import { compareVersions, isElf, newestGlibc, readElf } from './elf.mjs'
import { isMachO, readMachO } from './mach-o.mjs'
import { isPe, readPe } from './pe.mjs'

/** That of CentOS 7, of 2014: what the oldest supported Node runs on has a newer one. */
const NEWEST_GLIBC = '2.17'
/** The oldest macOS of the oldest supported Node on Apple silicon; on Intel rustc asks for less. */
const NEWEST_MACOS = '11.0'

/** Parts of glibc, and GCC's library that every C++ program, such as Node, needs too. */
const GLIBC = /^(lib(c|m|dl|pthread|rt|util)\.so\.\d|libgcc_s\.so\.1$|ld-linux)/
/** All of musl is one library, whose name has the processor on Alpine. */
const MUSL = /^libc\.(so$|musl-)/
/** Libraries of macOS itself. */
const MACOS = /^(\/usr\/lib|\/System\/Library)\//
/** Libraries that a program brings along or the Visual C++ redistributable: Microsoft's C and C++, MinGW's (`lib…`), others. */
const NOT_OF_WINDOWS = /^(vcruntime|msvcp|msvcr\d|concrt|vcomp|vccorlib|ucrtbased|lib)/i

/** @typedef {{ needs: string } | { problem: string }} Verdict What it needs, in a word; or what is wrong with that. */

/** @param {string} path The addon's file. @param {import('./targets.mjs').Target} target @returns {Verdict} */
export function checkAddon(path, target) {
  const file = fs.readFileSync(path)
  switch (target.os) {
    case 'linux':
      return isElf(file) ? checkElf(readElf(file), target) : { problem: 'is no ELF file' }
    case 'darwin':
      return isMachO(file)
        ? checkMachO(readMachO(file), target)
        : { problem: 'is no Mach-O file for one 64-bit processor' }
    default:
      return isPe(file) ? checkPe(readPe(file), target) : { problem: 'is no PE file' }
  }
}

/** @param {ReturnType<typeof readElf>} needed @param {import('./targets.mjs').Target} target @returns {Verdict} */
function checkElf({ cpu, versions, libraries }, target) {
  const own = target.libc === 'musl' ? MUSL : GLIBC
  const problem = foreign(cpu, target, libraries, (name) => own.test(name))
  if (problem !== undefined) return { problem }
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

/** @param {ReturnType<typeof readPe>} needed @param {import('./targets.mjs').Target} target @returns {Verdict} */
function checkPe({ cpu, libraries }, target) {
  const problem = foreign(cpu, target, libraries, (name) => !NOT_OF_WINDOWS.test(name))
  return problem === undefined ? { needs: 'Windows alone' } : { problem }
}

/** @param {ReturnType<typeof readMachO>} needed @param {import('./targets.mjs').Target} target @returns {Verdict} */
function checkMachO({ cpu, libraries, macos, isSigned }, target) {
  const problem = foreign(cpu, target, libraries, (path) => MACOS.test(path))
  if (problem !== undefined) return { problem }
  if (macos === undefined) return { problem: 'names no version of macOS' }
  if (compareVersions(macos, NEWEST_MACOS) > 0) {
    return { problem: `needs macOS ${macos}, newer than ${NEWEST_MACOS}` }
  }
  // Apple's processors end a process that loads code without one; the linker's own is enough.
  if (cpu === 'arm64' && !isSigned) return { problem: 'has no signature' }
  return { needs: `macOS ${macos}` }
}

/**
 * @param {string} cpu @param {import('./targets.mjs').Target} target @param {readonly string[]} libraries
 * @param {(name: string) => boolean} isOfSystem
 * @returns {string | undefined} What is wrong: another processor, or libraries that not every such system has.
 */
function foreign(cpu, target, libraries, isOfSystem) {
  if (cpu !== target.cpu) return `is for ${cpu}`
  const others = libraries.filter((name) => !isOfSystem(name))
  return others.length > 0 ? `needs ${others.join(', ')}` : undefined
}
