// A function of the user's that makes JSON text: what it may return, and what a wrong return leaves behind.

import test from 'ava'
import { ArgumentTypeError, type Connection, type TypeOptions } from 'pglisten'
import { within } from '../../../lab/wait.js'
import { connect } from '../../support/connect.js'

const WAYS: Record<string, (connection: Connection, types: TypeOptions) => Promise<unknown>> = {
  execute: (c, types) => c.execute('SELECT $1::jsonb, $2::int4', [{ a: 1 }, 1], { types }),
  executeMany: (c, types) =>
    c.executeMany('SELECT $1::jsonb, $2::int4', [[{ a: 1 }, 1]], { types }),
  pipeline: (c, types) => c.pipeline([['SELECT $1::jsonb, $2::int4', [{ a: 1 }, 1]]], { types }),
  'an exact object': (c, types) => c.execute('SELECT $1::jsonb', [{ a: 1n }], { types }),
  copyRecordsToTable: async (c, types) => {
    await c.execute('CREATE TEMPORARY TABLE IF NOT EXISTS documents (doc jsonb)')
    return c.copyRecordsToTable('documents', [[{ a: 1 }]], { types })
  },
  cursor: async (c, types) => {
    await using cursor = c.cursor('SELECT $1::jsonb', [{ a: 1 }], { types })
    return cursor.fetch()
  },
}

for (const [way, call] of Object.entries(WAYS)) {
  for (const encoders of [{}, { int4: Number }]) {
    const how = 'int4' in encoders ? 'with encoders' : 'without encoders'
    test(`JSON that is no text is refused, and the connection goes on (${way}, ${how})`, async (t) => {
      const connection = await connect(t)
      for (const returned of [{}, 7, null, Symbol('s')]) {
        const types = { encoders, json: { stringify: () => returned as string } }
        await t.throwsAsync(within(call(connection, types), { timeoutMs: 5000 }), {
          instanceOf: ArgumentTypeError,
          message: /^Expected `types\.json\.stringify` to return a string or `undefined`, got /,
        })
        t.is(await within(connection.fetchVal('SELECT 1'), { timeoutMs: 5000 }), 1)
      }
    })
  }
}

test('a parameter that cannot cross leaves the connection usable, whatever is wrong with it', async (t) => {
  const connection = await connect(t)
  const types = { encoders: { int4: Number } }
  // It says that it is an address, and has none.
  const address = { [Symbol.toStringTag]: 'URL', href: 5 }
  const calls: (() => Promise<unknown>)[] = [
    () => connection.execute('SELECT $1::text, $2::int4', [address, 1], { types }),
    () => connection.executeMany('SELECT $1::text, $2::int4', [[address, 1]], { types }),
    () => connection.pipeline([['SELECT $1::text, $2::int4', [address, 1]]], { types }),
  ]
  for (const call of calls) {
    await t.throwsAsync(within(call(), { timeoutMs: 5000 }))
    t.is(await within(connection.fetchVal('SELECT 1'), { timeoutMs: 5000 }), 1)
  }
})
