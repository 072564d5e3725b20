// Statements that are sent together.
import { ArgumentTypeError } from '../errors.js'
import { checkString, expected } from '../options/validate.js'
import { addValues, numbered, type QueryParameters } from './parameters/named.js'
import { ParameterLists } from './parameters/lists.js'
import type { ResolvedTypes } from '../options/types.js'

/** A statement of a pipeline: its text, or its text and its parameters. */
export type PipelineStatement = string | readonly [sql: string, params?: QueryParameters]

/** @internal The statements of a pipeline, as they cross to Rust. */
export interface SplitPipeline {
  /** The texts, each once. */
  readonly texts: string[]
  /** The number of the text of each statement. */
  readonly order: Uint32Array
  /** The parameters of each statement. */
  readonly params: ParameterLists
}

/** @internal Checks the statements of a pipeline. */
export function splitPipeline(statements: unknown, types: ResolvedTypes): SplitPipeline {
  if (!Array.isArray(statements))
    throw new ArgumentTypeError(expected('statements', 'an array', statements))
  const numbers = new Map<string, number>()
  const order = new Uint32Array(statements.length)
  const params = new ParameterLists()
  let index = 0
  const place = () => `statements[${index}][1]`
  for (; index < order.length; index += 1) {
    const statement: unknown = statements[index]
    const isList = Array.isArray(statement)
    const sql: unknown = isList ? statement[0] : statement
    if (typeof sql !== 'string') checkString(`statements[${index}]`, sql)
    const known = numbered(sql)
    let number = numbers.get(known.text)
    if (number === undefined) numbers.set(known.text, (number = numbers.size))
    order[index] = number
    addValues(params, known, isList ? statement[1] : undefined, types, place)
  }
  return { texts: [...numbers.keys()], order, params }
}

/** @internal The texts of a pipeline, one for each statement, as they are told to whoever traces statements. */
export function textOf({ texts, order }: SplitPipeline): string {
  return Array.from(order, (number) => texts[number]).join(';\n')
}
