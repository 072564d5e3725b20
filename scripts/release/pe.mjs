// What a PE file (a program or DLL of Windows) needs of the system it is loaded on; layout:
// https://learn.microsoft.com/windows/win32/debug/pe-format.

const MACHINES = /** @type {Record<number, string>} */ ({ 0x8664: 'x64', 0xaa64: 'arm64' })
const PE32_PLUS = 0x20b
/** Indices of the data directories, with the size of one of their entries and where in it the library's name is. */
const IMPORTS = { directory: 1, size: 20, name: 12 }
const DELAYED_IMPORTS = { directory: 13, size: 32, name: 4 }

/** @param {Buffer} file */
export const isPe = (file) => file.length >= 64 && file.toString('latin1', 0, 2) === 'MZ'

/**
 * @param {Buffer} file A 64-bit PE file.
 * @returns {{ cpu: string, libraries: string[] }} Node's name of the machine, and the libraries needed, also those that are
 * loaded at their first use.
 */
export function readPe(file) {
  const head = file.readUInt32LE(60)
  if (file.toString('latin1', head, head + 4) !== 'PE\0\0') throw new Error('Expected a PE file')
  const machine = file.readUInt16LE(head + 4)
  const optional = head + 24
  if (file.readUInt16LE(optional) !== PE32_PLUS) throw new Error('Expected a 64-bit PE file')
  const sections = sectionHeaders(
    file,
    optional + file.readUInt16LE(head + 20),
    file.readUInt16LE(head + 6),
  )
  /** Where in the file something is that has this address, relative to the start of the image. */
  const offsetOf = (/** @type {number} */ address) => {
    const section = sections.find(
      (it) => address >= it.address && address < it.address + Math.max(it.size, it.sizeInFile),
    )
    if (section === undefined) throw new Error(`The PE file refers to ${address}, which is nowhere`)
    return address - section.address + section.offset
  }
  const text = (/** @type {number} */ address) => {
    const start = offsetOf(address)
    return file.toString('latin1', start, file.indexOf(0, start))
  }
  /** @param {typeof IMPORTS} table */
  const namesIn = ({ directory, size, name }) => {
    if (directory >= file.readUInt32LE(optional + 108)) return []
    const address = file.readUInt32LE(optional + 112 + directory * 8)
    if (address === 0) return []
    const names = []
    // An entry without a name ends the table.
    for (let at = offsetOf(address); file.readUInt32LE(at + name) !== 0; at += size) {
      names.push(text(file.readUInt32LE(at + name)))
    }
    return names
  }
  return {
    cpu: MACHINES[machine] ?? `machine 0x${machine.toString(16)}`,
    libraries: [...namesIn(IMPORTS), ...namesIn(DELAYED_IMPORTS)],
  }
}

/** @param {Buffer} file @param {number} start @param {number} count */
function sectionHeaders(file, start, count) {
  return Array.from({ length: count }, (_, index) => {
    const at = start + index * 40
    return {
      size: file.readUInt32LE(at + 8),
      address: file.readUInt32LE(at + 12),
      sizeInFile: file.readUInt32LE(at + 16),
      offset: file.readUInt32LE(at + 20),
    }
  })
}
