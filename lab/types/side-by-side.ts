// Every type with three clients: what each reads, and whether that is the same value when it is given back.

import { isDeepStrictEqual } from 'node:util'
import { BoundedArray, connect } from 'pglisten'
import { CREATE_TYPES, TYPES, type Case } from './cases.js'
import { FORMS, NODE_POSTGRES, POSTGRES_JS, pglisten, type Client, type Reader } from './clients.js'
import { OUTCOMES, judge, type Outcome } from './outcome.js'

/** What became of one value in one client. */
export interface Finding {
  label: string
  /** What it is in JavaScript: one word, or that it is an array, and what its elements are. */
  kind: string[]
  outcome: Outcome
  /** How it was given back, if not as a plain parameter. */
  way?: string | undefined
  /** What became of it where the time zone of the process is not UTC, if that is something else. */
  elsewhere?: Outcome | undefined
  /** The form of pglisten that brings it back exactly, when the usual one does not. */
  form?: string | undefined
  /** The text that the server wrote, or the error. */
  detail: string
}

/** What a client does with a type. */
export interface Cell {
  values: Finding[]
  arrays: Finding[]
}

/** What all clients do with a type. */
export interface Row {
  name: string
  /** By the name of the client. */
  cells: Record<string, Cell>
}

const USUAL = pglisten('pglisten')
const LOSSLESS = pglisten(
  'pglisten, forms without loss',
  Object.assign({}, ...Object.values(FORMS)),
)

/** The clients, in the order of the table. */
export const CLIENTS: readonly Client[] = [USUAL, LOSSLESS, NODE_POSTGRES, POSTGRES_JS]

/** A time zone that is not UTC, and has summer time. */
const ELSEWHERE = 'America/New_York'
const OF_TIME = /^"?(date|time|ts)(?!vector|query)/

/** Reads and gives back each value with each client, in a database that is empty before. */
export async function sideBySide(dsn: string): Promise<Row[]> {
  await using connection = await connect({ dsn })
  await connection.executeBatch(CREATE_TYPES)
  const reference = await USUAL.open(dsn)
  const texts = new Map<string, Promise<string>>()
  const textOf: TextOf = (sql) => {
    const known = texts.get(sql) ?? (reference.read(`SELECT ${sql}`) as Promise<string>)
    texts.set(sql, known)
    return known
  }
  const rows: Row[] = TYPES.map(({ name }) => ({ name, cells: {} }))
  try {
    for (const client of CLIENTS) {
      const reader = await client.open(dsn)
      const run = (types: Cases[]) => runAll(reader, textOf, types)
      const values = await inZone('UTC', () => run(TYPES.map((type) => type.values)))
      const held = TYPES.map((type, index) => type.arrays(whatIsHeld(type.values, values[index]!)))
      const arrays = await inZone('UTC', () => run(held))
      // The time zone of the process matters only to what has a time in it.
      const ofTime = (cases: Cases[]) =>
        cases.map((some, index) => (OF_TIME.test(TYPES[index]!.type) ? some : []))
      await inZone(ELSEWHERE, async () => {
        addElsewhere(values, await run(ofTime(TYPES.map((type) => type.values))))
        addElsewhere(arrays, await run(ofTime(held)))
      })
      rows.forEach(({ cells }, index) => {
        cells[client.name] = { values: values[index]!, arrays: arrays[index]! }
      })
      await reader.close()
    }
    await findForms(rows, dsn, textOf)
  } finally {
    await reference.close()
  }
  return rows
}

/** The text that the server writes of an expression. */
type TextOf = (expression: string) => Promise<string>

type Cases = readonly Case[]

async function runAll(reader: Reader, textOf: TextOf, types: Cases[]): Promise<Finding[][]> {
  const all: Finding[][] = []
  for (const cases of types) {
    const findings: Finding[] = []
    for (const one of cases) findings.push(await find(reader, textOf, one))
    all.push(findings)
  }
  return all
}

/** The values that a client can hold, or all if it holds none: arrays of them tell of arrays, and not of values once more. */
function whatIsHeld(cases: Cases, findings: Finding[]): Cases {
  const held = cases.filter((_, index) => /exact|rounded/.test(findings[index]!.outcome))
  return held.length > 0 ? held : cases
}

function addElsewhere(here: Finding[][], elsewhere: Finding[][]): void {
  elsewhere.forEach((findings, index) =>
    findings.forEach(({ outcome }, at) => {
      const finding = here[index]![at]!
      if (outcome !== finding.outcome) finding.elsewhere = outcome
    }),
  )
}

/** Looks for the form of pglisten that keeps what the usual one has lost. */
async function findForms(rows: Row[], dsn: string, textOf: TextOf): Promise<void> {
  for (const [words, types] of Object.entries(FORMS)) {
    const reader = await pglisten(words, types).open(dsn)
    for (const [index, { cells }] of rows.entries()) {
      const { values, arrays } = TYPES[index]!
      const { [USUAL.name]: cell } = cells
      for (const [part, cases] of [
        ['values', values],
        ['arrays', arrays(values)],
      ] as const) {
        for (const [at, finding] of cell![part].entries()) {
          if (finding.outcome === 'exact' || finding.form !== undefined) continue
          const { outcome } = await find(reader, textOf, cases[at]!)
          if (outcome === 'exact') finding.form = words
        }
      }
    }
    await reader.close()
  }
}

/** Runs `work` in another time zone of the process. */
async function inZone<Value>(zone: string, work: () => Promise<Value>): Promise<Value> {
  const before = process.env['TZ']
  process.env['TZ'] = zone
  try {
    return await work()
  } finally {
    if (before === undefined) delete process.env['TZ']
    else process.env['TZ'] = before
  }
}

/** The text of an expression. Of JSON it is that of jsonb, so that blanks and the order of keys do not count. */
const asText = (expression: string, type: string) =>
  /^json\b/.test(type)
    ? `(${expression})::${type.replace('json', 'jsonb')}::text`
    : `(${expression})::text`

async function find(reader: Reader, textOf: TextOf, one: Case): Promise<Finding> {
  const { label, type, expression } = one
  const expected = await textOf(asText(expression, type))
  let value: unknown
  try {
    value = await reader.read(`SELECT ${expression}`)
  } catch (error) {
    return { label, kind: [], outcome: 'refused', detail: String(error) }
  }
  const kind = IS_JSON.test(type) ? kindOfJson(value, type, expected) : kindOf(value)
  // The best of the ways that the client has.
  let best: Finding | undefined
  for (const { name: way, types, run } of reader.write) {
    if (types !== undefined && !types.test(type)) continue
    let outcome: Outcome
    let said: string
    try {
      const got = await run(`SELECT ${asText(`$1::${type}`, type)}`, value, type)
      outcome = judge(expected, got)
      said = String(got)
    } catch (error) {
      outcome = 'refused'
      said = String(error)
    }
    if (best === undefined || OUTCOMES.indexOf(outcome) < OUTCOMES.indexOf(best.outcome)) {
      best = { label, kind, outcome, way, detail: `${said}, for ${expected}` }
    }
    if (outcome === 'exact') break
  }
  return best!
}

const IS_JSON = /^jsonb?\b/

/** JSON is what `JSON.parse` returns, and not what that happens to be. */
function kindOfJson(value: unknown, type: string, text: string): string[] {
  const isArray = Array.isArray(value) || value instanceof BoundedArray
  if (type.endsWith('[]') && isArray) return ['array', 'JSON value']
  return isDeepStrictEqual(value, JSON.parse(text)) ? ['JSON value'] : kindOf(value)
}

/** What a value is, in words. */
function kindOf(value: unknown): string[] {
  if (value === null) return ['`null`']
  if (typeof value !== 'object') return [typeof value]
  if (value instanceof Date) return [Number.isNaN(value.getTime()) ? 'invalid `Date`' : '`Date`']
  if (Array.isArray(value)) {
    const elements = value.flat(Infinity).filter((element) => element !== null)
    return ['array', ...new Set(elements.flatMap((element) => kindOf(element)))]
  }
  const name = (Object.getPrototypeOf(value) as object | null)?.constructor?.name
  if (name !== undefined && name !== 'Object') return [`\`${name}\``]
  return [`\`{ ${Object.keys(value).join(', ')} }\``]
}
