// The programs of an example, as sections of its page.

import fs from 'node:fs'
import path from 'node:path'

/** How the endings of files are called in blocks of code. @type {Record<string, string>} */
const LANGUAGES = {
  ...{ '.mjs': 'js', '.js': 'jsx', '.mts': 'ts', '.ts': 'ts', '.py': 'python', '.html': 'html' },
  ...{ '.yaml': 'yaml', '.prisma': 'prisma', '.txt': 'text' },
}
/** What is installed or made in an example's folder. */
const MADE = new Set(['node_modules', 'dist', 'generated', '.next'])

/**
 * @param {string} folder The example's.
 * @returns {string} Markdown: a section for each file, `main` first; empty when there is none.
 */
export function sourcesOf(folder) {
  const files = filesBelow(folder).filter((file) => languageOf(file) !== undefined)
  const isMain = (/** @type {string} */ file) => /(^|\/)main\./.test(file)
  files.sort((a, b) => Number(isMain(b)) - Number(isMain(a)))
  return files
    .map((file) => {
      const source = fs.readFileSync(path.join(folder, file), 'utf8').trimEnd()
      return `\n## ${file}\n\n\`\`\`\`${languageOf(file)}\n${source}\n\`\`\`\`\n`
    })
    .join('')
}

/** @param {string} file */
const languageOf = (file) =>
  path.basename(file) === 'Dockerfile' ? 'docker' : LANGUAGES[path.extname(file)]

/** @param {string} folder @returns {string[]} Paths from the folder, in order. */
function filesBelow(folder) {
  return fs
    .readdirSync(folder, { withFileTypes: true })
    .filter(({ name }) => !MADE.has(name))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) =>
      entry.isDirectory()
        ? filesBelow(path.join(folder, entry.name)).map((file) => `${entry.name}/${file}`)
        : [entry.name],
    )
}
