// The licences of everything that is linked into an addon: most of them ask to be handed on with it.

import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { root } from '../lib/run.mjs'
import { TARGETS } from './targets.mjs'

/**
 * @param {string} triple
 * @returns {string} A Markdown page: each licence text once, with the crates that it comes from.
 */
export function thirdPartyNotices(triple) {
  const metadata = execFileSync(
    'cargo',
    ['metadata', '--format-version=1', '--locked', '--filter-platform', triple],
    { cwd: root, encoding: 'utf8', maxBuffer: Infinity },
  )
  const crates = linkedCrates(JSON.parse(metadata))
  /** @type {Map<string, string[]>} */
  const texts = new Map()
  for (const crate of crates) {
    for (const text of licenceTexts(path.dirname(crate.manifest_path))) {
      texts.set(text, [...(texts.get(text) ?? []), `${crate.name} ${crate.version}`])
    }
  }
  const runtime = runtimeOf(triple)
  for (const { name, text } of runtime) {
    if (text !== undefined) texts.set(text, [...(texts.get(text) ?? []), name])
  }
  return [
    '# What is linked into this addon',
    'Besides pglisten itself, the Rust standard library (MIT or Apache-2.0) and the following:',
    [
      ...runtime.map((it) => `- ${it.name}: ${it.license}`),
      ...crates.map((it) => `- ${it.name} ${it.version}: ${it.license}`),
    ].join('\n'),
    ...[...texts].map(
      ([text, names]) => `## ${names.join(', ')}\n\n\`\`\`\`text\n${text.trimEnd()}\n\`\`\`\``,
    ),
    '',
  ].join('\n\n')
}

/**
 * What the linker adds for a target. Elsewhere it takes that from the system.
 * @param {string} triple
 * @returns {{ name: string, license: string, text?: string }[]}
 */
export function runtimeOf(triple) {
  const { os, libc } = /** @type {import('./targets.mjs').Target} */ (TARGETS[triple])
  const text = (/** @type {string} */ name) =>
    fs.readFileSync(new URL(`licences/${name}.txt`, import.meta.url), 'utf8')
  if (libc === 'musl') {
    return [
      {
        ...{ name: 'LLVM libunwind', license: 'Apache-2.0 WITH LLVM-exception' },
        text: text('libunwind'),
      },
      { name: 'Zig compiler-rt', license: 'MIT', text: text('zig') },
    ]
  }
  if (os === 'win32') {
    return [{ name: 'Microsoft C runtime', license: 'distributable code of Visual Studio' }]
  }
  return []
}

/**
 * @typedef {{ id: string, name: string, version: string, license: string, manifest_path: string,
 *   targets: { kind: string[] }[] }} Crate
 * @typedef {{ id: string, deps: { pkg: string, dep_kinds: { kind: string | null }[] }[] }} Node
 * @param {{ packages: Crate[], resolve: { root: string, nodes: Node[] } }} metadata
 */
function linkedCrates({ packages, resolve }) {
  const nodes = new Map(resolve.nodes.map((node) => [node.id, node]))
  // They run inside the compiler, and so do the crates that only they use.
  const macros = new Set(
    packages.filter((it) => it.targets[0]?.kind.includes('proc-macro')).map(({ id }) => id),
  )
  const reached = new Set([resolve.root])
  // A set that grows while it is walked: what is added is visited too.
  for (const id of reached) {
    for (const { pkg, dep_kinds } of nodes.get(id)?.deps ?? []) {
      if (!macros.has(pkg) && dep_kinds.some(({ kind }) => kind === null)) reached.add(pkg)
    }
  }
  reached.delete(resolve.root)
  return packages.filter(({ id }) => reached.has(id)).sort((a, b) => (a.name < b.name ? -1 : 1))
}

/**
 * Where a crate lets us choose, we take it under the MIT licence.
 * @param {string} folder
 */
function licenceTexts(folder) {
  const names = fs
    .readdirSync(folder)
    .filter((name) => /^(licen[cs]e|copying|notice|unlicense)/i.test(name))
    .filter((name) => fs.statSync(path.join(folder, name)).isFile())
  const chosen = names.filter((name) => /mit/i.test(name))
  return (chosen.length > 0 ? chosen : names).map((name) =>
    fs.readFileSync(path.join(folder, name), 'utf8').replaceAll('\r\n', '\n'),
  )
}
