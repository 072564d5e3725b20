// The types of pgvector, on PGlite: `npm run test:pglite` installs both.

import test from 'ava'
import * as fc from 'fast-check'
import { connect } from 'pglisten'
import { HAS_PGVECTOR, startPglite } from '../../../lab/server/pglite.js'
import { EXTENSIONS, literal } from '../../../lab/types/samples.js'
import { givenBack } from '../../support/given-back.js'

const RUNS = 100
const withVector = HAS_PGVECTOR ? test : test.skip

withVector(
  'a vector is an array of numbers, and its other types are text, both ways',
  async (t) => {
    const pglite = await startPglite('pglite-socket')
    t.teardown(() => pglite.stop())
    const connection = await connect({ dsn: pglite.dsn })
    t.teardown(() => connection.close())
    await connection.executeBatch(
      'CREATE EXTENSION vector; CREATE TYPE place AS (name text, at vector)',
    )
    for (const [type, texts] of Object.entries(EXTENSIONS['vector']!)) {
      const values = texts.map((text) => `${literal(text)}::${type}`)
      for (const value of values) await givenBack(t, connection, type, value)
      await givenBack(t, connection, `${type}[]`, `ARRAY[${values.join()},NULL]`)
    }
    t.deepEqual(await connection.fetchVal("SELECT '[1,2.5,-3]'::vector"), [1, 2.5, -3])
    t.is(
      await connection.fetchVal('SELECT $1::vector <-> $2::vector', [
        [0, 0],
        [3, 4],
      ]),
      5,
    )
    const number = fc.float({ noNaN: true, noDefaultInfinity: true })
    const vectors = fc.array(number, { minLength: 1, maxLength: 20 })
    const property = fc.asyncProperty(vectors, async (vector) => {
      const { same, read, list, place } = await connection.fetchRow(
        `SELECT $1::vector = $2::float4[]::vector AS same, $1::vector AS read, $3::vector[] AS list, $4::place AS place`,
        [vector, vector, [vector, null], { name: '"', at: vector }],
      )
      t.true(same)
      t.deepEqual((read as number[]).map(Math.fround), vector)
      t.deepEqual(list, [read, null])
      t.deepEqual(place, { name: '"', at: read })
    })
    await fc.assert(property, { numRuns: RUNS })
  },
)
