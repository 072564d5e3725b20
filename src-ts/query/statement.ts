// One statement: how it is started with its parameters, and the check of what it returns.
import type { NativeCursor, NativeHeldStatement, NativeQueryOutput } from '#native'
import { bridge } from '../native/bridge.js'
import { ConnectionExecuteError } from '../errors.js'
import type { ResolvedTypes } from '../options/types.js'
import { observed, type Observable } from './observed.js'
import { resolveQuery, type QueryOptions } from './options.js'
import {
  numbered,
  takeParameterSets,
  takeValues,
  tellingNames,
  toEncodedLists,
  toEncodedValues,
  toNativeValues,
  toParameterLists,
  type NumberedStatement,
  type QueryParameters,
} from './parameters/named.js'
import type { Shaping } from './rows.js'
import { runOn, whenHeld, type Run, type Runnable } from './run.js'

/** @internal The key of the method that returns how values are read and written. */
export const typesOf: unique symbol = Symbol('typesOf')

/** @internal A connection or a transaction. */
interface Queried extends Runnable, Observable {
  [typesOf](): ResolvedTypes
}

/**
 * @internal Starts a statement, which has its place in the order then. Throws when an argument is wrong. `collect` takes a result that comes
 * in parts: the call has ended, for its bounds and for whoever traces it, when the last part is there.
 */
export function query<Whole>(
  place: Queried,
  sql: string,
  params: QueryParameters | undefined,
  options: QueryOptions | undefined,
  collect: (first: NativeQueryOutput, shaping: Shaping) => Promise<Whole>,
): { running: Promise<NativeQueryOutput | Whole>; shaping: Shaping } {
  const statement = numbered(sql)
  const { bounds, types, manner, shaping } = resolveQuery(options, place[typesOf]())
  const run = executing(statement, params, types, manner)
  const running = observed(place, 'execute', sql, () =>
    runOn<NativeQueryOutput | Whole>(place, bounds, (lease, within) =>
      run(lease, within).then<NativeQueryOutput | Whole>((output) =>
        output.rest ? collect(output, shaping) : output,
      ),
    ),
  )
  return { running: tellingNames(statement, running), shaping }
}

/** Checks the parameters of a statement, for its execution. */
function executing(
  statement: NumberedStatement,
  params: QueryParameters | undefined,
  types: ResolvedTypes,
  manner: number,
): Run<NativeQueryOutput> {
  if (types.encoders.size > 0)
    return encoding(statement, params, types, manner, (held, id, native) =>
      held.execute(id, native),
    )
  const { text } = statement
  const native = toNativeValues(statement, params, types)
  return (lease, within) => bridge.call((id) => lease.execute(id, text, native, manner, within))
}

/** @internal Checks the parameters of a statement, for a cursor that is opened for its rows. */
export function opening(
  statement: NumberedStatement,
  params: QueryParameters | undefined,
  types: ResolvedTypes,
  manner: number,
): Run<NativeCursor> {
  if (types.encoders.size > 0)
    return encoding(statement, params, types, manner, (held, id, native) => held.open(id, native))
  const { text } = statement
  const native = toNativeValues(statement, params, types)
  return (lease, within) => bridge.call((id) => lease.open(id, text, native, manner, within))
}

/** @internal Checks the parameters of each execution of a statement, for all of them together. */
export function executingMany(
  statement: NumberedStatement,
  paramSets: unknown,
  types: ResolvedTypes,
  manner: number,
): Run<number> {
  const { text } = statement
  if (types.encoders.size > 0) {
    const sets = takeParameterSets(statement, paramSets, types)
    return holding(text, manner, (held) => {
      const lists = toEncodedLists(statement, sets, held.parameterTypes(), types)
      return (id) => held.executeMany(id, lists)
    })
  }
  const lists = toParameterLists(statement, paramSets, types)
  return (lease, within) => bridge.call((id) => lease.executeMany(id, text, lists, manner, within))
}

/** Runs a statement whose parameters are encoded by their types, which Rust knows once it holds the statement. */
function encoding<Result>(
  statement: NumberedStatement,
  params: QueryParameters | undefined,
  types: ResolvedTypes,
  manner: number,
  start: (held: NativeHeldStatement, id: number, native: unknown[]) => void,
): Run<Result> {
  const values = takeValues(statement, params, types)
  return holding(statement.text, manner, (held) => {
    const native = toEncodedValues(statement, values, held.parameterTypes(), types)
    return (id) => start(held, id, native)
  })
}

/** Has Rust hold a statement at its place in the order until `start` has made its parameters, and starts it. */
function holding<Result>(
  text: string,
  manner: number,
  start: (held: NativeHeldStatement) => (id: number) => void,
): Run<Result> {
  return (lease, within) =>
    whenHeld(
      bridge.call<NativeHeldStatement>((id) => lease.hold(id, text, manner, within)),
      start,
    )
}

/** @internal Throws where a statement has not returned exactly one row. */
export function checkOneRow(
  output: NativeQueryOutput | number,
): asserts output is NativeQueryOutput {
  if (typeof output === 'number' || !output.returnsRows || output.rowCount !== 1)
    throw wrongRows('exactly one row', output)
}

/** @internal The error of a statement that has returned something else; `got` is its output, or how many rows came, of many. */
export function wrongRows(what: string, got: NativeQueryOutput | number): ConnectionExecuteError {
  let found: string | number
  if (typeof got === 'number') found = got
  else if (!got.returnsRows) found = 'a statement without columns'
  else if (got.rowCount === 1) found = 'a row without columns'
  else found = got.rowCount
  return new ConnectionExecuteError(`Expected the statement to return ${what}, got ${found}`)
}
