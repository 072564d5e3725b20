// Statements that are sent together.
import type { NativeHeldPipeline, NativeQueryOutput } from '#native'
import { bridge } from '../native/bridge.js'
import { ArgumentTypeError, PglistenError } from '../errors.js'
import { expected } from '../options/validate.js'
import {
  addEncodedValues,
  addValues,
  byName,
  numbered,
  takeValues,
  type NumberedStatement,
  type QueryParameters,
} from './parameters/named.js'
import { ParameterLists } from './parameters/lists.js'
import { whenHeld, type Run } from './run.js'
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

/** @internal Checks the parameters of a pipeline, for its statements that are sent together. */
export function sendingTogether(
  split: SplitPipeline,
  types: ResolvedTypes,
  manner: number,
): Run<NativeQueryOutput[]> {
  const { texts, order } = split
  if (types.encoders.size > 0) {
    const taken = takePipelineValues(split, types)
    return (lease, within) =>
      whenHeld(
        bridge.call<NativeHeldPipeline>((id) =>
          lease.holdPipeline(id, texts, order, manner, within),
        ),
        (held) => {
          const lists = toEncodedPipelineLists(split, taken, types, held.parameterTypes())
          return (id) => held.run(id, lists)
        },
      )
  }
  const lists = toPipelineLists(split, types)
  return (lease, within) =>
    bridge.call((id) => lease.pipeline(id, texts, order, lists, manner, within))
}

/** @internal Checks and converts the parameters of a pipeline. */
export function toPipelineLists(split: SplitPipeline, types: ResolvedTypes): ParameterLists {
  const lists = new ParameterLists()
  forEachOf(split, (statement, index, place) =>
    addValues(lists, statement, split.params[index], types, place),
  )
  return lists
}

/** Checks the parameters of a pipeline, and takes them as they are now, to be encoded once their types are known. */
function takePipelineValues(split: SplitPipeline, types: ResolvedTypes): unknown[][] {
  const taken: unknown[][] = []
  forEachOf(split, (statement, index, place) =>
    taken.push(takeValues(statement, split.params[index], types, place)),
  )
  return taken
}

/** Encodes the parameters of a pipeline, which were taken, by their types, which are given for each text; and converts them. */
function toEncodedPipelineLists(
  split: SplitPipeline,
  taken: readonly (readonly unknown[])[],
  types: ResolvedTypes,
  parameterTypes: readonly (readonly string[])[],
): ParameterLists {
  const lists = new ParameterLists()
  forEachOf(split, (statement, index, place) => {
    const ofText = parameterTypes[split.order[index]!]!
    addEncodedValues(lists, statement, taken[index]!, ofText, types, place)
  })
  return lists
}

function forEachOf(
  { order, numbered: known }: SplitPipeline,
  take: (statement: NumberedStatement, index: number, place: () => string) => void,
): void {
  let index = 0
  const place = () => `statements[${index}][1]`
  for (; index < order.length; index += 1) take(known[order[index]!]!, index, place)
}

/** @internal An error of a pipeline that tells of parameters by the names that they have in the statement that has failed. */
export function byNameIn(split: SplitPipeline, error: unknown): unknown {
  const index = error instanceof PglistenError ? error.statementIndex : undefined
  return index === undefined ? error : byName(split.numbered[split.order[index]!]!.names, error)
}

/** @internal The texts of a pipeline, one for each statement, as they are told to whoever traces statements. */
export function textOf({ texts, order }: SplitPipeline): string {
  return Array.from(order, (number) => texts[number]).join(';\n')
}
