// How a call has failed, and what keeps a failure of the instrumentation from the program.
import { diag } from '@opentelemetry/api'
import type { ErrorFacts, TracingContext } from 'pglisten'

/** The name of a class. */
const NAME = /^\w{1,64}$/
/** A code as programs have it, such as `ENOENT`: other texts may be data of the user's. */
const CODE = /^[A-Z][A-Z0-9_]{0,63}$/
/** An SQLSTATE. */
const SQL_STATE = /^[0-9A-Z]{5}$/

/** The value of `error.type` for a call that has failed, the narrowest that is known; and the SQLSTATE, if there is one. */
export interface Failure {
  type: string
  sqlState: string | undefined
}

/**
 * Says how a call has failed; `undefined` if it has not. The context has the facts of the error, or, if the pool's options say
 * so, what was thrown. Nothing is told but names and codes: a message may hold anything.
 */
export function failureOf({ error }: TracingContext): Failure | undefined {
  if (error === undefined) return undefined
  try {
    const sqlState = field(error, 'sqlState', SQL_STATE)
    const type = sqlState ?? field(error, 'code', CODE) ?? nameOf(error) ?? 'Error'
    return { type, sqlState }
  } catch {
    // A getter or a proxy of the user's.
    return { type: 'Error', sqlState: undefined }
  }
}

/** The name of the error's class, because its own name may be any text. */
function nameOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null) return undefined
  const prototype = Object.getPrototypeOf(error) as { constructor?: unknown } | null
  const facts = prototype === Object.prototype && Object.keys(error).join() === FACTS
  return facts ? field(error, 'name', NAME) : field(prototype?.constructor, 'name', NAME)
}

const FACTS = (['name', 'code', 'sqlState'] satisfies (keyof ErrorFacts)[]).join()

function field(value: unknown, name: string, form: RegExp): string | undefined {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return undefined
  const text = (value as Record<string, unknown>)[name]
  return typeof text === 'string' && form.test(text) ? text : undefined
}

/**
 * Calls what may throw although the program must not notice it, such as `channelName`, a sampler or a processor of spans. Returns
 * `undefined` if it threw. The log has no text of the error, which may quote a payload.
 *
 * @param what - The name of what is called, for the log.
 */
export function contained<Result>(what: string, call: () => Result): Result | undefined {
  try {
    return call()
  } catch (error) {
    const { type } = failureOf({ error: error ?? new Error() })!
    diag.error(`pglisten-opentelemetry: ${what} failed (${type})`)
    return undefined
  }
}

/**
 * Makes a function of the user's give `undefined` in the place of a promise. A rejection of that would end the process, so it is
 * taken and left alone. The log has it once.
 *
 * @param what - The name of the function, for the log.
 */
export function synchronous<Args extends unknown[], Result>(
  what: string,
  call: (...args: Args) => Result,
): (...args: Args) => Result | undefined {
  let isTold = false
  return (...args) => {
    const result = call(...args)
    if (typeof (result as { then?: unknown } | null | undefined)?.then !== 'function') return result
    void Promise.allSettled([result])
    if (!isTold)
      diag.error(
        `pglisten-opentelemetry: ${what} returned a promise, which is nothing: it has to be synchronous`,
      )
    isTold = true
    return undefined
  }
}
