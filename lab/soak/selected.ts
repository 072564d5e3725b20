// The referee of consumers that filter or coalesce: holds them against a consumer of the same listener that saw everything.

import type { Gap } from 'pglisten'
import { type Seen, segments } from './oracle.js'

/** What a consumer asked for. */
export interface Selected {
  /** Whether its filter lets a notification pass. */
  passes: (key: number) => boolean
  /** The channel of a notification, if the newest of each channel is enough for it. */
  channelOf?: (key: number) => number
}

/** What came of it. Every text in `violations` is a broken promise. */
export interface SelectedVerdict {
  violations: string[]
  /** How many parts between two breaks could be compared, because nothing was dropped in them. */
  compared: number
  delivered: number
  /** Notifications in those parts that were merged into a later one of their channel. */
  merged: number
}

/** Holds what a consumer saw against what another one saw that had no wishes. */
export function judgeSelected(
  name: string,
  whole: Seen,
  seen: Seen,
  { passes, channelOf }: Selected,
): SelectedVerdict {
  const verdict: SelectedVerdict = { violations: [], compared: 0, delivered: 0, merged: 0 }
  const violation = (text: string) => verdict.violations.push(`${name}: ${text}`)
  const [due, came] = [segments(whole), segments(seen)]
  if (due.length !== came.length) {
    violation(`${came.length - 1} breaks, but ${due.length - 1} for the others`)
    return verdict
  }
  for (const [index, { items, end }] of came.entries()) {
    const other = due[index]!
    if (end?.newProcessId !== other.end?.newProcessId) violation(`break ${index + 1} differs`)
    if (!isWhole(items) || !isWhole(other.items)) continue
    const numbers = other.items.filter(passes)
    const problem = channelOf
      ? wronglyMerged(numbers, items, channelOf)
      : firstDifference(numbers, items)
    if (problem !== undefined) violation(`before break ${index + 1}: ${problem}`)
    verdict.compared += 1
    verdict.delivered += items.length
    verdict.merged += numbers.length - items.length
  }
  return verdict
}

/** Whether nothing was dropped. */
const isWhole = (items: readonly (number | Gap)[]): items is number[] =>
  items.every((item) => typeof item === 'number')

function firstDifference(due: readonly number[], came: readonly number[]): string | undefined {
  const length = Math.max(due.length, came.length)
  for (let at = 0; at < length; at += 1) {
    if (due[at] !== came[at])
      return `${came[at] ?? 'nothing'} at a place where ${due[at] ?? 'nothing'} is due`
  }
  return undefined
}

/**
 * The first problem of a stream in which a notification may stand for those of its channel that came since the last one,
 * at the place of the first of them. The newest of each channel has to come.
 */
function wronglyMerged(
  due: readonly number[],
  came: readonly number[],
  channelOf: (key: number) => number,
): string | undefined {
  const byChannel = new Map<number, { key: number; place: number }[]>()
  for (const [place, key] of due.entries()) {
    const channel = channelOf(key)
    const lane = byChannel.get(channel) ?? []
    byChannel.set(channel, lane)
    lane.push({ key, place })
  }
  let last = -1
  for (const key of came) {
    const lane = byChannel.get(channelOf(key)) ?? []
    const at = lane.findIndex((one) => one.key === key)
    if (at < 0) return `${key} came, out of its channel's order or from nowhere`
    const { place } = lane[0]!
    if (place < last) return `${key} came behind what was first notified after it`
    last = place
    lane.splice(0, at + 1)
  }
  const left = [...byChannel.values()].find((lane) => lane.length > 0)
  return left && `${left.at(-1)!.key}, the newest of its channel, never came`
}
