// The values that the clients are compared by: those of every built-in type, and arrays of them.

import { TEXTS, literal, quotedType } from './samples.js'

/** A value that is read and given back. */
export interface Case {
  /** What the table calls it. */
  label: string
  /** The type that it is cast to, as SQL has it. */
  type: string
  /** The expression that selects it. */
  expression: string
}

/** A type, and values of it. */
export interface TypeCases {
  /** What the table calls it. */
  name: string
  type: string
  values: Case[]
  /** Arrays of some of the values, if the type has arrays. */
  arrays: (values: readonly Case[]) => Case[]
}

/** Types that a database has of its own, by what the table calls them. {@link CREATE_TYPES} makes them. */
const OWN: Record<string, { type: string; texts: string[] }> = {
  'a composite type': { type: 'side_pair', texts: ['(1.50,"a ""b"" \\\\,c")', '(,)', '(,"")'] },
  'a domain over `int4`': { type: 'side_age', texts: ['7'] },
  'an enum': { type: 'side_mood', texts: ['ok', 'light blue'] },
}

/** The statements that make the types of the table that no server has. */
export const CREATE_TYPES = `
  CREATE TYPE side_pair AS (amount numeric, label text);
  CREATE DOMAIN side_age AS int4;
  CREATE TYPE side_mood AS ENUM ('ok', 'light blue')`

/** Arrays with other lower bounds than 1. */
const BOUNDED = {
  name: 'array with other lower bounds than 1',
  type: 'int4[]',
  texts: ['[2:4]={1,2,3}', '[0:0]={7}', '[2:3][-1:0]={{1,2},{3,4}}'],
}

/** What PostgreSQL reads from version 17 on. */
const NEWER: Record<string, string[]> = { interval: ['infinity', '-infinity'] }

/** The types of the table, in its order. */
export const TYPES: TypeCases[] = [
  ...Object.entries(TEXTS).map(([name, texts]) => {
    const type = quotedType(name)
    return typeCases(`\`${type}\``, type, [...texts, ...(NEWER[name] ?? [])])
  }),
  ...Object.entries(OWN).map(([name, { type, texts }]) => typeCases(name, type, texts)),
  { ...typeCases(BOUNDED.name, BOUNDED.type, BOUNDED.texts), arrays: () => [] },
]

function typeCases(name: string, type: string, texts: string[]): TypeCases {
  const values = texts.map((text) => ({
    label: text === '' ? 'the empty text' : `\`${text}\``,
    type,
    expression: `${literal(text)}::${type}`,
  }))
  return { name, type, values, arrays: (some) => arraysOf(type, some) }
}

/** Arrays of values of a type: of one and of two dimensions, with and without `NULL`, and the empty one. */
function arraysOf(type: string, values: readonly Case[]): Case[] {
  const array = `${type}[]`
  const list = values.map(({ expression }) => expression)
  const joined = list.join()
  return [
    { label: 'flat', expression: `ARRAY[${joined}]` },
    { label: 'with `NULL`', expression: `ARRAY[${joined},NULL]::${array}` },
    { label: 'of two dimensions', expression: `ARRAY[[${joined}],[${list.toReversed().join()}]]` },
    { label: 'the empty array', expression: `'{}'::${array}` },
  ].map(({ label, expression }) => ({ label, expression, type: array }))
}
