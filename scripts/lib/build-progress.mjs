// Shows how far cargo has come: one line that changes on a terminal, a line every 15 seconds anywhere else.

import { stripVTControlCharacters } from 'node:util'

const LINE_EVERY_MS = 15_000
const TERMINAL_EVERY_MS = 1000
const CLEAR_LINE = '\r\u001B[2K'

/**
 * Follows a build until `end()`. A build that is over within the first interval shows nothing.
 * @param {Pick<NodeJS.WriteStream, 'write'> & { isTTY?: boolean, columns?: number }} stream
 */
export function buildProgress(stream = process.stdout) {
  const terminal = stream.isTTY === true
  const started = Date.now()
  /** @type {number | undefined} */
  let expected
  let compiled = 0
  let newest = ''
  /** The beginning of a line whose end has not come yet. */
  let rest = ''

  const show = () => {
    const seconds = Math.round((Date.now() - started) / 1000)
    const total = expected !== undefined && compiled <= expected ? ` of ${expected}` : ''
    // Cargo names the addon early, for its build script, and compiles it when all others are there.
    const name = compiled === expected ? 'pglisten' : newest
    const place = compiled === 0 ? 'no crate compiled yet' : `crate ${compiled}${total}: ${name}`
    const text = `  ${seconds} s, ${place}`
    // A line that wraps could not be taken back.
    stream.write(
      terminal ? `${CLEAR_LINE}${text.slice(0, (stream.columns || 80) - 1)}` : `${text}\n`,
    )
  }
  const timer = setInterval(show, terminal ? TERMINAL_EVERY_MS : LINE_EVERY_MS)
  timer.unref()

  return {
    /**
     * Tells how many crates there are, the addon itself among them.
     * @param {number | undefined} crates
     */
    expect(crates) {
      if (crates === undefined) return
      expected = crates
      if (terminal) stream.write(CLEAR_LINE)
      stream.write(`  ${crates} crates are compiled, pglisten last and longest\n`)
    },
    /**
     * Takes what cargo writes, in pieces of any size.
     * @param {string} chunk
     */
    read(chunk) {
      const lines = (rest + chunk).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) {
        // Cargo writes this when it begins with a crate.
        const match = /^ *Compiling (\S+) v/.exec(stripVTControlCharacters(line))
        if (match === null) continue
        compiled += 1
        newest = match[1] ?? ''
      }
    },
    end() {
      clearInterval(timer)
      if (terminal) stream.write(CLEAR_LINE)
    },
  }
}
