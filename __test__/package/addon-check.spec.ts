// What an addon needs of its system is read from its file, and an addon that needs too much is not packed.

import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import test from 'ava'
import { checkAddon } from '../../scripts/release/addon-check.mjs'
import { readElf } from '../../scripts/release/elf.mjs'
import { TARGETS, addonFile } from '../../scripts/release/targets.mjs'
import { currentTarget } from '../../src-ts/native/platform.js'

const root = path.resolve(import.meta.dirname, '../..')
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'pglisten-addon-check-'))
test.after.always(() => fs.rmSync(folder, { recursive: true, force: true }))

const here = Object.values(TARGETS).find(({ name }) => name === currentTarget())!
const windows = TARGETS['x86_64-pc-windows-msvc']!
const windowsArm = TARGETS['aarch64-pc-windows-msvc']!
const apple = TARGETS['aarch64-apple-darwin']!
const intel = TARGETS['x86_64-apple-darwin']!

let files = 0
/** What becomes of an addon with these bytes: what it needs, or what is wrong. */
function verdict(bytes: Buffer, target: (typeof TARGETS)[string]): string {
  files += 1
  const file = path.join(folder, `${files}.node`)
  fs.writeFileSync(file, bytes)
  const checked = checkAddon(file, target)
  return 'problem' in checked ? checked.problem : checked.needs
}

const onLinux = process.platform === 'linux' ? test : test.skip
const onGlibc = here.libc === 'glibc' ? test : test.skip

onLinux('what this system’s addon needs is read from its file', (t) => {
  const file = path.join(root, 'native', addonFile(here))
  const { cpu, libraries, versions } = readElf(fs.readFileSync(file))
  t.is(cpu, process.arch)
  t.true(libraries.some((name) => name.startsWith('libc.')))
  t.is(
    versions.some((name) => name.startsWith('GLIBC_2.')),
    here.libc === 'glibc',
  )
  t.false(
    libraries.some((name) => /ssl|crypto/.test(name)),
    'No OpenSSL of the system',
  )
})

onGlibc('what needs too new a glibc, another libc or another processor is not packed', (t) => {
  // Node itself: no build of a supported version makes do with less than glibc 2.28.
  const problem = (wanted: object) =>
    JSON.stringify(checkAddon(process.execPath, { ...here, ...wanted }))
  t.regex(problem({}), /"problem":"needs (GLIBC_2\.\d+, newer than 2\.17|lib)/)
  t.regex(problem({ libc: 'musl' }), /"problem":"needs (glibc 2\.|lib)/)
  t.is(problem({ cpu: 'riscv64' }), `{"problem":"is for ${process.arch}"}`)
})

test('for Windows, what needs the Visual C++ redistributable or is for another processor is not packed', (t) => {
  const system = ['KERNEL32.dll', 'ws2_32.dll', 'api-ms-win-core-synch-l1-2-0.dll']
  t.is(verdict(pe({ imports: system }), windows), 'Windows alone')
  t.is(verdict(pe({ machine: 0xaa64, imports: system }), windowsArm), 'Windows alone')
  t.is(verdict(pe({ imports: [] }), windows), 'Windows alone')
  t.is(verdict(pe({ imports: system }), windowsArm), 'is for x64')
  t.is(
    verdict(pe({ imports: [...system, 'VCRUNTIME140.dll', 'MSVCP140.dll'] }), windows),
    'needs VCRUNTIME140.dll, MSVCP140.dll',
  )
  t.is(
    verdict(pe({ imports: system, delayed: ['vcruntime140_1.dll'] }), windows),
    'needs vcruntime140_1.dll',
  )
  t.is(verdict(pe({ imports: ['libgcc_s_seh-1.dll'] }), windows), 'needs libgcc_s_seh-1.dll')
})

test('for macOS, what needs foreign libraries, too new a system or a signature is not packed', (t) => {
  const system = [
    '/usr/lib/libSystem.B.dylib',
    '/System/Library/Frameworks/Security.framework/Versions/A/Security',
  ]
  const own = { libraries: system, macos: [11, 0] as const, isSigned: true }
  t.is(verdict(machO(own), apple), 'macOS 11.0')
  t.is(verdict(machO(own), intel), 'is for arm64')
  const old = { ...own, cpu: 0x01000007, macos: [10, 12] as const, isSigned: false }
  t.is(verdict(machO(old), intel), 'macOS 10.12')
  t.is(verdict(machO({ ...own, isSigned: false }), apple), 'has no signature')
  t.is(verdict(machO({ ...own, macos: [14, 2] }), apple), 'needs macOS 14.2, newer than 11.0')
  const brew = '/opt/homebrew/lib/libssl.3.dylib'
  t.is(verdict(machO({ ...own, libraries: [...system, brew] }), apple), `needs ${brew}`)
})

test('a file of another system is told from an addon', (t) => {
  const text = Buffer.from('damaged')
  for (const [bytes, target, problem] of [
    [text, here, /^is no /],
    [text, windows, /^is no PE file/],
    [machO({}), windows, /^is no PE file/],
    [pe({}), apple, /^is no Mach-O file/],
    [pe({}), TARGETS['aarch64-unknown-linux-musl']!, /^is no ELF file/],
  ] as const) {
    t.regex(verdict(bytes, target), problem)
  }
})

/** A PE file of one section: headers, tables of imports, and the names that they refer to. */
function pe({
  machine = 0x8664,
  imports = [],
  delayed = [],
}: {
  machine?: number
  imports?: readonly string[]
  delayed?: readonly string[]
}): Buffer {
  const [head, optional, address, offset] = [128, 128 + 24, 0x1000, 512]
  const file = Buffer.alloc(offset + 2048)
  file.write('MZ')
  file.writeUInt32LE(head, 60)
  file.write('PE\0\0', head)
  file.writeUInt16LE(machine, head + 4)
  file.writeUInt16LE(1, head + 6)
  file.writeUInt16LE(240, head + 20)
  file.writeUInt16LE(0x20b, optional)
  file.writeUInt32LE(16, optional + 108)
  const section = optional + 240
  file.writeUInt32LE(2048, section + 8)
  file.writeUInt32LE(address, section + 12)
  file.writeUInt32LE(2048, section + 16)
  file.writeUInt32LE(offset, section + 20)
  let at = offset
  for (const [index, names, size, field] of [
    [1, imports, 20, 12],
    [13, delayed, 32, 4],
  ] as const) {
    if (names.length === 0) continue
    file.writeUInt32LE(address + at - offset, optional + 112 + index * 8)
    let text = at + (names.length + 1) * size
    for (const [place, name] of names.entries()) {
      file.writeUInt32LE(address + text - offset, at + place * size + field)
      text += file.write(`${name}\0`, text, 'latin1')
    }
    at = text
  }
  return file
}

/** A Mach-O file: its header, and a command for each library, the version and the signature. */
function machO({
  cpu = 0x0100000c,
  libraries = [],
  macos,
  isSigned = false,
}: {
  cpu?: number
  libraries?: readonly string[]
  macos?: readonly [number, number]
  isSigned?: boolean
}): Buffer {
  const command = (type: number, ...fields: (number | string)[]) => {
    const parts = fields.map((field) => {
      if (typeof field === 'string') return Buffer.from(field.padEnd(128, '\0'))
      const bytes = Buffer.alloc(4)
      bytes.writeUInt32LE(field)
      return bytes
    })
    const body = Buffer.concat(parts)
    const start = Buffer.alloc(8)
    start.writeUInt32LE(type, 0)
    start.writeUInt32LE(8 + body.length, 4)
    return Buffer.concat([start, body])
  }
  const commands = [
    // The library's own name, which it does not need.
    command(0xd, 24, 0, 0, 0, '/build/libpglisten.dylib'),
    ...libraries.map((name) => command(0xc, 24, 0, 0, 0, name)),
    ...(macos ? [command(0x32, 1, (macos[0] << 16) | (macos[1] << 8), 0, 0)] : []),
    ...(isSigned ? [command(0x1d, 0, 0)] : []),
  ]
  const header = Buffer.alloc(32)
  header.writeUInt32LE(0xfeedfacf, 0)
  header.writeUInt32LE(cpu, 4)
  header.writeUInt32LE(commands.length, 16)
  return Buffer.concat([header, ...commands])
}
