// The page for those who come from psqlpy: each of its members has a row, and each row names what shows it.

import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { CONNECTIONS } from '../psqlpy-parity/pglisten/connections.js'
import { COPYING } from '../psqlpy-parity/pglisten/copying.js'
import { CURSORS } from '../psqlpy-parity/pglisten/cursors.js'
import { PREPARED } from '../psqlpy-parity/pglisten/prepared.js'
import { TRANSACTIONS } from '../psqlpy-parity/pglisten/transactions.js'
import { VALUES } from '../psqlpy-parity/pglisten/values.js'
import { root } from '../support/code-blocks.js'

const read = (file: string) => readFileSync(path.join(root, file), 'utf8')

const PROGRAMS = { ...CONNECTIONS, ...COPYING, ...CURSORS, ...PREPARED, ...TRANSACTIONS, ...VALUES }

/** The parts of the table that have the members of each class and module. */
const PARTS: Record<string, string[]> = {
  ConnectionPool: ['Pool'],
  ConnectionPoolBuilder: ['Pool'],
  ConnectionPoolStatus: ['Pool'],
  Connection: ['Connection and transaction'],
  Transaction: ['Connection and transaction'],
  PreparedStatement: ['Connection and transaction'],
  Column: ['Connection and transaction'],
  Cursor: ['Cursor'],
  QueryResult: ['Results'],
  SingleQueryResult: ['Results'],
  Record: ['Results'],
  Listener: ['Listener'],
  ListenerNotificationMsg: ['Listener'],
  psqlpy: ['Pool', 'Connection and transaction', 'Cursor', 'Results', 'Listener', 'Exceptions'],
  'psqlpy.extra_types': ['Types'],
  'psqlpy.exceptions': ['Exceptions'],
  'psqlpy.row_factories': ['Results'],
}

/** Classes whose objects others return. */
const WITHOUT_ROW = new Set([
  'Cursor',
  'Listener',
  'ListenerNotificationMsg',
  'QueryResult',
  'SingleQueryResult',
])

interface Row {
  part: string
  members: string
  shownBy: string
}

function rows(): Row[] {
  const [, section = ''] = read('docs/migrating/psqlpy.md').split(/^## (?:Member by member)$/m)
  const [table = ''] = section.split(/^## /m)
  let part = ''
  return table
    .split('\n')
    .filter((line) => line.startsWith('| ') && !/^\| (psqlpy |-)/.test(line))
    .flatMap((line) => {
      const [members = '', , shownBy = ''] = line
        .slice(1, -1)
        .split(' | ')
        .map((cell) => cell.trim())
      const heading = /^\*\*(.+)\*\*$/.exec(members)?.[1]
      if (heading !== undefined) part = heading
      return heading === undefined ? [{ part, members, shownBy }] : []
    })
}

test('every public member of psqlpy has a row', (t) => {
  const all = JSON.parse(read('__test__/psqlpy-parity/members.json')) as Record<string, string[]>
  t.deepEqual(Object.keys(all).sort(), Object.keys(PARTS).sort())
  const table = rows()
  const missing = Object.entries(all).flatMap(([owner, names]) => {
    const own = table.filter(({ part }) => PARTS[owner]!.includes(part))
    // Names stand in backticks, alone or with their arguments.
    const code = own.flatMap(({ members }) => members.match(/`[^`]+`/g) ?? []).join(' ')
    return names
      .filter((name) => !new RegExp(`(?<![A-Za-z_])${name}(?![A-Za-z_])`).test(code))
      .filter((name) => owner !== 'psqlpy' || !WITHOUT_ROW.has(name))
      .map((name) => `${owner}.${name}`)
  })
  t.deepEqual(missing, [])
})

test('what each row is shown by exists', (t) => {
  const table = rows()
  t.true(table.length > 50, `${table.length}`)
  const problems = table.flatMap(({ members, shownBy }) => {
    const named = [...shownBy.matchAll(/`([^`]+)` › ([^·]+?)(?= · |$)/g)]
    if (named.length === 0) return [`${members} is shown by nothing`]
    return named
      .filter(([, file, title]) => !isThere(file!, title!))
      .map(([entry]) => `${members}: ${entry} does not exist`)
  })
  t.deepEqual(problems, [])
})

/** Whether there is a program of that name, or a test whose title begins so. */
function isThere(file: string, title: string): boolean {
  if (file === 'parity') return title in PROGRAMS
  const spec = `__test__/${file.replace('__test__/', '')}`
  if (!existsSync(path.join(root, spec))) return false
  const quoted = title.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`)
  return new RegExp(`\\(\\s*['\`]${quoted}`).test(read(spec))
}
