// The comparison with other clients in docs/types.md: what a run gives, and what it has to give of this package.

import test from 'ava'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { TYPES } from '../../../lab/types/cases.js'
import { judge } from '../../../lab/types/outcome.js'
import { sideBySide } from '../../../lab/types/side-by-side.js'
import { withSection } from '../../../lab/types/table.js'
import { serverDsn } from '../../../lab/server/test-server.js'
import { root } from '../../support/code-blocks.js'
import { createDatabase } from '../../support/database.js'
import { MAJOR, since } from '../../support/since.js'

/** The version whose types the page has. */
const DOCUMENTED = 18
const documented = MAJOR === DOCUMENTED ? since(DOCUMENTED) : test.skip

documented('docs/types.md has what the clients make of each type', async (t) => {
  const dsn = new URL(await serverDsn())
  dsn.pathname = await createDatabase(t)
  const rows = await sideBySide(dsn.href)
  t.is(rows.length, TYPES.length)
  t.true(TYPES.length > 75, `${TYPES.length}`)
  const page = await readFile(path.join(root, 'docs/types.md'), 'utf8')
  t.is(await withSection(page, rows), page, 'npm run types writes it anew')
  for (const { name, cells } of rows) {
    const of = (client: string) => [...cells[client]!.values, ...cells[client]!.arrays]
    for (const { label, outcome, elsewhere, form, detail } of of('pglisten')) {
      const said = `${name} ${label}: ${detail}`
      t.true(outcome === 'exact' || (outcome === 'rounded' && form !== undefined), said)
      t.is(elsewhere, undefined, said)
    }
    for (const { label, outcome, elsewhere, detail } of of('pglisten, forms without loss')) {
      t.is(outcome, 'exact', `${name} ${label}: ${detail}`)
      t.is(elsewhere, undefined, `${name} ${label}: ${detail}`)
    }
  }
})

test('digits that are lost round a value, and anything else that is lost makes it wrong', (t) => {
  for (const [expected, got, outcome] of [
    ['12', '12', 'exact'],
    [null, null, 'exact'],
    ['-0', '0', 'rounded'],
    ['1.10', '1.1', 'rounded'],
    ['12345678901234567890', '12345678901234567000', 'rounded'],
    ['12:34:56.123456+00', '12:34:56.123+00', 'rounded'],
    ['[2:3]={1,2}', '{1,2}', 'rounded'],
    ['12:34:56.123456+00', '12:34:56.122+00', 'wrong'],
    ['12:34:56', '12:35:56', 'wrong'],
    ['1.1', '1.2', 'wrong'],
    ['{1,NULL}', '{1,NaN}', 'wrong'],
    ['[2:3]={1,2}', '{{1,2}}', 'wrong'],
    ['{1}', '{1,1}', 'wrong'],
    ['a', null, 'wrong'],
    [null, '', 'wrong'],
    ['infinity', '00:00:00', 'wrong'],
  ] as const) {
    t.is(judge(expected, got), outcome, `${expected} ${got}`)
  }
})
