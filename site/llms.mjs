// Makes llms.txt: what a program that writes programs has to know of this package, and where the pages are.

import fs from 'node:fs'
import path from 'node:path'
import { SECTIONS } from './structure.mjs'

/**
 * @param {string} root The project's folder.
 * @param {(file: string) => string | undefined} address Where a page is, by its file; `undefined` leaves it out.
 */
export function llms(root, address = (file) => file) {
  const head = fs.readFileSync(path.join(root, 'site/llms.md'), 'utf8').trimEnd()
  const lists = SECTIONS.filter(({ text }) => text !== 'The project').map(({ text, pages }) => {
    const lines = pages
      .filter(({ file }) => fs.existsSync(path.join(root, file)))
      .map((page) => ({ text: page.text, at: address(page.file) }))
      .filter(({ at }) => at !== undefined)
      .map((page) => `- [${page.text}](${page.at})`)
    return lines.length === 0 ? [] : [`## ${text}\n\n${lines.join('\n')}`]
  })
  return `${[head, ...lists.flat()].join('\n\n')}\n`
}
