// Subjects: any name of a channel becomes one token, and can be read back.

import test from 'ava'
import * as fc from 'fast-check'
import { channelOf, decodeToken, encodeToken, gapSubjectOf, subjectOf } from 'pglisten-relay-nats'
import { covers } from '../../packages/relay-nats/src/doctor.js'
import { names } from '../support/names.js'

test('every name is one token of safe characters, and comes back', (t) => {
  fc.assert(
    fc.property(names, (name) => {
      const token = encodeToken(name)
      t.regex(token, /^[\w!~'()%-]+$/)
      t.is(decodeToken(token), name)
      t.is(channelOf(subjectOf('pg', 'db', name)), name)
      t.true(token.length <= 189)
    }),
  )
})

test('different names have different subjects, and none is that of gaps', (t) => {
  fc.assert(
    fc.property(names, names, (a, b) => {
      t.is(subjectOf('pg', 'db', a) === subjectOf('pg', 'db', b), a === b)
      t.not(subjectOf('pg', 'db', a), gapSubjectOf('pg', 'db'))
    }),
  )
  t.is(subjectOf('pg', 'db', '%gap'), 'pg.db.%25gap')
  t.is(subjectOf('pg', 'a.b', '*.>'), 'pg.a%2Eb.%2A%2E%3E')
  t.is(channelOf('pg.db.%gap'), undefined)
})

test('the check knows which subjects a stream takes', (t) => {
  for (const [pattern, subject, does] of [
    ['pg.>', 'pg.db.orders', true],
    ['pg.db.>', 'pg.db', false],
    ['pg.*.orders', 'pg.db.orders', true],
    ['pg.*', 'pg.db.orders', false],
    ['pg.db.orders', 'pg.db.orders', true],
    ['pg.db.orders', 'pg.db.jobs', false],
    ['pg.db.orders.x', 'pg.db.orders', false],
  ] as const)
    t.is(covers(pattern, subject), does, `${pattern} ${subject}`)
})
