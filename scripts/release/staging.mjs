// Lays out what is published, a folder for each package, and packs it.
//
// The manifest in the clone is not the published one: the platforms' packages cannot be in it, since a lock file can
// hold no package that is not on the registry yet, and what only developers need has no business in an installation.

import fs from 'node:fs'
import path from 'node:path'
import { turnLinks } from '../lib/links.mjs'
import { root } from '../lib/run.mjs'
import { llms } from '../../site/llms.mjs'
import { TARGETS, addonFile } from './targets.mjs'

/** What users' tools read; everything else of the clone's manifest is for developers. */
const PUBLISHED = [
  ...['name', 'version', 'description', 'keywords', 'license', 'author', 'repository'],
  ...['type', 'main', 'types', 'exports', 'imports', 'bin', 'files', 'engines'],
]

/** @param {string} file @returns {any} */
const readJson = (file) => JSON.parse(fs.readFileSync(path.join(root, file), 'utf8'))

/** The clone's manifest, completed by what is known only where it is packed. */
function rootManifest() {
  const manifest = readJson('package.json')
  // A provenance statement is refused unless the manifest names the repository that it is made in.
  const { GITHUB_SERVER_URL: host, GITHUB_REPOSITORY: name } = process.env
  if (manifest.repository === undefined && host && name) {
    manifest.repository = { type: 'git', url: `git+${host}/${name}.git` }
  }
  return manifest
}

/** The manifest that the main package is published with. */
export function mainManifest() {
  const manifest = rootManifest()
  const names = Object.values(TARGETS).map(({ name }) => `${manifest.name}-${name}`)
  return {
    ...Object.fromEntries(PUBLISHED.map((key) => [key, manifest[key]])),
    optionalDependencies: Object.fromEntries(names.map((name) => [name, manifest.version])),
  }
}

/**
 * @param {string} folder Where the package is laid out; made anew.
 * @returns {string} The same folder.
 */
export function stageMain(folder) {
  const { files } = rootManifest()
  const tops = files.map(
    (/** @type {string} */ pattern) => pattern.replace(/^\//, '').split('/')[0],
  )
  layOut(folder, mainManifest(), new Set([...tops, 'README.md', 'LICENSE']))
  // Generated, and not published.
  fs.rmSync(path.join(folder, 'docs/api'), { recursive: true, force: true })
  turnPages(folder)
  return folder
}

/**
 * Makes the links of the pages right where the package is all there is: to a file that is not in it they lead to the repository, or are
 * plain text when that is not known.
 * @param {string} folder
 */
function turnPages(folder) {
  const { repository } = rootManifest()
  const address = repository?.url.replace(/^git\+/, '').replace(/\.git$/, '')
  const isIn = (/** @type {string} */ file) =>
    !file.startsWith('..') && !file.endsWith('.png') && fs.existsSync(path.join(folder, file))
  const pages = /** @type {string[]} */ (
    fs.readdirSync(path.join(folder, 'docs'), { recursive: true })
  )
    .map((name) => path.posix.join('docs', name.replaceAll(path.sep, '/')))
    .filter((name) => name.endsWith('.md'))
  for (const page of [...pages, 'README.md', 'CHANGELOG.md']) {
    const file = path.join(folder, page)
    const text = turnLinks(fs.readFileSync(file, 'utf8'), (link) => {
      const target = path.posix.join(path.posix.dirname(page), link.target)
      if (isIn(target)) return link.whole
      if (address === undefined || link.isPicture) return link.label
      return `[${link.label}](${address}/blob/main/${target}${link.anchor})`
    })
    fs.writeFileSync(file, text)
  }
  const text = llms(root, (file) => (isIn(file) ? file : undefined))
  fs.writeFileSync(path.join(folder, 'llms.txt'), text)
}

/**
 * @param {string} folder Where the package is laid out; made anew.
 * @param {string} triple
 * @param {string} addon The addon's file.
 * @returns {string} The same folder.
 */
export function stagePlatform(folder, triple, addon) {
  const target = /** @type {import('./targets.mjs').Target} */ (TARGETS[triple])
  const manifest = readJson(`npm/${target.name}/package.json`)
  const { repository } = rootManifest()
  layOut(folder, { ...manifest, ...(repository && { repository }) }, ['LICENSE'])
  fs.copyFileSync(path.join(root, 'npm', target.name, 'README.md'), path.join(folder, 'README.md'))
  fs.copyFileSync(addon, path.join(folder, addonFile(target)))
  return folder
}

/**
 * @param {string} folder @param {object} manifest
 * @param {Iterable<string>} entries Files and folders of the clone.
 */
function layOut(folder, manifest, entries) {
  fs.rmSync(folder, { recursive: true, force: true })
  fs.mkdirSync(folder, { recursive: true })
  fs.writeFileSync(path.join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`)
  for (const entry of entries) {
    fs.cpSync(path.join(root, entry), path.join(folder, entry), { recursive: true })
  }
  return folder
}
