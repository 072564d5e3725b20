// Checks the built site: every link within it leads to a page that is there, and every anchor to an element with that id.

import fs from 'node:fs'
import path from 'node:path'

/**
 * @param {string} folder The built site.
 * @param {string} base The path below which it is served, with a slash at both ends.
 * @returns {{ pages: number, links: number, problems: string[] }}
 */
export function checkLinks(folder, base) {
  const names = /** @type {string[]} */ (fs.readdirSync(folder, { recursive: true }))
    .map((name) => name.replaceAll(path.sep, '/'))
    .filter((name) => name.endsWith('.html'))
  const pages = new Map(
    names.map((name) => [name, fs.readFileSync(path.join(folder, name), 'utf8')]),
  )
  const ids = new Map(
    [...pages].map(([name, html]) => [
      name,
      new Set([...html.matchAll(/\sid="([^"]+)"/g)].map((it) => it[1])),
    ]),
  )
  /** @type {string[]} */
  const problems = []
  let links = 0
  for (const [name, html] of pages) {
    for (const [, attribute = '', raw = ''] of html.matchAll(/\s(href|src)="([^"]+)"/g)) {
      const target = raw.replaceAll('&amp;', '&')
      if (/^([a-z]+:|\/\/)/i.test(target)) continue
      links += 1
      const url = new URL(target, `http://site${base}${name}`)
      if (!url.pathname.startsWith(base)) {
        problems.push(`${name}: ${attribute} ${target} is outside of ${base}`)
        continue
      }
      const file = fileOf(decodeURIComponent(url.pathname.slice(base.length)))
      if (!fs.existsSync(path.join(folder, file))) problems.push(`${name}: ${target} is not there`)
      else if (url.hash !== '' && !ids.get(file)?.has(decodeURIComponent(url.hash.slice(1))))
        problems.push(`${name}: ${target} has no such section`)
    }
  }
  return { pages: pages.size, links, problems: [...new Set(problems)] }
}

/** @param {string} pathname */
function fileOf(pathname) {
  if (pathname === '' || pathname.endsWith('/')) return `${pathname}index.html`
  return /\.[a-z\d]+$/i.test(pathname) ? pathname : `${pathname}.html`
}
