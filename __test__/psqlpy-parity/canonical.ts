// Values as canonical JSON, so that those of two languages can be compared: the same rules as in psqlpy/canonical.py.
//
// An `int8` is an int there and a bigint here, a `numeric` a Decimal there and a string here, a date a `date` there and a `Date`
// here: these have one canonical form. Anything else that differs is a difference.

export type Canonical = null | boolean | string | Canonical[] | { [key: string]: Canonical }

export function canonical(value: unknown): Canonical {
  switch (typeof value) {
    case 'boolean':
    case 'string':
      return value
    case 'bigint':
      return { number: String(value) }
    case 'number':
      // All digits of a whole number, as Python writes it.
      return { number: Number.isInteger(value) ? String(BigInt(value)) : String(value) }
    case 'object':
      return value === null ? null : ofObject(value)
    default:
      throw new TypeError(`no canonical form of a ${typeof value}`)
  }
}

function ofObject(value: object): Canonical {
  if (Array.isArray(value)) return Array.from(value, canonical)
  if (value instanceof Uint8Array) return { bytes: Buffer.from(value).toString('hex') }
  if (value instanceof Date) {
    const text = value.toISOString().replace(/\.?0*Z$/, '')
    return { moment: text }
  }
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return { object: Object.fromEntries(entries.map(([key, inner]) => [key, canonical(inner)])) }
}
