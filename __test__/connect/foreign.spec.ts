// The tables of docs/configuration.md about addresses and options of other software, each row run against a server.

import test from 'ava'
import fs from 'node:fs'
import { ConnectionPool, ConnectionPoolConfigurationError } from 'pglisten'
import { serverDsn } from '../../lab/server/test-server.js'

const page = fs.readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8')

/** The rows of the table under a heading, as cells. */
function table(heading: string): string[][] {
  const section = page.split(`\n${heading}\n`)[1]!.split(/\n##/)[0]!
  return section
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) =>
      line
        .slice(1, -1)
        .split(' | ')
        .map((cell) => cell.trim()),
    )
}

/** What is between the first backticks of a text. */
const quoted = (text: string) => /(`+) ?(.+?) ?\1(?!`)/.exec(text)![2]!
const examples = (cell: string) => cell.split(/, (?=`)/).map((one) => one.slice(1, -1))

const ASKED = `SELECT concat_ws('|', current_user, current_database(), current_setting('application_name'),
  current_setting('search_path'), current_setting('statement_timeout'), current_setting('lock_timeout'),
  current_setting('idle_in_transaction_session_timeout'), current_setting('TimeZone'),
  (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()))`

/** The address of an example, at the tests' server. */
async function place(example: string): Promise<string> {
  const url = new URL(await serverDsn())
  if (example.startsWith('?')) return `${url.href}${example}`
  const account = `${url.username}:${url.password}`
  return example
    .replace('//me@db.example/app', `//${account}@${url.host}${url.pathname}`)
    .replace('//db.example/app?', `//${url.host}${url.pathname}?password=${url.password}&`)
    .replace('user=me', `user=${url.username}`)
}

/** What a session says of itself, or why there is none. */
async function outcome(dsn: string): Promise<string> {
  let pool: ConnectionPool | undefined
  try {
    pool = new ConnectionPool(dsn)
    const connection = await pool.connection()
    const answer = await connection.fetchVal<string>(ASKED)
    await connection.close()
    return answer
  } catch (error) {
    return (error as Error).message
  } finally {
    await pool?.close()
  }
}

const addresses = table('## Addresses of other software')

test('the table has rows of each kind', (t) => {
  const kinds = addresses.map(([, , what]) => /^(read as|ignored|refused)/.exec(what!)?.[0])
  t.false(kinds.includes(undefined))
  t.is(new Set(kinds).size, 3)
  t.true(kinds.length > 45)
})

for (const [cell, , what] of addresses) {
  for (const example of examples(cell!)) {
    // One after the other: each makes two connections.
    test.serial(`${example} is ${what!.split(':')[0]!.slice(0, 60)}`, async (t) => {
      if (what!.startsWith('refused')) {
        const address = example.startsWith('?')
          ? `postgres://me:pw@db.example/app${example}`
          : example
        const error = t.throws(() => new ConnectionPool(address), {
          instanceOf: ConnectionPoolConfigurationError,
        })
        t.is(error.message, quoted(what!.slice('refused: '.length)))
        t.is(error.option, 'dsn')
        return
      }
      const same = what!.startsWith('ignored') ? await serverDsn() : await place(quoted(what!))
      t.is(await outcome(await place(example)), await outcome(same))
    })
  }
}

for (const [cell, , meant] of table('### Options of other clients')) {
  for (const name of examples(cell!)) {
    test(`the option ${name} is refused with its name here`, (t) => {
      t.throws(() => new ConnectionPool({ [name]: 'hunter2' }), {
        instanceOf: ConnectionPoolConfigurationError,
        message: `Unknown option \`${name}\` in \`options\`: did you mean ${meant}?`,
      })
    })
  }
}

test('an option in other letters is refused with its name here', (t) => {
  for (const [name, meant] of Object.entries({
    dbname: 'dbName',
    ca_file: 'caFile',
    max_db_pool_size: 'maxDbPoolSize',
    SSLMODE: 'sslMode',
  })) {
    t.throws(() => new ConnectionPool({ [name]: 'x' }), {
      message: `Unknown option \`${name}\` in \`options\`: did you mean \`${meant}\`?`,
    })
  }
  t.throws(() => new ConnectionPool({ prot: 'x' } as never), { message: /; expected `dsn`, / })
})

test('Neon’s option comes to the server as it was written', async (t) => {
  // A server that knows no such option refuses it by its name.
  t.regex(await outcome(await place('?options=endpoint%3Dep-cool-name')), /endpoint|invalid/)
})

test.serial('settings of the server in an address and in the environment add up', async (t) => {
  const before = process.env['PGTZ']
  process.env['PGTZ'] = 'Asia/Kathmandu'
  try {
    const got = await outcome(await place('?statement_timeout=5000'))
    t.regex(got, /\|5s\|.*\|Asia\/Kathmandu\|/)
  } finally {
    if (before === undefined) delete process.env['PGTZ']
    else process.env['PGTZ'] = before
  }
})
