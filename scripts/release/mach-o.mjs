// What a Mach-O file (a program or library of macOS) needs of the system it is loaded on; layout: `mach-o/loader.h` of
// Apple's SDK.

const MAGIC_64 = 0xfeedfacf
const CPUS = /** @type {Record<number, string>} */ ({ 0x01000007: 'x64', 0x0100000c: 'arm64' })
const [LC_CODE_SIGNATURE, LC_VERSION_MIN_MACOSX, LC_BUILD_VERSION] = [0x1d, 0x24, 0x32]
/** The commands that name a library: to load, to load if it is there, to pass on, to load at the first use, to load early. */
const LIBRARIES = new Set([0xc, 0x80000018, 0x8000001f, 0x20, 0x80000023])

/** @param {Buffer} file */
export const isMachO = (file) => file.length >= 32 && file.readUInt32LE(0) === MAGIC_64

/**
 * @param {Buffer} file A 64-bit Mach-O file for one processor.
 * @returns {{ cpu: string, libraries: string[], macos: string | undefined, isSigned: boolean }} Node's name of the machine,
 * the paths of the libraries needed, the oldest macOS that the file says it runs on, and whether it has a signature.
 */
export function readMachO(file) {
  const type = file.readUInt32LE(4)
  const count = file.readUInt32LE(16)
  /** @type {string[]} */
  const libraries = []
  let macos
  let isSigned = false
  for (let at = 32, index = 0; index < count; index += 1) {
    const command = file.readUInt32LE(at)
    const size = file.readUInt32LE(at + 4)
    if (LIBRARIES.has(command)) {
      const start = at + file.readUInt32LE(at + 8)
      const [path = ''] = file.toString('utf8', start, at + size).split('\0')
      libraries.push(path)
    } else if (command === LC_VERSION_MIN_MACOSX) {
      macos = version(file.readUInt32LE(at + 8))
    } else if (command === LC_BUILD_VERSION) {
      macos = version(file.readUInt32LE(at + 12))
    } else if (command === LC_CODE_SIGNATURE) {
      isSigned = true
    }
    at += size
  }
  return { cpu: CPUS[type] ?? `machine 0x${type.toString(16)}`, libraries, macos, isSigned }
}

/** @param {number} packed Such as 0x000b0100 for 11.1. */
const version = (packed) => `${packed >> 16}.${(packed >> 8) & 0xff}`
