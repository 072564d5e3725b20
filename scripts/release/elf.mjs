// What an ELF file needs of the system it is loaded on. Read here, because binutils are not everywhere; layouts: elf(5)
// and https://refspecs.linuxfoundation.org/LSB_5.0.0/LSB-Core-generic/LSB-Core-generic/symversion.html.

const MACHINES = /** @type {Record<number, string>} */ ({ 62: 'x64', 183: 'arm64' })
const [PT_LOAD, PT_DYNAMIC] = [1, 2]
const [DT_NEEDED, DT_STRTAB, DT_VERNEED, DT_VERNEEDNUM] = [1n, 5n, 0x6ffffffen, 0x6fffffffn]

/** @param {Buffer} file Whether it is a 64-bit little-endian one. */
export const isElf = (file) =>
  file.length >= 64 && file.readUInt32BE(0) === 0x7f454c46 && file[4] === 2 && file[5] === 1

/**
 * @param {Buffer} file A 64-bit little-endian ELF file.
 * @returns {{ cpu: string, libraries: string[], versions: string[] }} Node's name of the machine, the shared libraries
 * needed, and the symbol versions needed of them (`GLIBC_2.17`).
 */
export function readElf(file) {
  const machine = file.readUInt16LE(18)
  const segments = programHeaders(file)
  /** Where in the file something is that has this address in memory. */
  const offsetOf = (/** @type {number} */ address) => {
    const segment = segments.find(
      (it) => it.type === PT_LOAD && address >= it.address && address < it.address + it.size,
    )
    if (segment === undefined)
      throw new Error(`The ELF file refers to ${address}, which is nowhere`)
    return address - segment.address + segment.offset
  }
  const dynamic = segments.find((it) => it.type === PT_DYNAMIC)
  const entries = dynamic === undefined ? [] : dynamicEntries(file, dynamic)
  const valueOf = (/** @type {bigint} */ tag) => entries.find((it) => it.tag === tag)?.value
  const strings = valueOf(DT_STRTAB)
  const text = (/** @type {number} */ index) => {
    const start = offsetOf(strings ?? 0) + index
    return file.toString('latin1', start, file.indexOf(0, start))
  }
  const needs = valueOf(DT_VERNEED)
  return {
    cpu: MACHINES[machine] ?? `machine ${machine}`,
    libraries: entries.filter((it) => it.tag === DT_NEEDED).map((it) => text(it.value)),
    versions:
      needs === undefined
        ? []
        : versionNames(file, offsetOf(needs), valueOf(DT_VERNEEDNUM) ?? 0).map(text),
  }
}

/** @param {Buffer} file */
function programHeaders(file) {
  const start = Number(file.readBigUInt64LE(32))
  const [size, count] = [file.readUInt16LE(54), file.readUInt16LE(56)]
  return Array.from({ length: count }, (_, index) => {
    const at = start + index * size
    return {
      type: file.readUInt32LE(at),
      offset: Number(file.readBigUInt64LE(at + 8)),
      address: Number(file.readBigUInt64LE(at + 16)),
      size: Number(file.readBigUInt64LE(at + 32)),
    }
  })
}

/** @param {Buffer} file @param {{ offset: number, size: number }} segment */
function dynamicEntries(file, { offset, size }) {
  return Array.from({ length: size / 16 }, (_, index) => ({
    tag: file.readBigInt64LE(offset + index * 16),
    value: Number(file.readBigUInt64LE(offset + index * 16 + 8)),
  }))
}

/**
 * The names, as places in the string table, of all versions that all libraries are asked for.
 * @param {Buffer} file @param {number} start @param {number} libraries
 */
function versionNames(file, start, libraries) {
  /** @type {number[]} */
  const names = []
  for (let at = start, library = 0; library < libraries; library += 1) {
    const count = file.readUInt16LE(at + 2)
    for (let aux = at + file.readUInt32LE(at + 8), index = 0; index < count; index += 1) {
      names.push(file.readUInt32LE(aux + 8))
      aux += file.readUInt32LE(aux + 12)
    }
    at += file.readUInt32LE(at + 12)
  }
  return names
}

/**
 * @param {readonly string[]} versions
 * @returns {string | undefined} The newest glibc that they ask for, such as `2.17`.
 */
export function newestGlibc(versions) {
  const numbers = versions
    .map((version) => /^GLIBC_([\d.]+)$/.exec(version)?.[1])
    .filter((version) => version !== undefined)
  return numbers.sort(compareVersions).at(-1)
}

/** @param {string} a @param {string} b */
export function compareVersions(a, b) {
  return a.localeCompare(b, 'en', { numeric: true })
}
