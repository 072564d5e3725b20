// What a listener missed of a table that one writer filled in the order of its numbers, and whether its gaps cover that.

import type { Gap } from 'pglisten'
import type { Attempt } from './cluster-writer.js'

/** A gap, of a listener or of a relay. */
export type GapLike = Pick<Gap, 'lostAt' | 'resumedAt' | 'message'>

export interface Judgement {
  missing: number
  /** Of the missing: in no gap at their place whose time is that of the commit. */
  outside: readonly number[]
  /** The gaps, each with the numbers that were heard before and after it. */
  places: readonly string[]
  gaps: number
  twice: number
  disordered: number
}

/** See the file. `rows`: the numbers in the table. */
export function judge(
  seen: readonly (number | GapLike)[],
  rows: readonly number[],
  attempts: readonly Attempt[],
): Judgement {
  const numbers = seen.filter((item) => typeof item === 'number')
  const heard = new Set(numbers)
  const times = new Map(attempts.map((attempt) => [attempt.n, attempt]))
  const gaps = seen.flatMap((item, index) => {
    if (typeof item === 'number') return []
    const before = seen.slice(0, index).filter((it) => typeof it === 'number')
    const after = seen.slice(index).find((it) => typeof it === 'number')
    return { gap: item, from: Math.max(0, ...before), to: after ?? Infinity }
  })
  const isCovered = (n: number) => {
    const { sentAt, overAt } = times.get(n)!
    return gaps.some(
      ({ gap, from, to }) =>
        from < n && n < to && gap.lostAt.getTime() <= overAt && sentAt <= gap.resumedAt.getTime(),
    )
  }
  const missing = rows.filter((n) => !heard.has(n))
  return {
    missing: missing.length,
    outside: missing.filter((n) => !isCovered(n)),
    places: gaps.map(
      ({ gap: { lostAt, resumedAt, message }, from, to }) =>
        `${from} to ${to}, ${lostAt.toISOString()} to ${resumedAt.toISOString()}: ${message}`,
    ),
    gaps: gaps.length,
    twice: numbers.length - heard.size,
    disordered: numbers.filter((n, index) => index > 0 && n < numbers[index - 1]!).length,
  }
}
