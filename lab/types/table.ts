// The comparison of the clients as the section of docs/types.md that it is published in.

import { readFileSync } from 'node:fs'
import { format, resolveConfig } from 'prettier'
import { OUTCOMES } from './outcome.js'
import type { Cell, Finding, Row } from './side-by-side.js'

const START = '<!-- written by `npm run types` -->'
const END = '<!-- until here -->'
const COLUMNS = ['pglisten', '`pg`', '`postgres`']
const FILE = 'docs/types.md'

/** The page with another section; formatted, as the rest of the page is. */
export async function withSection(page: string, rows: readonly Row[]): Promise<string> {
  const [start, end] = [page.indexOf(START), page.indexOf(END)]
  if (start === -1 || end < start) throw new Error(`${FILE} has no place for the table`)
  const text = `${page.slice(0, start)}${START}\n\n${section(rows)}\n\n${page.slice(end)}`
  return format(text, { ...(await resolveConfig(FILE)), parser: 'markdown' })
}

function section(rows: readonly Row[]): string {
  return [
    `\`pg\` is ${versionOf('pg')}, \`postgres\` is ${versionOf('postgres')}; each as it is without options.`,
    '',
    ...table('PostgreSQL', rows, 'values'),
    '',
    'And arrays of these: of one and of two dimensions, with and without `NULL`, and the empty one.',
    '',
    ...table('array of', rows, 'arrays'),
    '',
    ...totals(rows),
  ].join('\n')
}

/** The version of a development dependency, which the manifest names exactly. */
const versionOf = (name: string) => {
  const manifest = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  const { devDependencies } = JSON.parse(manifest) as { devDependencies: Record<string, string> }
  return devDependencies[name]
}

/** A line for each group of types that all clients treat alike. */
function table(heading: string, rows: readonly Row[], part: keyof Cell): string[] {
  const groups = new Map<string, string[]>()
  for (const { name, cells } of rows) {
    if (cells[COLUMNS[0]!]![part].length === 0) continue
    const line = COLUMNS.map((column) => inWords(cells[column]![part])).join(' | ')
    groups.set(line, [...(groups.get(line) ?? []), name])
  }
  return [
    `| ${heading} | ${COLUMNS.join(' | ')} |`,
    '| --- | --- | --- | --- |',
    ...[...groups].map(([line, names]) => `| ${names.join(', ')} | ${line} |`),
  ]
}

/** What a client reads, and what becomes of it. What most values have in common comes first. */
function inWords(findings: readonly Finding[]): string {
  const [kind, ...others] = new Set(findings.flatMap(({ kind }) => kind))
  const said =
    kind === 'array' && others.length > 0
      ? `array of ${others.join(' or ')}`
      : [kind, ...others].join(' or ')
  const fates = new Map<string, string[]>()
  for (const finding of findings) {
    const fate = fateOf(finding)
    fates.set(fate, [...(fates.get(fate) ?? []), finding.label.replaceAll('|', String.raw`\|`)])
  }
  // Of most arrays the empty one alone is exact, which says nothing.
  if (fates.get('exact')?.join() === 'the empty array') fates.delete('exact')
  if (fates.size === 1) return `${said}: ${[...fates.keys()].join()}`
  const isExact = fates.delete('exact')
  const parts = [...fates].map(([fate, labels]) => `${labels.join(', ')} ${fate}`)
  return `${said}: ${isExact ? 'exact, but ' : ''}${parts.join('; ')}`
}

function fateOf({ outcome, way, elsewhere, form }: Finding): string {
  return [
    outcome,
    ...(way === undefined ? [] : [`by ${way}`]),
    ...(form === undefined ? [] : [`(exact with ${form})`]),
    ...(elsewhere === undefined ? [] : [`(${elsewhere} outside UTC)`]),
  ].join(' ')
}

function totals(rows: readonly Row[]): string[] {
  const clients = Object.keys(rows[0]!.cells)
  const line = (client: string, part: keyof Cell) => {
    const findings = rows.flatMap(({ cells }) => cells[client]![part])
    const counts = OUTCOMES.map(
      (wanted) => findings.filter(({ outcome }) => outcome === wanted).length,
    )
    return `| ${client} | ${findings.length} ${part} | ${counts.join(' | ')} |`
  }
  return [
    `| | of | ${OUTCOMES.join(' | ')} |`,
    '| --- | --- | --- | --- | --- | --- |',
    ...clients.flatMap((client) => [line(client, 'values'), line(client, 'arrays')]),
  ]
}
