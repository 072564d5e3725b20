// Lays out a payload that is JSON, token by token. Nothing is parsed into values: numbers of any length stay as they were sent.

/** Beyond this depth lines are not indented any further: a payload of 8,000 brackets would become megabytes. */
const MAX_INDENT = 12
const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g

/** @typedef {{ text: string, kind: 'plain' | 'key' | 'string' | 'number' | 'word' }} Part */

/** @param {string} text @returns {Part[] | null} The parts in their order; `null` for what is no object or array in JSON. */
export function layOut(text) {
  if (!/^\s*[{[]/.test(text) || !isJson(text)) return null
  /** @type {Part[]} */
  const parts = []
  let depth = 0
  const plain = (/** @type {string} */ piece) => parts.push({ text: piece, kind: 'plain' })
  const line = () => plain(`\n${'  '.repeat(Math.min(depth, MAX_INDENT))}`)
  const tokens = text.match(TOKEN) ?? []
  for (const [index, token] of tokens.entries()) {
    const next = tokens[index + 1]
    if (token === '{' || token === '[') {
      plain(token)
      depth += 1
      if (next !== '}' && next !== ']') line()
    } else if (token === '}' || token === ']') {
      depth -= 1
      if (tokens[index - 1] !== '{' && tokens[index - 1] !== '[') line()
      plain(token)
    } else if (token === ',') {
      plain(token)
      line()
    } else if (token === ':') plain(': ')
    else parts.push({ text: token, kind: kindOf(token, next) })
  }
  return parts
}

/** @param {string} token @param {string | undefined} next */
function kindOf(token, next) {
  if (token.startsWith('"')) return next === ':' ? 'key' : 'string'
  return /^[-\d]/.test(token) ? 'number' : 'word'
}

/** @param {string} text */
function isJson(text) {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}
