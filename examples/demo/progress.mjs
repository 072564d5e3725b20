// The live line while the demo runs: rewritten in place on a terminal, one plain line a second elsewhere.

const TERMINAL_MS = 100
const PLAIN_MS = 1000

/** @typedef {{ sent: number, callback: number, iterator: number, buffered: number }} Figures */

/** @param {number} value */
export const number = (value) => Math.round(value).toLocaleString('en-US')

/**
 * @param {() => Figures} read
 * @returns {() => void} Ends it, after a last line; may be called again.
 */
export function showProgress(read) {
  const inPlace = process.stdout.isTTY
  const started = performance.now()
  let last = { time: started, received: 0 }

  const print = () => {
    const now = performance.now()
    const { sent, callback, iterator, buffered } = read()
    const received = callback + iterator
    const rate = ((received - last.received) / Math.max(1, now - last.time)) * 1000
    last = { time: now, received }
    const line =
      `${((now - started) / 1000).toFixed(1).padStart(6)} s   sent ${number(sent)}` +
      `   received ${number(callback)} + ${number(iterator)}   ${number(rate)}/s` +
      `   buffered ${number(buffered)}`
    process.stdout.write(inPlace ? `\r\u001B[2K${line}` : `${line}\n`)
  }
  const timer = setInterval(print, inPlace ? TERMINAL_MS : PLAIN_MS)
  let ended = false
  return () => {
    if (ended) return
    ended = true
    clearInterval(timer)
    print()
    if (inPlace) process.stdout.write('\n')
  }
}
