// The README's first example, and what the README says that it prints.

import fs from 'node:fs'

/**
 * @typedef {object} Example
 * @property {string} source An ES module.
 * @property {string} commonjs The same with `require`, which allows no `await` outside of functions.
 * @property {string} output
 *
 * @param {string} file @returns {Example}
 */
export function exampleOf(file) {
  const readme = fs.readFileSync(file, 'utf8')
  const block = (/** @type {string} */ language) => {
    const found = new RegExp(`^\`\`\`${language}\\b.*?\\n(.*?)^\`\`\`$`, 'ms').exec(readme)?.[1]
    if (found === undefined) throw new Error(`Expected a block of ${language} in ${file}`)
    return found
  }
  const source = block('js')
  /** @type {string[]} */
  const imports = []
  const body = source.replaceAll(
    /^import (\{.*\}) from ('.*')$/gm,
    (_, /** @type {string} */ names, /** @type {string} */ from) => {
      imports.push(`const ${names} = require(${from})`)
      return ''
    },
  )
  if (imports.length === 0) throw new Error(`Expected the first example of ${file} to import`)
  const commonjs = `${imports.join('\n')}\nasync function main() {${body}}\nvoid main()\n`
  return { source, commonjs, output: block('text') }
}

/** Process ids differ from run to run. @param {string} text */
export const withoutIds = (text) => text.replaceAll(/backend \d+/g, 'backend N').trim()
