// Names in SQL, quoted.
import { ArgumentRangeError, ArgumentTypeError } from '../errors.js'
import { checkText, expected } from '../options/validate.js'

/** The longest name, in bytes: NAMEDATALEN of `src/include/pg_config_manual.h`, without the terminating NUL. */
const MAX_NAME_BYTES = 63

/**
 * Checks a name, and quotes it: case and every character count. PostgreSQL would cut a longer one with only a notice, and
 * mean something else. `what` is what it names, such as `a savepoint`.
 */
export function quoteName(name: string, value: unknown, what: string): string {
  const wanted = `the name of ${what}: a string of 1 to ${MAX_NAME_BYTES} bytes without NUL`
  if (typeof value !== 'string') throw new ArgumentTypeError(expected(name, wanted, value))
  if (value === '')
    throw new ArgumentRangeError(`Expected \`${name}\` to be ${wanted}, got an empty string`)
  checkText(name, value, wanted, MAX_NAME_BYTES)
  return `"${value.replaceAll('"', '""')}"`
}
