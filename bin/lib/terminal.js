// @ts-check
// Text that a server sent, made harmless for a terminal.
'use strict'

/**
 * What drives a terminal or deceives its reader: control characters (C0, DEL, C1), marks that turn the direction of text, line
 * separators, and halves of surrogate pairs.
 */
const UNSAFE =
  // oxlint-disable-next-line no-control-regex
  /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g

/** The short forms of the escapes that everybody knows. @type {Record<string, string>} */
const SHORT = { '\n': '\\n', '\r': '\\r', '\t': '\\t', '\b': '\\b', '\f': '\\f' }

/** @param {string} character */
const escaped = (character) =>
  SHORT[character] ?? `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`

/**
 * The text on one line, with escapes in the place of what is unsafe on a terminal.
 * @param {string} text
 */
const visible = (text) => text.replaceAll(UNSAFE, escaped)

/**
 * JSON on one line that is safe on a terminal too: the escapes mean the same to whoever reads the JSON.
 * @param {unknown} value
 */
const jsonLine = (value) => visible(JSON.stringify(value))

/**
 * JSON on several lines, for people too, each of them as safe.
 * @param {unknown} value
 * @param {(key: string, value: unknown) => unknown} [replacer]
 */
const jsonText = (value, replacer) =>
  JSON.stringify(value, replacer, 2).split('\n').map(visible).join('\n')

/** Text styles of a terminal. @param {boolean} isTerminal */
function styles(isTerminal) {
  const use = isTerminal && !process.env['NO_COLOR'] && process.env['TERM'] !== 'dumb'
  /** @param {number} code */
  const style = (code) => (/** @type {string} */ text) =>
    use ? `\u001b[${code}m${text}\u001b[0m` : text
  return { bold: style(1), dim: style(2), red: style(31), green: style(32), yellow: style(33) }
}

module.exports = { visible, jsonLine, jsonText, styles }
