// Parameters as they are at the moment of a call that needs them later, once a connection is there or the server has told their types.
import { types } from 'node:util'
import { isAsked } from './lists.js'
import { BoundedArray } from '../values/bounded-array.js'
import { Range } from '../values/range.js'
import { setOwn } from '../values/reader.js'

/** The deepest nesting of arrays: more than any array of the server has, and far from a stack overflow. */
export const MAX_DEPTH = 100

/** A parameter that cannot be copied, such as an instance of a class of the user's: an encoder gets the object itself. */
export class TakenParameter {
  /** What an encoder gets. */
  readonly value: object
  /** The form in which the parameter crosses to Rust without an encoder, as it was at the moment of the call; or why it has none. */
  readonly #native: { readonly form: unknown } | { readonly error: unknown }

  /** `convert` makes the form in which the parameter crosses to Rust without an encoder. */
  constructor(value: object, convert: () => unknown) {
    this.value = value
    try {
      this.#native = { form: convert() }
    } catch (error) {
      // With an encoder it needs no such form.
      this.#native = { error }
    }
  }

  /** The form in which the parameter crosses to Rust without an encoder. */
  get native(): unknown {
    if ('error' in this.#native) throw this.#native.error
    return this.#native.form
  }
}

/**
 * Copies a parameter, with all that it consists of. Objects of which nobody knows what they consist of, and what lies too deep, are the same
 * in the copy; then `isWhole` is `false`.
 */
export function copyOf(value: object): { readonly copy: object; readonly isWhole: boolean } {
  const copier = new Copier()
  try {
    const copy = copier.any(value, 0) as object
    return { copy, isWhole: copier.isWhole }
  } catch {
    // A getter or a proxy of the user's. Whether that matters depends on who reads the value.
    return { copy: value, isWhole: false }
  }
}

/** Copies parameters, as far as they can be copied, for a call that is begun once a connection is there. */
export function asTheyAre<Params>(params: Params): Params {
  const copy = (value: unknown) =>
    typeof value === 'object' && value !== null ? copyOf(value).copy : value
  // Also those of a subclass, which is not copied itself.
  return (Array.isArray(params) ? Array.from(params, copy) : copy(params)) as Params
}

class Copier {
  isWhole = true
  /** The copies by what they are of: an object may have itself among its parts. */
  readonly #copies = new Map<object, object>()

  any(value: unknown, depth: number): unknown {
    if (typeof value !== 'object' || value === null) return value
    const known = this.#copies.get(value)
    if (known) return known
    const copy = depth > MAX_DEPTH ? undefined : this.#object(value, depth + 1)
    if (copy) return copy
    this.isWhole = false
    return value
  }

  /** The copy; `undefined` for an object of an unknown kind. */
  #object(value: object, depth: number): object | undefined {
    if (isAsked(value)) return undefined
    const prototype: unknown = Object.getPrototypeOf(value)
    if (types.isDate(value)) return prototype === Date.prototype ? new Date(value) : undefined
    if (ArrayBuffer.isView(value) || types.isAnyArrayBuffer(value)) return copyOfBytes(value)
    // It says itself what its JSON is.
    if ('toJSON' in value && typeof value.toJSON === 'function') return undefined
    // The prototype of arrays is an array, in whatever context. That of a class is none.
    if (Array.isArray(value))
      return Array.isArray(prototype) ? this.#array(value, depth) : undefined
    switch (prototype) {
      case Set.prototype:
        return this.#set(value as Set<unknown>, depth)
      case Map.prototype:
        return this.#map(value as Map<unknown, unknown>, depth)
      case BoundedArray.prototype: {
        const { values, lowerBounds } = value as BoundedArray
        return new BoundedArray(this.any(values, depth) as unknown[], [...lowerBounds])
      }
      case Range.prototype: {
        const { lower, upper, lowerInclusive, upperInclusive, isEmpty } = value as Range
        const bounds = { lower: this.any(lower, depth), upper: this.any(upper, depth) }
        return new Range({ ...bounds, lowerInclusive, upperInclusive, isEmpty })
      }
      default:
        return isLiteral(prototype) ? this.#literal(value, prototype, depth) : undefined
    }
  }

  #array(array: readonly unknown[], depth: number): unknown[] {
    const copy: unknown[] = []
    this.#copies.set(array, copy)
    for (let index = 0; index < array.length; index += 1) copy.push(this.any(array[index], depth))
    return copy
  }

  #set(set: ReadonlySet<unknown>, depth: number): Set<unknown> {
    const copy = new Set<unknown>()
    this.#copies.set(set, copy)
    for (const element of set) copy.add(this.any(element, depth))
    return copy
  }

  #map(map: ReadonlyMap<unknown, unknown>, depth: number): Map<unknown, unknown> {
    const copy = new Map<unknown, unknown>()
    this.#copies.set(map, copy)
    for (const [key, value] of map) copy.set(key, this.any(value, depth))
    return copy
  }

  #literal(object: object, prototype: object | null, depth: number): object | undefined {
    // What is hidden in it may be of use to an encoder.
    if (Reflect.ownKeys(object).length > Object.keys(object).length) return undefined
    const copy = Object.create(prototype) as Record<string, unknown>
    this.#copies.set(object, copy)
    for (const [key, value] of Object.entries(object)) setOwn(copy, key, this.any(value, depth))
    return copy
  }
}

/** Whether a prototype is that of literals, of whatever context, or none. */
function isLiteral(prototype: unknown): prototype is object | null {
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

/** The copy of bytes, or of the numbers of another typed array; `undefined` for a class of the user's, and where there may be none. */
function copyOfBytes(value: ArrayBufferView | ArrayBufferLike): object | undefined {
  if (value.byteLength === 0) return undefined
  if (types.isAnyArrayBuffer(value)) return value.slice(0)
  const prototype: unknown = Object.getPrototypeOf(value)
  const { buffer, byteOffset, byteLength } = value
  if (prototype === Buffer.prototype) return Buffer.from(value as Buffer)
  if (prototype === DataView.prototype)
    return new DataView(buffer.slice(byteOffset, byteOffset + byteLength))
  // A subclass may have other parts.
  const kind = types.isTypedArray(value) && value[Symbol.toStringTag]
  const plain = kind ? (globalThis as Record<string, unknown>)[kind] : undefined
  if (typeof plain !== 'function' || prototype !== plain.prototype) return undefined
  return (value as Uint8Array).slice()
}
