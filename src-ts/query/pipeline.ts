// Statements that are sent together.
import { ArgumentTypeError } from '../errors.js'
import { expected } from '../options/validate.js'
import {
  addValues,
  numbered,
  type NumberedStatement,
  type QueryParameters,
} from './parameters/named.js'
import { ParameterLists } from './parameters/lists.js'
import type { ResolvedTypes } from '../options/types.js'

/** A statement of a pipeline: its text, or its text and its parameters. */
export type PipelineStatement = string | readonly [sql: string, params?: QueryParameters]

/** @internal The statements of a pipeline. */
export interface SplitPipeline {
  /** The texts that were given, each once, as the server takes them. */
  readonly texts: string[]
  /** The number of the text of each statement. */
  readonly order: Uint32Array
  /** The texts with the names in them. */
  readonly numbered: readonly NumberedStatement[]
  /** The parameters of each statement, as they were given. */
  readonly params: readonly unknown[]
}

/** @internal Checks the statements of a pipeline, but not their parameters. */
export function splitPipeline(statements: unknown): SplitPipeline {
  if (!Array.isArray(statements))
    throw new ArgumentTypeError(expected('statements', 'an array', statements))
  const numbers = new Map<unknown, number>()
  const known: NumberedStatement[] = []
  const order = new Uint32Array(statements.length)
  const params: unknown[] = []
  for (let index = 0; index < order.length; index += 1) {
    const statement: unknown = statements[index]
    const isList = Array.isArray(statement)
    const sql: unknown = isList ? statement[0] : statement
    let number = numbers.get(sql)
    if (number === undefined) {
      number = known.push(numbered(sql, `statements[${index}]`)) - 1
      numbers.set(sql, number)
    }
    order[index] = number
    params.push(isList ? statement[1] : undefined)
  }
  return { texts: known.map(({ text }) => text), order, numbered: known, params }
}

/**
 * @internal Checks and converts the parameters of a pipeline. `parameterTypes` are given, for each text, when they are to be encoded by
 * their types.
 */
export function toPipelineLists(
  { order, numbered: known, params }: SplitPipeline,
  types: ResolvedTypes,
  parameterTypes?: readonly (readonly string[])[],
): ParameterLists {
  const lists = new ParameterLists()
  let index = 0
  const place = () => `statements[${index}][1]`
  for (; index < order.length; index += 1) {
    const number = order[index]!
    addValues(lists, known[number]!, params[index], types, place, parameterTypes?.[number])
  }
  return lists
}

/** @internal The texts of a pipeline, one for each statement, as they are told to whoever traces statements. */
export function textOf({ texts, order }: SplitPipeline): string {
  return Array.from(order, (number) => texts[number]).join(';\n')
}
