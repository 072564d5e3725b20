// What loading each package takes: whole processes that do nothing else, above one that does nothing at all.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

/** @typedef {import('./statistics.mjs').Measures} Measures */

const HERE = fileURLToPath(new URL('.', import.meta.url))

/** The program that loads a package, in each module format. @type {Record<string, (name: string) => string[]>} */
const FORMATS = {
  require: (name) => ['--eval', `require('${name}')`],
  import: (name) => ['--input-type=module', '--eval', `import '${name}'`],
}
/** The same without the package. @type {Record<string, string[]>} */
const EMPTY = { require: ['--eval', ''], import: ['--input-type=module', '--eval', ''] }

/** One round. @param {readonly string[]} packages @returns {Promise<Record<string, Measures>>} */
export async function loading(packages) {
  /** @type {Record<string, Measures>} */
  const round = Object.fromEntries(packages.map((name) => [name, {}]))
  for (const [format, program] of Object.entries(FORMATS)) {
    const empty = await time(EMPTY[format] ?? [])
    for (const name of packages) {
      const took = await time(program(name))
      Object.assign(round[name] ?? {}, { [`${format}Ms`]: took - empty })
    }
  }
  return round
}

/** How long a process takes, in milliseconds. @param {readonly string[]} args */
async function time(args) {
  const from = performance.now()
  const child = spawn(process.execPath, args, { cwd: HERE, stdio: 'ignore' })
  const [code] = await once(child, 'exit')
  if (code !== 0) throw new Error(`node ${args.join(' ')} ended with ${code}`)
  return performance.now() - from
}
