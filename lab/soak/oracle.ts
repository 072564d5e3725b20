// The referee of a run under faults: compares what consumers saw with the table of what was committed.

import type { Gap } from 'pglisten'

/** A number of a writer, as one number: what a consumer saw is kept by the million. */
export const NUMBERS_PER_WRITER = 1e9
export const keyOf = (writer: number, number: number) => writer * NUMBERS_PER_WRITER + number
const writerOf = (key: number) => Math.floor(key / NUMBERS_PER_WRITER)

/** What a consumer saw, in its order: keys of notifications, and gaps. */
export type Seen = readonly (number | Gap)[]

/** A transaction: the numbers it wrote and notified, and when its COMMIT was sent and known to be over. */
export interface Commit {
  writer: number
  from: number
  to: number
  sentAt: number
  overAt: number
}

/** What the table holds, by writer, and the time of each commit. */
export class Ledger {
  readonly #numbers: ReadonlyMap<number, readonly number[]>
  readonly #commits = new Map<number, Commit[]>()
  readonly #keys = new Set<number>()

  /** @param numbers - Each writer's numbers, as they are in the table, rising. */
  constructor(numbers: ReadonlyMap<number, readonly number[]>, commits: readonly Commit[]) {
    this.#numbers = numbers
    for (const commit of commits) {
      const own = this.#commits.get(commit.writer)
      if (own === undefined) this.#commits.set(commit.writer, [commit])
      else own.push(commit)
    }
    for (const [writer, own] of numbers) {
      for (const number of own) this.#keys.add(keyOf(writer, number))
    }
  }

  get size(): number {
    return this.#keys.size
  }

  get writers(): IterableIterator<number> {
    return this.#numbers.keys()
  }

  has(key: number): boolean {
    return this.#keys.has(key)
  }

  numbersOf(writer: number): readonly number[] {
    return this.#numbers.get(writer) ?? []
  }

  /** A writer commits one transaction after the other, so its commits are in the order of their numbers. */
  commitOf(writer: number, number: number): Commit | undefined {
    const own = this.#commits.get(writer) ?? []
    let low = 0
    let high = own.length - 1
    while (low <= high) {
      const middle = (low + high) >> 1
      const commit = own[middle]!
      if (number < commit.from) high = middle - 1
      else if (number > commit.to) low = middle + 1
      else return commit
    }
    return undefined
  }
}

/** What a consumer's stream is worth. Every text in `violations` is a broken promise. */
export interface Verdict {
  delivered: number
  lostInsideGaps: number
  lostOutsideGaps: number
  duplicates: number
  outOfOrder: number
  disconnectGaps: number
  overflowGaps: number
  dropped: number
  violations: string[]
}

/**
 * Holds a consumer's stream against the ledger: what is missing stands between the last notification of its writer
 * that came and the next one, so a gap must stand there too, and its interval must meet the commit.
 */
export function judge(name: string, seen: Seen, ledger: Ledger): Verdict {
  const verdict: Verdict = {
    delivered: 0,
    lostInsideGaps: 0,
    lostOutsideGaps: 0,
    duplicates: 0,
    outOfOrder: 0,
    disconnectGaps: 0,
    overflowGaps: 0,
    dropped: 0,
    violations: [],
  }
  const violation = (text: string) => verdict.violations.push(`${name}: ${text}`)
  const gaps = seen.filter((item) => typeof item !== 'number')
  const losses = new Losses()
  /** How many of the missing can only be an overflow's, and how many might be. */
  let certain = 0
  let possible = 0

  const missing = (writer: number, number: number, between: readonly Gap[]) => {
    const commit = ledger.commitOf(writer, number)
    const { sentAt, overAt } = commit ?? { sentAt: -Infinity, overAt: Infinity }
    const covering = between.filter(
      ({ lostAt, resumedAt }) => lostAt.getTime() <= overAt && sentAt <= resumedAt.getTime(),
    )
    if (covering.length > 0) verdict.lostInsideGaps += 1
    else {
      verdict.lostOutsideGaps += 1
      losses.add(writer, number, [sentAt, overAt], between)
    }
    if (between.some(isOverflow)) {
      possible += 1
      if (between.every(isOverflow)) certain += 1
    }
  }

  /** For each writer: the index of its next number in the ledger, and the gaps before its last notification. */
  const places = new Map([...ledger.writers].map((writer) => [writer, { next: 0, gaps: 0 }]))
  const delivered = new Set<number>()
  let gapsSeen = 0
  for (const item of seen) {
    if (typeof item !== 'number') {
      gapsSeen += 1
      if (!isOverflow(item)) verdict.disconnectGaps += 1
      else {
        verdict.overflowGaps += 1
        verdict.dropped += item.dropped ?? 0
      }
      continue
    }
    const writer = writerOf(item)
    const number = item % NUMBERS_PER_WRITER
    if (delivered.has(item)) {
      verdict.duplicates += 1
      violation(`number ${number} of writer ${writer} came twice`)
      continue
    }
    delivered.add(item)
    if (!ledger.has(item)) {
      violation(`number ${number} of writer ${writer} came, and was never committed`)
      continue
    }
    verdict.delivered += 1
    const own = ledger.numbersOf(writer)
    const place = places.get(writer)!
    if (number < (own[place.next] ?? Infinity)) {
      verdict.outOfOrder += 1
      violation(`number ${number} of writer ${writer} came after a later one`)
      continue
    }
    for (; own[place.next]! < number; place.next += 1) {
      missing(writer, own[place.next]!, gaps.slice(place.gaps, gapsSeen))
    }
    place.next += 1
    place.gaps = gapsSeen
  }
  for (const [writer, place] of places) {
    const own = ledger.numbersOf(writer)
    for (; place.next < own.length; place.next += 1) {
      missing(writer, own[place.next]!, gaps.slice(place.gaps))
    }
  }
  for (const loss of losses) violation(loss)
  if (verdict.dropped < certain || verdict.dropped > possible) {
    violation(
      `overflow gaps count ${verdict.dropped}, but ${certain} to ${possible} are missing there`,
    )
  }
  checkChain(gaps, violation)
  return verdict
}

/** What no gap covers, with neighbours told together. */
class Losses {
  readonly #runs: {
    writer: number
    from: number
    to: number
    within: [number, number]
    between: readonly Gap[]
  }[] = []

  add(writer: number, number: number, within: [number, number], between: readonly Gap[]): void {
    const last = this.#runs.at(-1)
    if (last?.writer === writer && last.to === number - 1 && last.between[0] === between[0]) {
      last.to = number
      last.within[1] = within[1]
    } else {
      this.#runs.push({ writer, from: number, to: number, within: [...within], between })
    }
  }

  *[Symbol.iterator](): Generator<string> {
    for (const { writer, from, to, within, between } of this.#runs) {
      const what =
        `numbers ${from} to ${to} of writer ${writer}, committed within ` +
        `${within.map(time).join(' … ')}, are missing`
      if (between.length === 0) yield `${what}, and there is no gap at their place`
      else yield `${what}, outside the gaps at their place: ${between.map(interval).join(', ')}`
    }
  }
}

/** Each lost session is followed by the next: no break is left out or told twice. */
function checkChain(gaps: readonly Gap[], violation: (text: string) => void): void {
  let last: Gap | undefined
  for (const gap of gaps) {
    if (gap.lostAt > gap.resumedAt) violation(`a gap ends before it begins: ${interval(gap)}`)
    if (isOverflow(gap)) continue
    if (last !== undefined && last.newProcessId !== gap.oldProcessId) {
      violation(
        `a gap into session ${last.newProcessId} is followed by one out of session ${gap.oldProcessId}`,
      )
    }
    last = gap
  }
}

/**
 * Holds two consumers of one listener against each other: the same breaks, and between them the same notifications.
 * Where one dropped, the other's notifications give the exact count, at the exact place.
 */
export function compare(
  names: readonly [string, string],
  streams: readonly [Seen, Seen],
): { violations: string[]; overflowsCompared: number } {
  const violations: string[] = []
  const violation = (text: string) =>
    violations.push(`${names[0]} and ${names[1]} disagree: ${text}`)
  let overflowsCompared = 0
  const [left, right] = [segments(streams[0]), segments(streams[1])]
  if (left.length !== right.length) {
    violation(`${left.length - 1} breaks here, ${right.length - 1} there`)
    return { violations, overflowsCompared }
  }
  for (const [index, one] of left.entries()) {
    const other = right[index]!
    if (one.end?.newProcessId !== other.end?.newProcessId) violation(`break ${index + 1} differs`)
    const whole = [one, other].find(({ items }) => items.every((item) => typeof item === 'number'))
    // Both dropped: neither can tell of the other.
    if (whole === undefined) continue
    const partial = whole === one ? other : one
    overflowsCompared += partial.items.filter((item) => typeof item !== 'number').length
    const problem = misplaced(whole.items as readonly number[], partial.items)
    if (problem !== undefined) violation(`before break ${index + 1}: ${problem}`)
  }
  return { violations, overflowsCompared }
}

/** The first place where `partial` is not `whole` without exactly what its gaps say. */
function misplaced(whole: readonly number[], partial: Seen): string | undefined {
  let at = 0
  let dropped = 0
  for (const item of partial) {
    if (typeof item !== 'number') {
      dropped += item.dropped ?? 0
      continue
    }
    at += dropped
    dropped = 0
    if (whole[at] !== item) {
      return `number ${item} at a place where ${whole[at] ?? 'nothing'} is due`
    }
    at += 1
  }
  const rest = whole.length - at
  return rest === dropped ? undefined : `${rest} missing at the end, and ${dropped} told of`
}

/** A stream cut at its lost sessions. */
function segments(seen: Seen): { items: (number | Gap)[]; end: Gap | undefined }[] {
  const parts: { items: (number | Gap)[]; end: Gap | undefined }[] = [{ items: [], end: undefined }]
  for (const item of seen) {
    const last = parts.at(-1)!
    if (typeof item === 'number' || isOverflow(item)) last.items.push(item)
    else {
      last.end = item
      parts.push({ items: [], end: undefined })
    }
  }
  return parts
}

const isOverflow = (gap: Gap) => gap.reason === 'overflow'
const time = (ms: number) => (Number.isFinite(ms) ? new Date(ms).toISOString().slice(14, 23) : '?')
const interval = ({ reason, lostAt, resumedAt }: Gap) =>
  `${reason} ${time(lostAt.getTime())} … ${time(resumedAt.getTime())}`
