// Judges a value that was read and given back: by the text that the server writes of it.

/** What became of a value, from the best to the worst. */
export const OUTCOMES = ['exact', 'rounded', 'wrong', 'refused'] as const

/**
 * - `exact`: the server writes the same text.
 * - `rounded`: it writes another one, but for digits that a number or a `Date` has no room for, the sign of a zero, or the lower
 *   bounds of an array.
 * - `wrong`: it is another value.
 * - `refused`: the client or the server refused it, when it was read or when it was given back.
 */
export type Outcome = (typeof OUTCOMES)[number]

const BOUNDS = /^(\[-?\d+:-?\d+\])+=/
const NUMBER = /-?\d+(?:\.\d+)?(?:e[+-]?\d+)?/gi

/** Judges the text that the server wrote of a value that was given back. */
export function judge(expected: string | null, got: string | null): Exclude<Outcome, 'refused'> {
  if (got === expected) return 'exact'
  if (got === null || expected === null) return 'wrong'
  const [theirs, ours] = [expected, got].map((text) => text.replace(BOUNDS, '')) as [string, string]
  // What is left without the numbers, which tells more than digits were lost.
  if (theirs.replaceAll(NUMBER, '#') !== ours.replaceAll(NUMBER, '#')) return 'wrong'
  const before = [...theirs.matchAll(NUMBER)]
  const after = [...ours.matchAll(NUMBER)]
  const isClose = before.every((match, index) => {
    // The seconds of a time of day, of which a `Date` keeps three digits.
    const isSeconds = theirs[match.index - 1] === ':'
    const [was, is] = [Number(match[0]), Number(after[index]![0])]
    return Math.abs(was - is) <= (isSeconds ? 0.001 : Math.abs(was) * Number.EPSILON)
  })
  return isClose ? 'rounded' : 'wrong'
}
