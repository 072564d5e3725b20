// Finds the prebuilt addon that fits the running program.
import fs from 'node:fs'

/** The platforms for which there is an addon, as the names of packages (`pglisten-…`) and files spell them. */
export const TARGETS = [
  'darwin-arm64',
  'darwin-x64',
  'linux-arm64-gnu',
  'linux-arm64-musl',
  'linux-x64-gnu',
  'linux-x64-musl',
  'win32-arm64-msvc',
  'win32-x64-msvc',
] as const

export type Target = (typeof TARGETS)[number]

/** Returns this platform in the form of {@link TARGETS}, whether there is an addon for it or not. */
export function currentTarget(): string {
  const target = `${process.platform}-${process.arch}`
  if (process.platform === 'linux')
    return `${target}-${usesMusl(process.execPath) ? 'musl' : 'gnu'}`
  return process.platform === 'win32' ? `${target}-msvc` : target
}

export function isTarget(target: string): target is Target {
  return (TARGETS as readonly string[]).includes(target)
}

/**
 * Whether a program is linked with musl. If the program cannot be read, glibc is assumed, which is more common.
 *
 * The program names its dynamic linker itself. That is safer than looking for a C library, because both can be
 * installed side by side, and faster than `ldd` or `process.report`, which take longer than everything else that
 * loading does. A program that was started as an argument of the dynamic linker is hidden behind it: then `program` is
 * the linker.
 */
function usesMusl(program: string): boolean {
  try {
    const file = fs.openSync(program, 'r')
    try {
      return interpreter(file)?.includes('/ld-musl-') ?? isMuslItself(file)
    } finally {
      fs.closeSync(file)
    }
  } catch {
    return false
  }
}

/** Reads the program header PT_INTERP of an ELF file (elf(5)). Only 64-bit little-endian machines have addons. */
function interpreter(file: number): string | undefined {
  const header = read(file, 0, 64)
  if (header.readUInt32BE(0) !== 0x7f454c46 || header[4] !== 2 || header[5] !== 1) return undefined
  const entrySize = header.readUInt16LE(54)
  const size = entrySize * header.readUInt16LE(56)
  const entries = read(file, Number(header.readBigUInt64LE(32)), size)
  for (let at = 0; at < entries.length; at += entrySize) {
    if (entries.readUInt32LE(at) !== 3) continue
    const [offset, length] = [entries.readBigUInt64LE(at + 8), entries.readBigUInt64LE(at + 32)]
    return read(file, Number(offset), Number(length)).toString('latin1')
  }
  return undefined
}

/** Several times the size of musl, whose dynamic linker and C library are one file. */
const LARGEST_MUSL = 4 * 1024 * 1024

/** Whether a file is musl's dynamic linker, by what it prints when it is started alone. Its path differs from system to system. */
function isMuslItself(file: number): boolean {
  const { size } = fs.fstatSync(file)
  return size <= LARGEST_MUSL && read(file, 0, size).includes('musl libc (')
}

function read(file: number, position: number, length: number): Buffer {
  const bytes = Buffer.alloc(length)
  fs.readSync(file, bytes, 0, length, position)
  return bytes
}
