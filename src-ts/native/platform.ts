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
 * loading does.
 */
function usesMusl(program: string): boolean {
  try {
    return interpreter(program)?.includes('/ld-musl-') ?? false
  } catch {
    return false
  }
}

/** Reads the program header PT_INTERP of an ELF file (elf(5)). Only 64-bit little-endian machines have addons. */
function interpreter(program: string): string | undefined {
  const file = fs.openSync(program, 'r')
  try {
    const read = (position: number, length: number) => {
      const bytes = Buffer.alloc(length)
      fs.readSync(file, bytes, 0, length, position)
      return bytes
    }
    const header = read(0, 64)
    if (header.readUInt32BE(0) !== 0x7f454c46 || header[4] !== 2 || header[5] !== 1)
      return undefined
    const entrySize = header.readUInt16LE(54)
    const entries = read(Number(header.readBigUInt64LE(32)), entrySize * header.readUInt16LE(56))
    for (let at = 0; at < entries.length; at += entrySize) {
      if (entries.readUInt32LE(at) !== 3) continue
      const [offset, length] = [entries.readBigUInt64LE(at + 8), entries.readBigUInt64LE(at + 32)]
      return read(Number(offset), Number(length)).toString('latin1')
    }
    return undefined
  } finally {
    fs.closeSync(file)
  }
}
