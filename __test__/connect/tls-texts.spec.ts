// Certificates and keys given as text: used wherever the files are, checked when a pool is made, shown nowhere.

import test from 'ava'
import { once } from 'node:events'
import { inspect } from 'node:util'
import { ConnectionPool, ConnectionPoolConfigurationError } from 'pglisten'
import { type Certificate, makeCertificate } from '../../lab/tls/certificates.js'
import { authority, caFile, good, session, stranger, tls } from '../../lab/tls/tls-scene.js'
import { waitFor } from '../../lab/wait.js'
import { uniqueName } from '../../lab/unique-name.js'

const client = makeCertificate({ name: 'postgres', issuer: authority })
const texts = { ca: authority.certificate, cert: client.certificate, key: client.key } as const

const withClients = () =>
  tls.change({
    certificate: good,
    clientAuthority: authority,
    access: ['hostssl scram-sha-256 clientcert=verify-ca'],
  })

test.serial('the pool, a listening session and a cancellation use the texts', async (t) => {
  await withClients()
  const sslMode = 'verify-full'
  t.like(await session({ sslMode, ...texts }), {
    ssl: true,
    client_dn: '/O=pglisten tests/CN=postgres',
  })
  // An authority as text is checked with, as one in a file is.
  const wrong = { ...texts, ca: stranger.authority.certificate }
  for (const mode of ['require', 'verify-ca', 'verify-full'] as const) {
    await t.throwsAsync(
      session({ sslMode: mode, ...wrong }),
      { message: /unknown issuer.*\(`ca`\)/ },
      mode,
    )
  }

  const pool = new ConnectionPool({ dsn: tls.dsn, sslMode, ...texts })
  t.teardown(() => pool.close())
  const channel = uniqueName('channel')
  const listener = pool.listener({ channels: [channel], reconnect: { initialDelayMs: 10 } })
  await listener.startup()
  const processId = await listener.connection.fetchVal<number>('SELECT pg_backend_pid()')
  const back = once(listener, 'gap')
  await using connection = await pool.connection()
  await connection.execute('SELECT pg_terminate_backend($1)', [processId])
  await back
  await t.throwsAsync(connection.execute('SELECT pg_sleep(60)', [], { timeoutMs: 100 }), {
    code: 'ERR_PGLISTEN_CONNECTION_TIMEOUT',
  })
  // The server has heard the cancellation: its certificate was good enough.
  t.is(await connection.fetchVal<number>('SELECT 1'), 1)
  await waitFor(() => tls.server.log().includes('canceling statement due to user request'), {
    what: 'the cancellation',
  })
  for (const thing of [pool, listener, connection, pool.status()]) {
    const shown = inspect(thing, { depth: Infinity, showHidden: true, getters: true })
    for (const text of Object.values(texts)) t.false(shown.includes(text.slice(40, 80)))
  }
})

test.serial('a text takes the place of a file that the DSN or the environment names', async (t) => {
  await withClients()
  const missing = '/no/such/file'
  const dsn = `${tls.dsn}?sslmode=verify-full&sslrootcert=${missing}&sslcert=${missing}&sslkey=${missing}`
  t.true((await session({ dsn, ...texts })).ssl)
  const system = `${tls.dsn}?sslmode=verify-full&sslrootcert=system`
  t.true((await session({ dsn: system, ...texts })).ssl)
  // Files and texts go together, one for each thing.
  const keyFile = tls.file(client.key)
  const { ca: _ca, key: _key, ...cert } = texts
  t.true((await session({ sslMode: 'verify-full', caFile, keyFile, ...cert })).ssl)
})

const SECRET = 'c2VjcmV0LTMxNDE1OTI2NTM1ODk3OTMyMzg0NjI2NDMz'
const onOneLine = ({ certificate, key }: Certificate) => ({
  certificate: certificate.replaceAll('\n', String.raw`\n`),
  key: key.replaceAll('\n', String.raw`\n`),
})
const other = makeCertificate({ name: 'other' })

for (const [what, options, option, message] of [
  ['a wrong type', { key: Buffer.from(SECRET) }, 'key', /`key` to be a string in PEM/],
  ['nothing', { ca: '' }, 'ca', /`ca` to be a string in PEM/],
  [
    'no PEM',
    { ca: SECRET },
    'ca',
    /`ca` cannot be used: expected certificates in PEM .*found none/,
  ],
  ['no PEM', { cert: SECRET }, 'cert', /`cert` cannot be used: expected certificates in PEM/],
  ['no PEM', { key: SECRET }, 'key', /`key` cannot be used: expected a private key in PEM/],
  ['a key', { ca: client.key }, 'ca', /`ca` .* found none$/],
  ['a certificate', { key: client.certificate }, 'key', /expected a private key in PEM/],
  [
    'escaped ends of lines',
    { ca: onOneLine(authority).certificate },
    'ca',
    /there is a `\\n` in two characters where a line must end/,
  ],
  ['escaped ends of lines', { key: onOneLine(client).key }, 'key', /a private key in PEM/],
  [
    'a line that does not end',
    { ca: `-----BEGIN CERTIFICATE ${SECRET}\n` },
    'ca',
    /expected certificates in PEM/,
  ],
  [
    'a certificate that is none',
    { ca: `-----BEGIN CERTIFICATE-----\n${SECRET}\n-----END CERTIFICATE-----\n` },
    'ca',
    /`ca` cannot be used: certificate 1 cannot be read/,
  ],
  [
    "another certificate's key",
    { cert: client.certificate, key: other.key },
    'key',
    /`key` cannot be used: it is not the key of the certificate `cert`/,
  ],
  ['both', { ca: authority.certificate, caFile: 'x' }, 'ca', /`ca` or `caFile`, got both/],
  ['both', { cert: client.certificate, certFile: 'x' }, 'cert', /`cert` or `certFile`, got both/],
  ['both', { key: client.key, keyFile: 'x' }, 'key', /`key` or `keyFile`, got both/],
] as const) {
  test.serial(`${what} as \`${option}\` is refused and not shown: ${message}`, (t) => {
    const error = t.throws(() => new ConnectionPool({ dsn: tls.dsn, ...options } as never), {
      instanceOf: ConnectionPoolConfigurationError,
      message,
    })
    t.is(error.option, option)
    const shown = inspect(error, { depth: Infinity, showHidden: true }) + error.stack
    for (const secret of [SECRET, client.key.slice(60, 90), other.key.slice(60, 90)]) {
      t.false(shown.includes(secret), shown)
    }
  })
}
