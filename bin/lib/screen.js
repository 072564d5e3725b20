// @ts-check
// A terminal's screen that is drawn anew again and again, and given back as it was, however the process ends.
'use strict'

const { writeSync } = require('node:fs')

const ENTER = '\u001b[?1049h\u001b[?25l'
const LEAVE = '\u001b[?25h\u001b[?1049l'
const HOME = '\u001b[H'
const CLEAR_LINE = '\u001b[K'
const CLEAR_BELOW = '\u001b[J'
const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u
const WITHOUT_WIDTH = /\p{Mn}|\p{Me}|\p{Cf}/u

/** How many columns a character takes. @param {string} character */
const widthOf = (character) => (WITHOUT_WIDTH.test(character) ? 0 : WIDE.test(character) ? 2 : 1)

/**
 * The text in exactly so many columns: cut with an ellipsis, or filled up.
 * @param {string} text Without control characters.
 * @param {number} columns
 * @param {'left' | 'right'} [side] On which side it stands.
 */
function fit(text, columns, side = 'left') {
  if (columns <= 0) return ''
  let used = 0
  let kept = ''
  for (const character of text) {
    const width = widthOf(character)
    if (used + width > columns) {
      // Room for the ellipsis.
      const characters = Array.from(kept)
      while (used > columns - 1) used -= widthOf(characters.pop() ?? '')
      kept = `${characters.join('')}…`
      used += 1
      break
    }
    used += width
    kept += character
  }
  const fill = ' '.repeat(columns - used)
  return side === 'left' ? kept + fill : fill + kept
}

/** The screen of standard output, which is a terminal. */
class Screen {
  #isEntered = false
  #draw
  #leave = () => this.leave()
  #suspend = () => {
    this.leave()
    process.once('SIGCONT', this.#resume)
    process.kill(process.pid, 'SIGSTOP')
  }
  #resume = () => {
    this.enter()
    this.#draw()
  }

  /** @param {() => void} draw Called when the screen has to be drawn for another reason than that of its owner. */
  constructor(draw) {
    this.#draw = draw
  }

  /** Takes the screen. It is given back at the end of the process, or while that is suspended. */
  enter() {
    if (this.#isEntered) return
    this.#isEntered = true
    process.on('exit', this.#leave).on('SIGTSTP', this.#suspend).on('SIGCONT', this.#resume)
    process.stdout.on('resize', this.#draw)
    this.#write(ENTER)
  }

  /** Gives the screen back. */
  leave() {
    if (!this.#isEntered) return
    this.#isEntered = false
    process.off('exit', this.#leave).off('SIGTSTP', this.#suspend).off('SIGCONT', this.#resume)
    process.stdout.off('resize', this.#draw)
    this.#write(LEAVE)
  }

  /** Draws as many of the lines as there is room for. @param {string[]} lines None is wider than the screen. */
  show(lines) {
    if (!this.#isEntered) return
    const shown = lines.slice(0, process.stdout.rows || lines.length)
    // Each line is cleared before it is written: behind its last column the cursor would clear that.
    const text = shown.map((line) => CLEAR_LINE + line).join('\n')
    const hasRoom = shown.length < process.stdout.rows
    this.#write(`${HOME}${text}${hasRoom ? `\n${CLEAR_BELOW}` : ''}`)
  }

  /** The process may end right after it, and a terminal that has gone is no loss. @param {string} text */
  #write(text) {
    try {
      writeSync(process.stdout.fd, text)
    } catch {
      this.#isEntered = false
    }
  }
}

module.exports = { Screen, fit }
