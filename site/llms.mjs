// Makes llms.txt: what a program that writes programs has to know of this package, and where the pages are.

import fs from 'node:fs'
import path from 'node:path'
import { SECTIONS } from './structure.mjs'

/**
 * @param {string} root The project's folder.
 * @param {(file: string) => string} address Where a page is, by its file.
 */
export function llms(root, address = (file) => file) {
  const head = fs.readFileSync(path.join(root, 'site/llms.md'), 'utf8').trimEnd()
  const lists = SECTIONS.filter(({ text }) => text !== 'The project').map(({ text, pages }) => {
    const lines = pages
      .filter(({ file }) => fs.existsSync(path.join(root, file)))
      .map((page) => `- [${page.text}](${address(page.file)})`)
    return `## ${text}\n\n${lines.join('\n')}`
  })
  return `${[head, ...lists].join('\n\n')}\n`
}
