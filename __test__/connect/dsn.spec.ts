// A DSN means what it means to libpq: each is given to psql too, where there is one.

import test from 'ava'
import { spawnSync } from 'node:child_process'
import { ConnectionPool } from 'pglisten'
import { type DevServer, startServer } from '../../lab/server/test-server.js'
import { PSQL } from '../../lab/tls/tls-table.js'

/** A password and a user that need every kind of quoting. */
const USER = `o'brien @home`
const PASSWORD = String.raw`p@ss/w:o?r#d%41 \'"&=`
const IDENTITY = `SELECT concat_ws('|', current_user, current_database(),
  current_setting('application_name'), current_setting('statement_timeout'), inet_server_port())`

let server: DevServer

test.before(async () => {
  server = await startServer()
  await using pool = new ConnectionPool(server.dsn)
  await using connection = await pool.connection()
  const password = PASSWORD.replaceAll("'", "''")
  await connection.executeBatch(`CREATE ROLE "${USER}" LOGIN PASSWORD '${password}'`)
  await connection.executeBatch(`CREATE DATABASE "a b/c?d" OWNER "${USER}"`)
})

test.after.always(() => server?.stop('immediate'))

const encoded = encodeURIComponent
const quoted = (text: string) => `'${text.replaceAll(/['\\]/g, String.raw`\$&`)}'`
const bare = (text: string) => text.replaceAll(/[\s'\\]/g, String.raw`\$&`)

/** With the port in the place of PORT, and the folder of the socket in that of FOLDER. */
const ACCOUNT = `${encoded(USER)}:${encoded(PASSWORD)}`
/** The same with the `?` of the password, and the `&` and `=` behind it, as they are. */
const BARE_ACCOUNT = ACCOUNT.replaceAll('%3F', '?').replaceAll('%26', '&').replaceAll('%3D', '=')
const PAIRS = `user=${quoted(USER)} password=${quoted(PASSWORD)}`
const TAKEN = [
  `postgres://${ACCOUNT}@127.0.0.1:PORT/postgres`,
  `postgresql://${ACCOUNT}@127.0.0.1:PORT/a%20b%2Fc%3Fd`,
  `postgres://${ACCOUNT}@127.0.0.1:PORT/a%20b%2fc%3fd?application_name=x+y%2Bz`,
  `postgres://127.0.0.1:PORT/postgres?user=${encoded(USER)}&password=${encoded(PASSWORD)}`,
  `postgres://nobody@127.0.0.1:PORT/postgres?user=${encoded(USER)}&password=${encoded(PASSWORD)}`,
  `postgres://${ACCOUNT}@/postgres?host=127.0.0.1&port=PORT`,
  `postgres://${ACCOUNT}@127.0.0.1:1,127.0.0.1:PORT/postgres`,
  `postgres://${ACCOUNT}@127.0.0.1,127.0.0.1:PORT/postgres?port=1,PORT`,
  `postgres://${ACCOUNT}@[::1]:1,127.0.0.1:PORT/postgres`,
  `postgres://${ACCOUNT}@no.invalid:PORT/postgres?hostaddr=127.0.0.1`,
  `postgres://${ACCOUNT}@127.0.0.1:PORT/?dbname=postgres`,
  `postgres://${BARE_ACCOUNT}@127.0.0.1:PORT/postgres`,
  `postgres://${BARE_ACCOUNT}@127.0.0.1:PORT?dbname=postgres&application_name=a?b`,
  `postgres://${BARE_ACCOUNT}@127.0.0.1:PORT/postgres?application_name=a@b`,
  `postgres://${ACCOUNT}@127.0.0.1:PORT/postgres?options=-c%20statement_timeout%3D77`,
  `postgres://${ACCOUNT}@127.0.0.1:PORT/postgres?application_name=a&application_name=b`,
  `postgres://${ACCOUNT}@127.0.0.1:PORT/postgres?application_name=`,
  `postgres://${ACCOUNT}@FOLDER:PORT/postgres`,
  `${PAIRS} host=127.0.0.1 port=PORT dbname=postgres`,
  `user=${bare(USER)} password=${bare(PASSWORD)} host=127.0.0.1 port=PORT dbname=postgres`,
  `  ${PAIRS}\thost = 127.0.0.1\nport= PORT dbname ='a b/c?d'  `,
  `${PAIRS} host=127.0.0.1,127.0.0.1 port=1,PORT dbname=postgres`,
  `${PAIRS} hostaddr=127.0.0.1 port=PORT dbname=postgres`,
  `${PAIRS} host=127.0.0.1 port=PORT dbname=postgres application_name='it\\'s \\\\'`,
  `${PAIRS} host=127.0.0.1 port=PORT dbname=postgres options='-c statement_timeout=88'`,
  `${PAIRS} host=127.0.0.1 port=PORT dbname=postgres fallback_application_name=last`,
  `${PAIRS} host=FOLDER port=PORT dbname=postgres`,
  `${PAIRS} host=/no/such/folder hostaddr=127.0.0.1 port=PORT dbname=postgres`,
  `${PAIRS} host='' hostaddr=127.0.0.1,127.0.0.1 port=1,PORT dbname=postgres`,
  `${PAIRS} host=127.0.0.1,127.0.0.1 hostaddr='' port=1,PORT dbname=postgres`,
  `${PAIRS} host=127.0.0.1 port=PORT dbname=postgres requiressl=0`,
]

const REFUSED = [
  `postgres://${ACCOUNT}@127.0.0.1:PORT/postgres?application_name`,
  `postgres://${ACCOUNT}@127.0.0.1:PORT/postgres?application_name=a=b`,
  `postgres://${ACCOUNT}@127.0.0.1:PORT/postgres?no_such_thing=x`,
  `postgres://${ACCOUNT}@127.0.0.1:PORT/postgres?application_name=%zz`,
  `postgres://${ACCOUNT}@127.0.0.1:PORT/postgres?application_name=%00`,
  `postgres://${ACCOUNT}@[::1:PORT/postgres`,
  `postgres://${ACCOUNT}@[::1]x:PORT/postgres`,
  `postgres://${ACCOUNT}@127.0.0.1:nine/postgres`,
  // The first `@` ends the account, so the host is `no.invalid`.
  `postgres://127.0.0.1:PORT?user=${encoded(USER)}&password=${encoded(PASSWORD)}&application_name=a@no.invalid`,
  // A `/` ends the hosts, so the port is a piece of the password.
  `postgres://${encoded(USER)}:p?q/r@127.0.0.1:PORT/postgres`,
  `${PAIRS} host=127.0.0.1 port=PORT dbname='postgres`,
  `${PAIRS} host=127.0.0.1 port=PORT dbname=postgres application_name='a''b'`,
  `${PAIRS} host=127.0.0.1 port=PORT dbname`,
  `${PAIRS} host=127.0.0.1 port=PORT no_such_thing=x`,
  `${PAIRS} host=127.0.0.1 port=65536`,
  `${PAIRS} host=127.0.0.1,127.0.0.1,127.0.0.1 port=1,PORT`,
  `${PAIRS} host=127.0.0.1 port=PORT sslmode=on`,
  `${PAIRS} host=127.0.0.1 port=PORT target_session_attrs=master`,
  `${PAIRS} host=127.0.0.1 port=PORT connect_timeout=soon`,
  `${PAIRS} host=127.0.0.1 port=PORT sslmode=prefer sslnegotiation=direct`,
  `${PAIRS} host=127.0.0.1 port=PORT sslmode=require sslrootcert=system`,
]

function place(dsn: string): string {
  const folder = dsn.includes('://') ? encoded(server.folder) : server.folder
  return dsn.replaceAll('PORT', `${server.port}`).replaceAll('FOLDER', folder)
}

/** What a session of ours is; `undefined`: there is none. */
async function here(dsn: string): Promise<string | undefined> {
  let pool: ConnectionPool | undefined
  try {
    pool = new ConnectionPool(dsn)
    const connection = await pool.connection()
    const identity = await connection.fetchVal<string>(IDENTITY)
    await connection.close()
    return identity
  } catch {
    return undefined
  } finally {
    await pool?.close()
  }
}

/** What one of psql's is. It names its sessions `psql` by itself, and we name ours. */
function there(dsn: string): string | undefined {
  const { status, stdout } = spawnSync('psql', ['-XwAt', '-d', dsn, '-c', IDENTITY], {
    encoding: 'utf8',
    env: { PATH: process.env['PATH'], HOME: server.folder, ...PSQL },
  })
  return status === 0 ? stdout.trimEnd().replace('|psql|', '|pglisten|') : undefined
}

for (const dsn of TAKEN) {
  test(`taken: ${dsn}`, async (t) => {
    const identity = await here(place(dsn))
    t.true(identity?.startsWith(`${USER}|`), identity)
    // psql has a fallback of its own.
    if (PSQL && !dsn.includes('fallback')) t.is(identity, there(place(dsn)))
  })
}

for (const dsn of REFUSED) {
  test(`refused: ${dsn}`, async (t) => {
    t.throws(() => new ConnectionPool(place(dsn)), { code: 'ERR_PGLISTEN_POOL_CONFIGURATION' })
    t.is(await here(place(dsn)), undefined)
    if (PSQL) t.is(there(place(dsn)), undefined)
  })
}
