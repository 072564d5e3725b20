// Typed channels: the schemas of a pool's channels, which check payloads on their way out and in.
import { ArgumentTypeError } from '../errors.js'
import type { ParseChannel, ParsePayload } from './listener.js'
import { disregard } from '../native/thenable.js'
import { checkChannel, describe, expected, type CheckErrors } from './validate.js'

/**
 * The schema of a channel's payloads: an object of any library that implements [Standard
 * Schema](https://standardschema.dev), such as zod, valibot or arktype. It has to validate synchronously.
 *
 * @typeParam Input - The type that {@link ConnectionPool.notify} takes.
 * @typeParam Output - The type that callbacks and iterators get.
 */
export interface ChannelSchema<Input = unknown, Output = Input> {
  /** What Standard Schema asks of a schema. */
  readonly '~standard': {
    /** The version of Standard Schema. */
    readonly version: 1
    /** The name of the library. */
    readonly vendor: string
    /** Judges a value. */
    readonly validate: (
      value: unknown,
    ) => ChannelSchemaResult<Output> | PromiseLike<ChannelSchemaResult<Output>>
    /** Only for the compiler. */
    readonly types?:
      | {
          /** What a sender gives. */
          readonly input: Input
          /** What a receiver gets. */
          readonly output: Output
        }
      | undefined
  }
}

/** What the `validate` of a schema returns: the value, or what is wrong with it. */
export type ChannelSchemaResult<Output> =
  | {
      /** What the schema makes of the value. */
      readonly value: Output
      /** Nothing. */
      readonly issues?: undefined
    }
  | {
      /** What is wrong with the value. */
      readonly issues: readonly ChannelSchemaIssue[]
    }

/** One thing that is wrong with a payload. */
export interface ChannelSchemaIssue {
  /** What is wrong, in words. */
  readonly message: string
  /** Where it is wrong: the keys from the payload down. */
  readonly path?: readonly (PropertyKey | ChannelSchemaKey)[] | undefined
}

/** A key of a path, as some libraries give it. */
export interface ChannelSchemaKey {
  /** The key. */
  readonly key: PropertyKey
}

/** The schemas of a pool's channels, by channel. */
// oxlint-disable-next-line typescript/no-explicit-any -- whatever a schema takes and makes.
export type ChannelSchemas = Readonly<Record<string, ChannelSchema<any, any>>>

/** The type parameter of a pool without schemas. */
// oxlint-disable-next-line typescript/no-generated-empty-object-type -- no name of a channel is in it.
export type NoSchemas = Record<never, never>

/** The type of a payload as it is sent to a channel with a schema. */
export type ChannelInput<Schema> =
  // oxlint-disable-next-line typescript/no-explicit-any -- whatever the schema makes.
  Schema extends ChannelSchema<infer Input, any> ? Input : never

/** The type of a payload as callbacks and iterators get it from a channel with a schema. */
export type ChannelOutput<Schema> =
  // oxlint-disable-next-line typescript/no-explicit-any -- whatever the schema takes.
  Schema extends ChannelSchema<any, infer Output> ? Output : never

/** The type of each channel's payload, as a pool's listeners deliver it: text on every channel without schemas. */
export type PayloadsOf<Schemas> = [keyof Schemas] extends [never]
  ? Record<string, string>
  : { [Name in keyof Schemas & string]: ChannelOutput<Schemas[Name]> }

/** The channels to which text is sent: every one of a pool without schemas. */
export type TextChannel<Schemas> = [keyof Schemas] extends [never] ? string : never

/** @internal A payload that does not fit the schema of its channel. */
export class Misfit extends ArgumentTypeError {
  /** What may stand in a log: without the texts of the schema, which can have the payload in them. */
  readonly told: string

  constructor(message: string, options: ErrorOptions & { told?: string } = {}) {
    super(message, options)
    this.told = options.told ?? message
  }
}

/** @internal The schemas of a pool, checked. */
export class Schemas {
  readonly #byChannel: ReadonlyMap<string, ChannelSchema>

  /** Checks the option `schemas`. */
  constructor(schemas: unknown, errors: CheckErrors) {
    if (typeof schemas !== 'object' || schemas === null || Array.isArray(schemas)) {
      throw errors.type(expected('schemas', 'an object with a schema for each channel', schemas))
    }
    for (const [channel, schema] of Object.entries(schemas)) {
      checkChannel(channel, 'schemas', errors)
      if (!isSchema(schema)) {
        const what = 'a schema with `~standard`, such as one of zod, valibot or arktype'
        throw errors.type(expected(`schemas.${channel}`, what, schema))
      }
    }
    this.#byChannel = new Map(Object.entries(schemas as ChannelSchemas))
  }

  /** Whether a channel has a schema. */
  has(channel: string): boolean {
    return this.#byChannel.has(channel)
  }

  /**
   * Makes the text of a payload. A channel with a schema takes a value whose JSON fits it, as the receivers will read it; any
   * other channel takes text. Throws {@link ArgumentTypeError}.
   */
  encode(channel: string, payload: unknown): unknown {
    const schema = this.#byChannel.get(channel)
    if (!schema) return payload
    const text = toJson(payload)
    // `JSON.stringify` gives no text for `undefined` and for functions.
    if (text === undefined)
      throw new ArgumentTypeError(expected('payload', 'a value of JSON', payload))
    validated(schema, channel, JSON.parse(text))
    return text
  }

  /** Makes the function that parses the payloads of a listener: by schema, and those of other channels by `parse`. */
  parser(parse: ParsePayload | undefined): ParsePayload {
    return (text: string, channel: ParseChannel) => {
      const schema = this.#byChannel.get(channel)
      if (schema) return validated(schema, channel, fromJson(channel, text))
      return parse ? parse(text, channel) : text
    }
  }
}

function isSchema(value: unknown): value is ChannelSchema {
  // The schemas of arktype are functions.
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return false
  const standard = (value as Partial<ChannelSchema>)['~standard']
  return typeof standard?.validate === 'function'
}

function fromJson(channel: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    const what = text === '' ? 'empty' : 'no JSON'
    throw new Misfit(`the payload is ${what}, and channel \`${channel}\` has a schema`, { cause })
  }
}

function toJson(value: unknown): string | undefined {
  try {
    return JSON.stringify(value)
  } catch (cause) {
    throw new ArgumentTypeError(
      `Expected \`payload\` to be a value of JSON, got ${describe(value)}`,
      {
        cause,
      },
    )
  }
}

/** Returns what the schema makes of a value. */
function validated(
  { '~standard': standard }: ChannelSchema,
  channel: string,
  value: unknown,
): unknown {
  let result: ReturnType<typeof standard.validate> | null | undefined
  try {
    result = standard.validate(value)
  } catch (cause) {
    throw new Misfit(`the schema of channel \`${channel}\` threw`, { cause })
  }
  if (typeof result !== 'object' || result === null) {
    throw new Misfit(
      `the schema of channel \`${channel}\` must return a result, but it returned ${describe(result)}`,
    )
  }
  if ('then' in result) {
    disregard(result)
    throw new Misfit(
      `the schema of channel \`${channel}\` must be synchronous and must not throw, but it returned a promise`,
    )
  }
  if (!result.issues) return result.value
  const told = `the payload does not fit the schema of channel \`${channel}\``
  throw new Misfit(`${told}: ${listed(result.issues)}`, { told })
}

/** The most issues that an error lists. */
const MOST_ISSUES = 5

function listed(issues: readonly ChannelSchemaIssue[]): string {
  const texts = issues.slice(0, MOST_ISSUES).map(({ message, path }) => {
    const keys = path?.map((part) => String(typeof part === 'object' ? part.key : part)) ?? []
    const why = message || 'no reason given'
    return keys.length > 0 ? `at \`${keys.join('.')}\`: ${why}` : why
  })
  if (texts.length === 0) return 'it does not say why'
  const more = issues.length - texts.length
  return texts.join('; ') + (more > 0 ? `; and ${more} more` : '')
}
