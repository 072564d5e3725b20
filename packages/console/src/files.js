// The files of the page, read once. Nothing else of the disk can be asked for.

import { readFileSync, readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'

const PAGE = new URL('../page/', import.meta.url)
/** @type {{ [extension: string]: string }} */
const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
}
/** The chart library, served from where it is installed. */
const CHARTS = { '/uplot.js': 'uplot/dist/uPlot.esm.js', '/uplot.css': 'uplot/dist/uPlot.min.css' }

/** @typedef {{ type: string, body: Buffer }} File */

/** @returns {Map<string, File>} The files by the path of their URL. */
export function readFiles() {
  /** @type {Map<string, File>} */
  const files = new Map()
  for (const name of readdirSync(PAGE)) {
    const type = TYPES[path.extname(name)]
    if (type === undefined) continue
    const body = readFileSync(new URL(name, PAGE))
    files.set(name === 'index.html' ? '/' : `/${name}`, { type, body })
  }
  const { resolve } = createRequire(import.meta.url)
  for (const [url, name] of Object.entries(CHARTS)) {
    const type = /** @type {string} */ (TYPES[path.extname(url)])
    files.set(url, { type, body: readFileSync(resolve(name)) })
  }
  return files
}
