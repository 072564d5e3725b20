// Statements that are sent together.
import { ArgumentTypeError } from '../errors.js'
import { checkString, expected } from '../options/validate.js'
import { numbered, toNativeValues, type QueryParameters } from './named-parameters.js'
import type { ResolvedTypes } from '../options/types.js'

/** A statement of a pipeline: its text, or its text and its parameters. */
export type PipelineStatement = string | readonly [sql: string, params?: QueryParameters]

/** @internal Checks the statements of a pipeline. */
export function splitPipeline(
  statements: unknown,
  types: ResolvedTypes,
): { texts: string[]; params: unknown[][] } {
  if (!Array.isArray(statements))
    throw new ArgumentTypeError(expected('statements', 'an array', statements))
  const texts: string[] = []
  const params: unknown[][] = []
  for (let index = 0; index < statements.length; index += 1) {
    const name = `statements[${index}]`
    const statement: unknown = statements[index]
    const [sql, given]: unknown[] = Array.isArray(statement) ? statement : [statement]
    checkString(name, sql)
    const known = numbered(sql)
    texts.push(known.text)
    params.push(toNativeValues(known, given, types, `${name}[1]`))
  }
  return { texts, params }
}
