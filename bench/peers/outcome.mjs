// What a client made of a fault, in a few words, from what its application saw.

/** Sent so shortly before the end that it may still be under way. */
const UNDER_WAY_MS = 1000
/** What comes within this time after it was sent is not late. */
const IN_TIME_MS = 1000

const seconds = (/** @type {number} */ ms) => `${(ms / 1000).toFixed(1)} s`

/**
 * @param {import('./main.mjs').Seen} seen
 * @param {import('./main.mjs').Sent[]} sent
 * @param {{ goneAt: number, endAt: number, throws: boolean }} scene
 */
export function outcome(seen, sent, { goneAt, endAt, throws }) {
  if (seen.refused !== undefined) return `refused at once (\`${seen.refused}\`)`
  const told = [...new Set(seen.told.map(({ how }) => how))]
  const hint =
    told.length > 0 ? `told by ${told.map((how) => `\`${how}\``).join(', ')}` : 'not told'
  if (seen.ended !== undefined) {
    return `**the process ends** (${seen.ended.how}) after ${seconds(seen.ended.at)}; ${hint}`
  }
  const due = sent.filter(({ at }) => at >= 0 && at < endAt - UNDER_WAY_MS)
  const missing = due.filter(({ number }) => !seen.got.has(number))
  const last = due.at(-1)
  const isDeaf = last === undefined || !seen.got.has(last.number)
  if (isDeaf) {
    return `**deaf**: ${due.length - missing.length} of ${due.length} received until the end of the test, ${hint}`
  }
  const siblings = due.filter(({ number }) => !seen.second.has(number)).length
  const skipped = throws && !seen.second.has('throw')
  const sibling =
    siblings > missing.length
      ? `; the second handler misses ${siblings}`
      : skipped
        ? '; **the second handler is skipped**'
        : ''
  const late = due.filter(({ number, at }) => (seen.got.get(number) ?? 0) > at + IN_TIME_MS).length
  const lateness = late > 0 ? `, ${late} late` : ''
  if (missing.length === 0) return `all ${due.length} received${lateness}, ${hint}${sibling}`
  // The first one in time after the last that is missing: from there on all is well.
  const lastMissing = missing.at(-1)?.at ?? 0
  const back = due.find(({ at }) => at > lastMissing)?.at ?? lastMissing
  const after =
    back > goneAt ? `${seconds(back - goneAt)} after the end of the fault` : 'before its end'
  const when = goneAt > 0 ? after : `after ${seconds(back)}`
  return `back ${when}, ${missing.length} lost, ${hint}${lateness}${sibling}`
}
