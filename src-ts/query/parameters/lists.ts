// Lists of parameters on their way to Rust. They cross flat: to look at one value after the other through Node-API costs several
// times as much as to read them there from typed arrays and one string.
import { types } from 'node:util'

/** What stands for a value, or for the end of a list. Mirrored in `src-rs/binding/values/lists.rs`. */
const enum Kind {
  Null = 0,
  False = 1,
  True = 2,
  /** The next of the numbers. */
  Number = 3,
  /** A moment: the next of the numbers. */
  Date = 4,
  /** As many units of the text as the next of the numbers says. */
  Text = 5,
  /** The next of the values that cross as they are. */
  Other = 6,
  End = 7,
}

/** For so many values there is room at first. */
const ROOM = 64

/** So many units of text are put together, since the engine has a longest string. Texts beyond that cross as they are. */
const MOST_TEXT = 2 ** 24

/** What a number takes, and what a value takes at least. */
const BYTES = 8

/** About how many bytes a value has that crosses to Rust as it is. */
function weightOf(value: unknown): number {
  if (typeof value === 'string') return BYTES + value.length
  if (typeof value !== 'object' || value === null) return BYTES
  if (types.isUint8Array(value)) return BYTES + value.length
  let weight = BYTES
  const parts: unknown[] = Array.isArray(value) ? value : Object.values(value)
  for (const part of parts) weight += weightOf(part)
  return weight
}

/** Lists of parameters, which are added value by value. Rust reads the public fields. */
export class ParameterLists {
  /** A kind for each value, and for each end of a list. */
  kinds = new Uint8Array(ROOM)
  /** How many of the kinds are written. */
  count = 0
  /** The numbers, the moments, and the lengths of texts. */
  numbers = new Float64Array(ROOM)
  /** The texts, one after the other. */
  text = ''
  /** Values that have no flat form. */
  others: unknown[] = []
  /** How many of the numbers are written. */
  #numbered = 0
  /** About how many bytes the values without a flat form have. */
  #heavy = 0

  /** About how many bytes the lists have. */
  get weight(): number {
    return this.count + BYTES * this.#numbered + this.text.length + this.#heavy
  }

  /** Adds a value, unless it has no flat form or has to be looked at more closely: then it returns `false`, and nothing was added. */
  addPlain(value: unknown): boolean {
    switch (typeof value) {
      case 'number':
        this.#kind(Kind.Number)
        this.#number(value)
        return true
      case 'string':
        if (!value.isWellFormed() || this.text.length + value.length > MOST_TEXT) return false
        this.#kind(Kind.Text)
        this.#number(value.length)
        this.text += value
        return true
      case 'boolean':
        this.#kind(value ? Kind.True : Kind.False)
        return true
      case 'object':
        if (value === null) {
          this.#kind(Kind.Null)
          return true
        }
        return types.isDate(value) && !isAsked(value) && this.#date(value)
      default:
        return false
    }
  }

  /** Adds a value in the form in which it crosses to Rust by itself. */
  addNative(value: unknown): void {
    if (this.addPlain(value)) return
    this.#kind(Kind.Other)
    this.others.push(value)
    this.#heavy += weightOf(value)
  }

  /** Ends a list. */
  end(): void {
    this.#kind(Kind.End)
  }

  /** Removes all lists, and keeps the room. */
  clear(): void {
    this.count = 0
    this.text = ''
    this.others = []
    this.#numbered = 0
    this.#heavy = 0
  }

  #date(date: Date): boolean {
    const ms = date.getTime()
    if (Number.isNaN(ms)) return false
    this.#kind(Kind.Date)
    this.#number(ms)
    return true
  }

  #kind(kind: Kind): void {
    if (this.count === this.kinds.length) {
      const more = new Uint8Array(2 * this.count)
      more.set(this.kinds)
      this.kinds = more
    }
    this.kinds[this.count++] = kind
  }

  #number(number: number): void {
    if (this.#numbered === this.numbers.length) {
      const more = new Float64Array(2 * this.#numbered)
      more.set(this.numbers)
      this.numbers = more
    }
    this.numbers[this.#numbered++] = number
  }
}

/** Whether an object says itself what it is as a parameter. */
export function isAsked(value: object): value is { toPostgres(): unknown } {
  return 'toPostgres' in value && typeof value.toPostgres === 'function'
}
