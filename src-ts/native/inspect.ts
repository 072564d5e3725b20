// What `util.inspect()` and `console.log()` print of the package's objects: their state, and nothing secret.
import type { InspectOptionsStylized, inspect } from 'node:util'

/** The key of the method that `util.inspect()` calls: its `inspect.custom`, which is a registered symbol. */
export const inspectCustom: unique symbol = Symbol.for('nodejs.util.inspect.custom')

/** The arguments of that method. */
export type InspectArguments = [
  depth: number,
  options: InspectOptionsStylized,
  print: typeof inspect,
]

/** Prints an object as the name of its class and some fields. */
export function printed(
  name: string,
  fields: object,
  [depth, options, print]: InspectArguments,
): string {
  // Nested deeper than is asked for.
  if (depth < 0) return options.stylize(`[${name}]`, 'special')
  return `${name} ${print(fields, options)}`
}
