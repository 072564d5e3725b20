// A kind that only the addon knows is a mistake of this package: it is told with its name, and never passed over.

import test from 'ava'
import { fromNativeError } from '../../src-ts/native/native-errors.js'

/** An error as an addon of another version might send it. */
const unknown = (kind: string, message: string) =>
  ({ kind, message }) as unknown as Parameters<typeof fromNativeError>[0]

test('an error of an unknown kind becomes an internal error that names the kind', (t) => {
  const error = fromNativeError(unknown('moon', 'it is full'))
  t.is(error.name, 'PglistenError')
  t.is(error.code, 'ERR_PGLISTEN_INTERNAL')
  t.regex(error.message, /unknown kind of error, `moon`: it is full/)
})

test('a name that every object has is no kind of error', (t) => {
  t.regex(fromNativeError(unknown('constructor', '')).message, /`constructor`/)
})
