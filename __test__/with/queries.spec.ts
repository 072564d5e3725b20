// The examples of Prisma, Drizzle and Kysely: a transaction of theirs notifies, and what it rolls back is not heard.

import test from 'ava'
import { startExample } from './support.js'
import { within } from '../../lab/wait.js'

for (const name of ['prisma', 'drizzle', 'kysely']) {
  test.serial(`${name}: what is committed is heard, and what is rolled back is not`, async (t) => {
    const { program, ask, isGone } = await startExample(t, name)
    const [code] = await within(program.ended, { what: name, timeoutMs: 60_000 })
    t.is(code, 0, program.output())
    t.deepEqual(program.output().trim().split('\n').sort(), [
      'heard of cake',
      'heard of tea',
      'no coffee today',
    ])
    t.is(await ask('SELECT count(*)::int FROM example_orders'), 2)
    await isGone()
  })
}
