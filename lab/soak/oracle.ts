// The referee of a run under faults: compares what consumers saw with the table of what was committed.

import type { Gap } from 'pglisten'

/** A number of a writer, as one number: what a consumer saw is kept by the million. */
export const NUMBERS_PER_WRITER = 1e9
export const keyOf = (writer: number, number: number) => writer * NUMBERS_PER_WRITER + number
const writerOf = (key: number) => Math.floor(key / NUMBERS_PER_WRITER)

/** What a consumer saw, in its order: keys of notifications, and gaps. */
export type Seen = Iterable<number | Gap>

/** A transaction: the numbers it wrote and notified, and when its COMMIT was sent and known to be over. */
export interface Commit {
  writer: number
  from: number
  to: number
  sentAt: number
  overAt: number
}

/** Numbers that have to come in their order: rising, and all of one writer. */
export interface Lane {
  writer: number
  numbers: readonly number[]
}

/** What a stream is held against. */
export interface Due {
  readonly lanes: ReadonlyMap<number, Lane>
  /** The key of the lane that a number belongs to. */
  laneOf: (writer: number, number: number) => number
  commitOf: (writer: number, number: number) => Commit | undefined
}

/** A part of the ledger: a number is on the channel that its remainder says. */
export interface Part {
  /** How many channels there are. */
  of: number
  /** The channels that were listened to. */
  channels: ReadonlySet<number>
  /** Whether only what came by one channel has an order. */
  orderedByChannel: boolean
}

/** What the table holds, by writer, and the time of each commit. */
export class Ledger implements Due {
  readonly lanes: ReadonlyMap<number, Lane>
  readonly size: number
  readonly #commits = new Map<number, Commit[]>()

  /** @param numbers - Each writer's numbers, as they are in the table, rising. */
  constructor(numbers: ReadonlyMap<number, readonly number[]>, commits: readonly Commit[]) {
    this.lanes = new Map(
      [...numbers].map(([writer, own]) => [writer, { writer, numbers: own }] as const),
    )
    this.size = [...numbers.values()].reduce((sum, own) => sum + own.length, 0)
    for (const commit of commits) {
      const own = this.#commits.get(commit.writer)
      if (own === undefined) this.#commits.set(commit.writer, [commit])
      else own.push(commit)
    }
  }

  laneOf(writer: number): number {
    return writer
  }

  /** A writer commits one transaction after the other, so its commits are in the order of their numbers. */
  commitOf(writer: number, number: number): Commit | undefined {
    const own = this.#commits.get(writer) ?? []
    const commit = own[firstIndex(own, ({ to }) => to >= number)]
    return commit !== undefined && commit.from <= number ? commit : undefined
  }

  /** What a consumer of some channels has to hear. */
  part({ of, channels, orderedByChannel }: Part): Due {
    const lanes = new Map<number, Lane>()
    const laneOf = (writer: number, number: number) =>
      orderedByChannel ? writer * of + (number % of) : writer
    for (const { writer, numbers } of this.lanes.values()) {
      const parts = orderedByChannel
        ? [...channels].map((channel) => new Set([channel]))
        : [channels]
      for (const part of parts) {
        const own = numbers.filter((number) => part.has(number % of))
        if (own.length > 0) lanes.set(laneOf(writer, own[0]!), { writer, numbers: own })
      }
    }
    return { lanes, laneOf, commitOf: (writer, number) => this.commitOf(writer, number) }
  }
}

/** The index of the first item that the condition holds for, as it does for all after it. */
function firstIndex<Item>(items: readonly Item[], holds: (item: Item) => boolean): number {
  let low = 0
  let high = items.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (holds(items[middle]!)) high = middle
    else low = middle + 1
  }
  return low
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

/** When a consumer listened, and what else may be in its stream. */
export interface Terms {
  /** What was sent to be committed later is due. */
  since?: number
  /** What was committed before is due; what comes later may come. */
  until?: number
  /** How often the listener may have moved to another session without a gap. */
  moves?: number
}

/** How far a lane has come. */
interface Place {
  lane: Lane
  /** Which numbers came. */
  came: Uint8Array
  /** The index of the next number; `undefined` before the first. */
  next: number | undefined
  /** How many gaps stood before the last notification. */
  gaps: number
}

/** The counts of a stream without anything in it. */
export const NOTHING_SEEN: Omit<Verdict, 'violations'> = {
  delivered: 0,
  lostInsideGaps: 0,
  lostOutsideGaps: 0,
  duplicates: 0,
  outOfOrder: 0,
  disconnectGaps: 0,
  overflowGaps: 0,
  dropped: 0,
}

/**
 * Holds a consumer's stream against the ledger: what is missing stands between the last notification of its lane
 * that came and the next one, so a gap must stand there too, and its interval must meet the commit.
 */
export function judge(
  name: string,
  seen: Seen,
  due: Due,
  { since = -Infinity, until = Infinity, moves = 0 }: Terms = {},
): Verdict {
  const verdict: Verdict = { ...NOTHING_SEEN, violations: [] }
  const violation = (text: string) => verdict.violations.push(`${name}: ${text}`)
  const gaps: Gap[] = []
  const losses = new Losses()
  /** How many of the missing can only be an overflow's, and how many might be. */
  let certain = 0
  let possible = 0

  /** The numbers with these indices are missing, and the gaps from that index on stand at their place. */
  const missing = ({ writer, numbers }: Lane, from: number, to: number, fromGap: number) => {
    if (from >= to) return
    const between = gaps.slice(fromGap)
    const overflows = between.filter(isOverflow).length
    if (overflows > 0) possible += to - from
    if (overflows > 0 && overflows === between.length) certain += to - from
    for (let index = from; index < to; index += 1) {
      const number = numbers[index]!
      const { sentAt, overAt } = due.commitOf(writer, number) ?? ALWAYS
      const isCovered = between.some(
        ({ lostAt, resumedAt }) => lostAt.getTime() <= overAt && sentAt <= resumedAt.getTime(),
      )
      if (isCovered) verdict.lostInsideGaps += 1
      else {
        verdict.lostOutsideGaps += 1
        losses.add(writer, number, [sentAt, overAt], between)
      }
    }
  }
  /** These may be missing, and may have been dropped. */
  const excused = (from: number, to: number, fromGap: number) => {
    if (from < to && gaps.slice(fromGap).some(isOverflow)) possible += to - from
  }
  const firstDue = ({ writer, numbers }: Lane) =>
    firstIndex(numbers, (number) => (due.commitOf(writer, number) ?? ALWAYS).sentAt > since)
  const firstNotDue = ({ writer, numbers }: Lane) =>
    firstIndex(numbers, (number) => (due.commitOf(writer, number) ?? ALWAYS).overAt >= until)

  const places = new Map<number, Place>()
  for (const [key, lane] of due.lanes) {
    const came = new Uint8Array(lane.numbers.length)
    places.set(key, { lane, came, next: undefined, gaps: 0 })
  }
  for (const item of seen) {
    if (typeof item !== 'number') {
      gaps.push(item)
      if (!isOverflow(item)) verdict.disconnectGaps += 1
      else {
        verdict.overflowGaps += 1
        verdict.dropped += item.dropped ?? 0
      }
      continue
    }
    const writer = writerOf(item)
    const number = item % NUMBERS_PER_WRITER
    const place = places.get(due.laneOf(writer, number))
    const numbers = place?.lane.numbers ?? []
    const index =
      place?.next !== undefined && numbers[place.next] === number
        ? place.next
        : firstIndex(numbers, (one) => one >= number)
    if (place === undefined || numbers[index] !== number) {
      violation(`number ${number} of writer ${writer} came, and was never committed`)
      continue
    }
    if (place.came[index] === 1) {
      verdict.duplicates += 1
      violation(`number ${number} of writer ${writer} came twice`)
      continue
    }
    place.came[index] = 1
    verdict.delivered += 1
    if (place.next === undefined) {
      const first = Math.min(index, firstDue(place.lane))
      excused(0, first, 0)
      missing(place.lane, first, index, 0)
    } else if (index < place.next) {
      verdict.outOfOrder += 1
      violation(`number ${number} of writer ${writer} came after a later one`)
      continue
    } else missing(place.lane, place.next, index, place.gaps)
    place.next = index + 1
    place.gaps = gaps.length
  }
  for (const { lane, next, gaps: fromGap } of places.values()) {
    const from = next ?? firstDue(lane)
    const to = Math.max(from, firstNotDue(lane))
    if (next === undefined) excused(0, from, 0)
    missing(lane, from, to, fromGap)
    excused(to, lane.numbers.length, fromGap)
  }
  for (const loss of losses) violation(loss)
  if (verdict.dropped < certain || verdict.dropped > possible) {
    violation(
      `overflow gaps count ${verdict.dropped}, but ${certain} to ${possible} are missing there`,
    )
  }
  checkChain(gaps, moves, violation)
  return verdict
}

/** Of a commit that nobody knows of. */
const ALWAYS = { sentAt: -Infinity, overAt: Infinity }

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

/** Each lost session is followed by the next, but for moves: no break is left out or told twice. */
function checkChain(gaps: readonly Gap[], moves: number, violation: (text: string) => void): void {
  let last: Gap | undefined
  let movesLeft = moves
  for (const gap of gaps) {
    if (gap.lostAt > gap.resumedAt) violation(`a gap ends before it begins: ${interval(gap)}`)
    if (isOverflow(gap)) continue
    if (last !== undefined && last.newProcessId !== gap.oldProcessId) {
      if (movesLeft === 0) {
        violation(
          `a gap into session ${last.newProcessId} is followed by one out of session ${gap.oldProcessId}`,
        )
      } else movesLeft -= 1
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
function misplaced(
  whole: readonly number[],
  partial: readonly (number | Gap)[],
): string | undefined {
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
export function segments(seen: Seen): { items: (number | Gap)[]; end: Gap | undefined }[] {
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
