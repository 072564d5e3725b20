// Links of Markdown pages: changes each of them, but for those in blocks of code.

const FENCE = /^( *)(`{3,})[^\n]*\n.*?^\1\2[ \t]*$/gms
const LINK = /(!?)\[((?:[^[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)/g

/**
 * @typedef {object} Link
 * @property {string} whole As it is written.
 * @property {boolean} isPicture
 * @property {string} label
 * @property {string} target The path that it leads to, from the page's folder, without the anchor.
 * @property {string} anchor With its `#`, or empty.
 */

/**
 * @param {string} text
 * @param {(link: Link) => string} turn Gives what stands in the place of a link. It is not asked about links to other sites, and to
 * sections of the page itself.
 */
export function turnLinks(text, turn) {
  return outsideCode(text, (part) =>
    part.replaceAll(LINK, (whole, mark, label, to) => {
      if (/^([a-z]+:|#)/.test(to)) return whole
      const [target = '', anchor] = to.split('#')
      const link = { whole, label, target, anchor: anchor === undefined ? '' : `#${anchor}` }
      return turn({ ...link, isPicture: mark === '!' })
    }),
  )
}

/**
 * Gives the text between blocks of code to `turn`.
 * @param {string} text
 * @param {(part: string) => string} turn
 */
function outsideCode(text, turn) {
  let result = ''
  let last = 0
  for (const match of text.matchAll(FENCE)) {
    result += turn(text.slice(last, match.index)) + match[0]
    last = match.index + match[0].length
  }
  return result + turn(text.slice(last))
}
