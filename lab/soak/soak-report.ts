// A soak's outcome in words.

import type { CrowdReport } from './crowd.js'
import { FAULT_NAMES } from './soak-faults.js'
import type { SoakReport, Strike } from './soak.js'

const MAX_VIOLATIONS = 20

/** The value that this share of the values does not exceed. */
function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

const isNumber = (value: number | undefined): value is number => value !== undefined
const ms = (value: number | undefined) => (value === undefined ? '–' : `${value.toFixed(0)} ms`)
const pad = (cells: readonly string[], widths: readonly number[]) =>
  cells.map((cell, index) => cell.padEnd(widths[index] ?? 0)).join('  ')

export const strikeLine = ({ name, noticedMs, recoveredMs }: Strike, count: number) =>
  `${String(count).padStart(4)}  ${name.padEnd(24)} noticed after ${ms(noticedMs).padStart(8)}, recovered after ${ms(recoveredMs).padStart(8)}`

function timesOf(strikes: readonly Strike[]): string[] {
  const columns = [strikes.map((it) => it.noticedMs), strikes.map((it) => it.recoveredMs)]
  return columns.flatMap((column) => {
    const values = column.filter(isNumber)
    if (values.length === 0) return ['–', '–']
    return [ms(percentile(values, 0.5)), ms(percentile(values, 1))]
  })
}

function crowdLines({ verdict: it, ...crowd }: CrowdReport): string[] {
  return [
    `crowd: ${crowd.listeners} listeners of the same session, ${crowd.streams} streams of which ${crowd.whole} were ` +
      `there all the time, ${crowd.moves} moves to a session of one's own`,
    `crowd: delivered ${it.delivered}, gaps ${it.disconnectGaps} of lost sessions and ${it.overflowGaps} of overflows ` +
      `(${it.dropped} dropped), lost inside gaps ${it.lostInsideGaps}, lost outside ${it.lostOutsideGaps}, ` +
      `duplicates ${it.duplicates}, out of order ${it.outOfOrder}`,
  ]
}

export function reportLines(report: SoakReport): string[] {
  const { strikes, verdicts, violations } = report
  const widths = [24, 6, 14, 12, 15, 12]
  const kinds = FAULT_NAMES.filter((name) => strikes.some((strike) => strike.name === name))
  const lines = [
    pad(['fault', 'times', 'noticed p50', 'at most', 'recovered p50', 'at most'], widths),
    ...kinds.map((name) => {
      const own = strikes.filter((strike) => strike.name === name)
      return pad([name, String(own.length), ...timesOf(own)], widths)
    }),
    pad(['all', String(strikes.length), ...timesOf(strikes)], widths),
    '',
    `${strikes.length} faults of ${kinds.length} kinds, ${report.reconnects} sessions lost, ` +
      `${report.committed} notifications committed`,
  ]
  for (const [name, it] of verdicts) {
    lines.push(
      `${name.padEnd(9)} delivered ${it.delivered}, gaps ${it.disconnectGaps} of lost sessions and ` +
        `${it.overflowGaps} of overflows (${it.dropped} dropped), lost inside gaps ${it.lostInsideGaps}, ` +
        `lost outside ${it.lostOutsideGaps}, duplicates ${it.duplicates}, out of order ${it.outOfOrder}`,
    )
  }
  for (const [name, it] of report.selected) {
    lines.push(
      `${name.padEnd(9)} delivered ${it.delivered} of what it asked for, ${it.merged} merged into later ones, in ` +
        `${it.compared} parts that a whole stream confirms`,
    )
  }
  const { asked } = report
  lines.push(
    `callbacks asked on their connection: ${asked.answered} answered, the longest after ` +
      `${ms(asked.longestAnswerMs)} (${asked.gapsAnswered} in gap callbacks); ${asked.failed} failed, ` +
      `the longest after ${ms(asked.longestFailureMs)}`,
    ...crowdLines(report.crowd),
    `${report.overflowsCompared} overflow gaps have the count and the place that another consumer confirms`,
    ...violations.slice(0, MAX_VIOLATIONS),
  )
  if (violations.length > MAX_VIOLATIONS) {
    lines.push(`… and ${violations.length - MAX_VIOLATIONS} more`)
  }
  lines.push(
    violations.length === 0
      ? 'Every promise was kept.'
      : `${violations.length} broken promises, see above.`,
  )
  return lines
}
