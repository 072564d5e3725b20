// A kind that only the addon knows is a mistake of this package: it is told with its name, and never passed over.

import test from 'ava'
import { fromNativeError } from '../../src-ts/native/native-errors.js'

test('an error of an unknown kind becomes an internal error that names the kind', (t) => {
  const error = fromNativeError({ kind: 'moon', message: 'it is full' })
  t.is(error.name, 'PglistenError')
  t.is(error.code, 'ERR_PGLISTEN_INTERNAL')
  t.regex(error.message, /unknown kind of error, `moon`: it is full/)
})

test('a name that every object has is no kind of error', (t) => {
  t.regex(fromNativeError({ kind: 'constructor', message: '' }).message, /`constructor`/)
})
