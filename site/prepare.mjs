// Lays out what VitePress reads: the project's Markdown with its links turned from files into pages, and the pictures.

import fs from 'node:fs'
import path from 'node:path'
import { turnLinks } from '../scripts/lib/links.mjs'
import { SECTIONS, pageOf } from './structure.mjs'

/**
 * @param {object} options
 * @param {string} options.root The project's folder.
 * @param {string} options.folder Where the pages go; made anew.
 * @param {string} [options.repository] The address of the repository, for links to what is no page.
 * @returns {{ pages: number, unlinked: string[] }} How many pages there are, and the links that became plain text, because what
 * they lead to is no page and no repository is known.
 */
export function prepare({ root, folder, repository }) {
  fs.rmSync(folder, { recursive: true, force: true })
  const files = SECTIONS.flatMap(({ pages }) => pages.map(({ file }) => file))
    .filter((file) => fs.existsSync(path.join(root, file)))
    .concat('README.md')
  /** @type {string[]} */
  const unlinked = []
  for (const file of files) {
    const page = /** @type {string} */ (pageOf(file))
    const text = fs.readFileSync(path.join(root, file), 'utf8').replaceAll(/<!--.*?-->/gs, '')
    const turned = turnLinks(text, ({ isPicture, label, target, anchor }) => {
      const linked = path.posix.join(path.posix.dirname(file), target)
      if (isPicture) {
        copy(path.join(root, linked), path.join(folder, 'pictures', path.basename(linked)))
        return `![${label}](${relative(page, `pictures/${path.basename(linked)}`)})`
      }
      const to = pageOf(linked)
      if (to !== undefined && fs.existsSync(path.join(root, linked)))
        return `[${label}](${relative(page, to)}.md${anchor})`
      if (repository !== undefined) return `[${label}](${repository}/blob/main/${linked}${anchor})`
      unlinked.push(`${file}: ${target}${anchor}`)
      return label
    })
    const edit = repository === undefined ? 'false' : `${repository}/edit/main/${file}`
    const front = page === 'index' ? home(root) : ''
    const body = page === 'index' ? turned.replace(/^# .*\n/, '') : withoutContents(turned)
    write(path.join(folder, `${page}.md`), `---\n${front}edit: ${edit}\n---\n\n${body}`)
  }
  return { pages: files.length, unlinked }
}

/**
 * Without the list of a page's own sections before the first of them, which the site shows beside the page.
 * @param {string} text
 */
function withoutContents(text) {
  const [head = '', ...sections] = text.split(/^(?=## )/m)
  return [head.replaceAll(/^- [^\n]*\]\(#[^\n]*\n(?: {2}[^\n]*\n)*/gm, ''), ...sections].join('')
}

/** @param {string} root */
const home = (root) => fs.readFileSync(path.join(root, 'site/home.yml'), 'utf8')

/** @param {string} from A page. @param {string} to A page or a picture. */
function relative(from, to) {
  const folder = path.posix.relative(path.posix.dirname(from), path.posix.dirname(to)) || '.'
  return `${folder.startsWith('.') ? '' : './'}${folder}/${path.posix.basename(to)}`
}

/** @param {string} from @param {string} to */
function copy(from, to) {
  fs.mkdirSync(path.dirname(to), { recursive: true })
  fs.copyFileSync(from, to)
}

/** @param {string} file @param {string} text */
function write(file, text) {
  fs.mkdirSync(path.dirname(file), { recursive: true })
  fs.writeFileSync(file, text)
}
