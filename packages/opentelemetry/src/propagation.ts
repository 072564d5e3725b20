// The context of a trace in payloads: fields such as `traceparent` of a JSON object.
import { ROOT_CONTEXT, context, propagation, type Context } from '@opentelemetry/api'
import { jsonObject, type Extract } from './options.js'

/**
 * Returns a copy of a payload with the fields of the active context, such as `traceparent`: for `JSON.stringify()`. Without an
 * active span, or without a propagator, it has nothing more than before. `traceparent` adds 73 bytes of the 7,999 that a
 * notification may have.
 *
 * @param payload - An object that becomes JSON: what its `toJSON()` returns, if it has one.
 * @throws TypeError when that is no object, or an array, a `Map` or a `Set`.
 */
export function inject<Payload extends object>(
  payload: Payload,
): Payload & Record<string, unknown> {
  return injectFrom(context.active(), payload)
}

/** @internal */
export function injectFrom<Payload extends object>(
  from: Context,
  payload: Payload,
): Payload & Record<string, unknown> {
  const object = jsonObject(payload) as Payload
  const carrier: Record<string, string> = {}
  propagation.inject(from, carrier)
  return { ...object, ...carrier }
}

/** @internal Returns the context that a payload carries; that of no trace when it carries none. */
export function extractContext(
  extract: boolean | Extract,
  payload: unknown,
  channel: string,
): Context {
  if (extract === false) return ROOT_CONTEXT
  const fields = propagation.fields()
  const carrier = extract === true ? objectIn(payload, fields) : extract(payload, channel)
  if (typeof carrier !== 'object' || carrier === null) return ROOT_CONTEXT
  const texts: Record<string, string> = {}
  for (const field of fields) {
    const value = (carrier as Record<string, unknown>)[field]
    if (typeof value === 'string') texts[field] = value
  }
  return propagation.extract(ROOT_CONTEXT, texts)
}

/** The object that a payload is, or that its JSON stands for if that may have one of the fields. */
function objectIn(payload: unknown, fields: readonly string[]): object | undefined {
  if (typeof payload === 'object' && payload !== null) return payload
  if (typeof payload !== 'string' || !fields.some((field) => payload.includes(`"${field}"`)))
    return undefined
  try {
    const value: unknown = JSON.parse(payload)
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined
  }
}
