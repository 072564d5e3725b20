// Holds what a program came to here against what it came to with psqlpy.

import { isDeepStrictEqual } from 'node:util'
import type { Canonical } from './canonical.js'
import type { Difference } from './differences.js'

/** What a program noted, by label. */
export type Notes = Record<string, Canonical>

/** What a program came to in this build. */
export interface Outcome {
  notes: Notes
  /** What this build lacks, when the rest of the program could not run. */
  lacks?: string
}

export interface Comparison {
  same: string[]
  different: string[]
  pending: string[]
  /** What is wrong, in words. */
  wrong: string[]
}

export function compare(
  theirs: Notes,
  ours: Outcome,
  differences: Record<string, Difference> = {},
): Comparison {
  const result: Comparison = { same: [], different: [], pending: [], wrong: [] }
  const labels = new Set([
    ...Object.keys(theirs),
    ...Object.keys(ours.notes),
    ...Object.keys(differences),
  ])
  for (const label of labels) {
    const [expected, got] = [theirs[label], ours.notes[label]]
    const difference = differences[label]
    if (expected === undefined) {
      result.wrong.push(`${label}: psqlpy's program does not have it`)
    } else if (got === undefined) {
      if (ours.lacks !== undefined) result.pending.push(label)
      else result.wrong.push(`${label}: this program does not have it`)
    } else if (difference === undefined) {
      if (isDeepStrictEqual(expected, got)) result.same.push(label)
      else result.wrong.push(`${label}: psqlpy ${text(expected)}, pglisten ${text(got)}`)
    } else if (
      isDeepStrictEqual(expected, difference.psqlpy) &&
      isDeepStrictEqual(got, difference.pglisten)
    ) {
      result.different.push(label)
    } else {
      const meant = `psqlpy ${text(difference.psqlpy)}, pglisten ${text(difference.pglisten)}`
      const found = `psqlpy ${text(expected)}, pglisten ${text(got)}`
      result.wrong.push(`${label}: was to differ as ${meant}, but came to ${found}`)
    }
  }
  return result
}

const text = (value: Canonical) => JSON.stringify(value)
