// Medians, and how sure a ratio is.

import { randomNumbers } from '../../lab/random.mjs'

/** @typedef {{ median: number, low: number, high: number }} Ratio */

const RESAMPLES = 5000
const SEED = 1
/** Left out at each end of the resampled medians: what remains are 95 %. */
const TAIL = 0.025

/** @param {readonly number[]} values */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = (sorted.length - 1) / 2
  const at = (/** @type {number} */ index) => sorted[index] ?? Number.NaN
  return (at(Math.floor(middle)) + at(Math.ceil(middle))) / 2
}

/**
 * The median of the ratios of runs of the same round, with a bootstrap interval of 95 %: rounds are drawn again and again with
 * replacement, and the interval is where the medians of these draws lie. With few rounds it is little more than from the
 * least ratio to the most.
 * @param {readonly number[]} values @param {readonly number[]} base Of the same rounds.
 * @returns {Ratio}
 */
export function ratio(values, base) {
  if (values.length !== base.length) {
    throw new RangeError(`Expected pairs, got ${values.length} and ${base.length} runs`)
  }
  const ratios = values.map((value, round) => value / (base[round] ?? Number.NaN))
  const random = randomNumbers(SEED)
  const draw = () => ratios[Math.floor(random() * ratios.length)] ?? Number.NaN
  const medians = Array.from({ length: RESAMPLES }, () => median(ratios.map(draw)))
  medians.sort((a, b) => a - b)
  const at = (/** @type {number} */ part) =>
    medians[Math.round(part * (RESAMPLES - 1))] ?? Number.NaN
  return { median: median(ratios), low: at(TAIL), high: at(1 - TAIL) }
}
