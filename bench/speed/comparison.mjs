// How two builds are compared: by the ratios of runs that were made as pairs, one run of each build right after the other.
// A ratio above 1 always means that this build is worse. Everything here is arithmetic.

/**
 * @typedef {object} Interval
 * @property {number} median
 * @property {number} low
 * @property {number} high
 * @property {number} coverage How probable it is that the true median lies from `low` to `high`; 0 without an interval.
 *
 * @typedef {'slower' | 'not slower' | 'too few' | 'unsteady' | 'told only'} Verdict
 *
 * @typedef {Interval & { measure: string, pairs: number, verdict: Verdict }} Comparison
 */

export const CONFIDENCE = 0.95
/** Fewer pairs give an interval that is too wide to judge a build by. */
export const PAIRS_TO_JUDGE = 15
/** A build is slower when the whole interval of a ratio lies above this. */
export const TOLERANCE = 1.03
/** Undisturbed numbers of instructions repeat almost exactly, so that they are judged without an interval. */
export const INSTRUCTIONS_TOLERANCE = 1.02
/** Two runs of one build agree on their instructions when they are no farther apart than this. */
const REPEATS_WITHIN = 1.01

/** Measures that are better when they are higher. */
const RATES = new Set(['perSecond'])
/** The extremes of a run, and what is not about time: too rough, or not meant, to call a build slower by. */
const TOLD_ONLY = new Set(['delayMs', 'p999Us', 'peakMb', 'heldMb'])

/**
 * The ratios of all pairs in which both runs have the measure.
 * @param {string} measure @param {readonly (number | null | undefined)[]} ours @param {readonly (number | null | undefined)[]} theirs
 */
export function ratios(measure, ours, theirs) {
  if (ours.length !== theirs.length) {
    throw new RangeError(`Expected pairs, got ${ours.length} and ${theirs.length} runs`)
  }
  return ours.flatMap((our, index) => {
    const their = theirs[index]
    // Without a positive figure on both sides there is no ratio: the system did not tell, or the memory shrank.
    if (our == null || their == null || !(our > 0) || !(their > 0)) return []
    return [RATES.has(measure) ? their / our : our / their]
  })
}

/**
 * The median of some ratios, and the interval between two of them, equally far from both ends, that holds the true
 * median with at least 95 % probability. That probability is exact whatever the ratios' distribution is: each ratio is
 * below the true median as often as a coin falls heads. Of few ratios, the interval is from the least to the most.
 * @param {readonly number[]} values @returns {Interval}
 */
export function interval(values) {
  if (values.length === 0) throw new RangeError('Expected at least one ratio, got none')
  const sorted = [...values].sort((a, b) => a - b)
  const at = (/** @type {number} */ index) => sorted[index] ?? Number.NaN
  const last = sorted.length - 1
  const skipped = skippedAtEachEnd(sorted.length)
  return {
    // The geometric mean of both middle ones: swapping the builds gives the reciprocal.
    median: last % 2 === 0 ? at(last / 2) : Math.sqrt(at((last - 1) / 2) * at((last + 1) / 2)),
    low: at(skipped),
    high: at(last - skipped),
    coverage: coverage(sorted.length, skipped),
  }
}

/** The most values that can be left out at each end while the interval still has the confidence. @param {number} count */
function skippedAtEachEnd(count) {
  let skipped = 0
  while (2 * (skipped + 1) < count && coverage(count, skipped + 1) >= CONFIDENCE) skipped += 1
  return skipped
}

/** @param {number} count @param {number} skipped At each end. */
function coverage(count, skipped) {
  // How probable it is that a coin falls heads at most `skipped` times of `count`.
  let term = 0.5 ** count
  let tail = 0
  for (let heads = 0; heads <= skipped; heads += 1) {
    tail += term
    term *= (count - heads) / (heads + 1)
  }
  return Math.max(0, 1 - 2 * tail)
}

/**
 * The ratio of two builds' instructions; `undefined` when one of the builds has no count that repeats. A machine that is busy
 * disturbs a count either way: code that is not compiled yet takes more instructions, and a stall in the middle looks like
 * a wait, which cuts the count in two. A count that two runs agree on was not disturbed.
 * @param {readonly (number | null | undefined)[]} ours @param {readonly (number | null | undefined)[]} theirs
 * @returns {Interval | undefined}
 */
function ratioOfRepeated(ours, theirs) {
  const [our, their] = [repeated(ours), repeated(theirs)]
  if (our === undefined || their === undefined) return undefined
  const ratio = our / their
  return { median: ratio, low: ratio, high: ratio, coverage: 0 }
}

/** The least count to which the next higher one is close. @param {readonly (number | null | undefined)[]} counts */
function repeated(counts) {
  const sorted = counts.filter((count) => count != null).sort((a, b) => a - b)
  return sorted.find((count, index) => (sorted[index + 1] ?? Infinity) <= count * REPEATS_WITHIN)
}

/** @param {string} measure @param {Interval} interval @param {number} pairs @returns {Verdict} */
export function verdict(measure, { low, median }, pairs) {
  if (TOLD_ONLY.has(measure)) return 'told only'
  if (measure === 'instructions') {
    return median > INSTRUCTIONS_TOLERANCE ? 'slower' : 'not slower'
  }
  if (pairs < PAIRS_TO_JUDGE) return 'too few'
  return low > TOLERANCE ? 'slower' : 'not slower'
}

/**
 * Compares two builds in one case, in every measure that both have.
 * @param {readonly import('./statistics.mjs').Measures[]} ours @param {readonly import('./statistics.mjs').Measures[]} theirs
 * @returns {Comparison[]}
 */
export function compare(ours, theirs) {
  const names = Object.keys(ours[0] ?? {})
  return names.flatMap((measure) => {
    const of = (/** @type {readonly import('./statistics.mjs').Measures[]} */ runs) =>
      runs.map((run) => run[measure])
    const found = ratios(measure, of(ours), of(theirs))
    if (found.length === 0) return []
    const common = { measure, pairs: found.length }
    if (measure === 'instructions') {
      const ratio = ratioOfRepeated(of(ours), of(theirs))
      return ratio
        ? [{ ...common, ...ratio, verdict: verdict(measure, ratio, found.length) }]
        : [{ ...common, ...interval(found), verdict: 'unsteady' }]
    }
    const range = interval(found)
    return [{ ...common, ...range, verdict: verdict(measure, range, found.length) }]
  })
}
