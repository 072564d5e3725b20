// The payloads that a pool sends: text, or what the schema of a channel makes of a value.
import { ArgumentTypeError } from '../errors.js'
import type { Schemas } from '../options/schemas.js'
import { checkChannel, checkPayload, checkTogether, expected } from '../options/validate.js'

/** @internal Makes the texts of payloads, and checks them. */
export class Payloads {
  readonly #schemas: Schemas | undefined

  constructor(schemas: Schemas | undefined) {
    this.#schemas = schemas
  }

  /** Makes the text of a payload that may be left out. */
  encodeOne(channel: string, payload: unknown): string {
    const isLeftOut = payload === undefined && !this.#schemas?.has(channel)
    return this.#encode(channel, isLeftOut ? '' : payload)
  }

  /** Makes the texts of payloads that are sent together. */
  encodeMany(channel: string, payloads: readonly unknown[]): string[] {
    if (!Array.isArray(payloads))
      throw new ArgumentTypeError(expected('payloads', 'an array of payloads', payloads))
    checkChannel(channel)
    // A hole in the array counts as `undefined`.
    const texts = Array.from(payloads, (payload, index) =>
      this.#encode(channel, payload, `payloads[${index}]`),
    )
    checkTogether(texts)
    return texts
  }

  /** Makes the text of a payload, and checks it. */
  #encode(channel: string, payload: unknown, name = 'payload'): string {
    checkChannel(channel)
    const text = this.#schemas ? this.#schemas.encode(channel, payload) : payload
    checkPayload(text, name)
    return text
  }
}
