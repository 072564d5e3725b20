// Whom a connection over TLS trusts, which files it reads and when, and what it says when it refuses.

import test from 'ava'
import fs from 'node:fs'
import path from 'node:path'
import {
  ConnectionPool,
  ConnectionPoolConfigurationError,
  type ConnectionPoolOptions,
  ConnectionTlsError,
  DatabaseError,
} from 'pglisten'
import { type Certificate, makeCertificate } from '../../lab/tls/certificates.js'
import {
  authority,
  caFile,
  good,
  issue,
  refused,
  session,
  stranger,
  tls,
} from '../../lab/tls/tls-scene.js'
import { since } from '../support/since.js'

/** Direct TLS came with PostgreSQL 17. */
const since17 = since(17)

/** For the time of a call. */
async function withEnvironment<Result>(
  variables: Record<string, string>,
  call: () => Promise<Result>,
): Promise<Result> {
  Object.assign(process.env, variables)
  try {
    return await call()
  } finally {
    for (const name of Object.keys(variables)) delete process.env[name]
  }
}

test.serial('a certificate that is refused is refused with the reason', async (t) => {
  const full = { caFile, sslMode: 'verify-full' } as const
  const refusals: [Certificate, ...RegExp[]][] = [
    [
      issue({ name: 'other', names: ['other.example', '10.0.0.1'] }),
      /certificate is for `other\.example`, `10\.0\.0\.1`, not for `localhost`/,
    ],
    [
      makeCertificate({ issuer: authority, authority: false }),
      /certificate is for no name, not for `localhost`/,
    ],
    [stranger.issue(), /unknown issuer, `O=pglisten tests, CN=stranger`/, /`caFile`/],
    [issue({ validFrom: -20, validTo: -10 }), /certificate expired on /],
    [issue({ validFrom: 10, validTo: 20 }), /certificate is not valid before /],
  ]
  for (const [certificate, ...messages] of refusals) {
    await tls.change({ certificate })
    const error = await refused(
      t,
      full,
      ConnectionTlsError,
      /^could not connect to localhost:\d+: /,
      ...messages,
    )
    t.is((error as ConnectionTlsError).code, 'ERR_PGLISTEN_CONNECTION_TLS')
  }
})

test.serial('an authority that is signed by a trusted one, but is none, is refused', async (t) => {
  const impostor = issue({ authority: false })
  const certificate = makeCertificate({ names: ['localhost'], issuer: impostor })
  await tls.change({ certificate, intermediates: [impostor] })
  await refused(t, { caFile, sslMode: 'verify-ca' }, ConnectionTlsError, /certificate/)
  // Nor is it one when it is trusted itself, as a server.
  const trusted = tls.file(impostor.certificate)
  await refused(t, { caFile: trusted, sslMode: 'verify-ca' }, ConnectionTlsError, /certificate/)
})

test.serial('a certificate whose signature was changed is refused', async (t) => {
  // The name of the trusted authority, the key of another one.
  const impostor = makeCertificate({ name: 'authority', authority: true })
  for (const version1 of [false, true]) {
    const names = version1 ? {} : { names: ['localhost'] }
    await tls.change({
      certificate: makeCertificate({ name: 'localhost', issuer: impostor, version1, ...names }),
    })
    await refused(
      t,
      { caFile, sslMode: 'verify-ca' },
      ConnectionTlsError,
      /not signed with the key that `O=pglisten tests, CN=authority` has in `caFile`/,
    )
  }
})

test.serial('names are matched as libpq matches them', async (t) => {
  const at = (host: string) =>
    ({ dsn: tls.dsn.replace('localhost', host), caFile, sslMode: 'verify-full' }) as const
  await tls.change({ certificate: issue({ names: ['127.0.0.1'] }) })
  t.true((await session(at('127.0.0.1'))).ssl)
  await refused(
    t,
    at('localhost'),
    ConnectionTlsError,
    /is for `127\.0\.0\.1`, not for `localhost`/,
  )
  await tls.change({ certificate: issue({ names: ['LOCALHOST'] }) })
  t.true((await session(at('localhost'))).ssl)
  await refused(
    t,
    at('127.0.0.1'),
    ConnectionTlsError,
    /is for `LOCALHOST`, not for `127\.0\.0\.1`/,
  )
  // The name that was asked for counts, not the address where it was found.
  await tls.change({ certificate: issue({ names: ['db.example'] }) })
  const dsn = tls.pairs({ host: 'db.example', hostaddr: '127.0.0.1' })
  t.true((await session({ dsn, caFile, sslMode: 'verify-full' })).ssl)
})

test.serial('a server without TLS is refused where TLS is a must', async (t) => {
  await tls.change({})
  for (const sslMode of ['require', 'verify-ca', 'verify-full'] as const) {
    await refused(
      t,
      { caFile, sslMode },
      ConnectionTlsError,
      new RegExp(`^localhost:\\d+ does not support TLS \\(sslMode is \`${sslMode}\`\\)`),
    )
  }
})

test.serial('the server tells why it refuses a way, and both reasons are told', async (t) => {
  await tls.change({ certificate: good, access: ['hostssl scram-sha-256'] })
  await refused(t, { sslMode: 'disable' }, DatabaseError, /no encryption/)
  await tls.change({ certificate: good, access: ['hostnossl scram-sha-256'] })
  await refused(t, { sslMode: 'require' }, DatabaseError, /SSL encryption/)
  await tls.change({ certificate: good, access: [] })
  for (const [sslMode, messages] of [
    ['prefer', /no encryption; before that: .*SSL encryption/],
    ['allow', /SSL encryption; before that: .*no encryption/],
  ] as const) {
    const error = await refused(t, { sslMode }, DatabaseError, messages)
    t.is((error as DatabaseError).sqlState, '28000')
  }
  await tls.change({ certificate: good })
  const wrong = { sslMode: 'prefer', password: 'wrong' } as const
  await refused(t, wrong, DatabaseError, /^password authentication failed for user "postgres"$/)
})

test.serial('a client certificate is shown, and what the server says to it is told', async (t) => {
  const client = makeCertificate({ name: 'postgres', issuer: authority })
  const certFile = tls.file(client.certificate)
  const keyFile = tls.file(client.key)
  // No password at all: the certificate is who we are.
  await tls.change({ certificate: good, clientAuthority: authority, access: ['hostssl cert'] })
  const { username } = { username: 'postgres' }
  const dsn = tls.pairs({ password: undefined })
  t.like(await session({ dsn, username, sslMode: 'require', certFile, keyFile }), {
    client_dn: '/O=pglisten tests/CN=postgres',
  })
  await refused(t, { dsn, sslMode: 'require' }, DatabaseError, /valid client certificate/)
  const other = makeCertificate({ name: 'postgres', issuer: stranger.authority })
  await refused(
    t,
    { sslMode: 'require', certFile: tls.file(other.certificate), keyFile: tls.file(other.key) },
    ConnectionTlsError,
    /the server does not accept the client's certificate \(`certFile`\)/,
  )
  const late = makeCertificate({ name: 'postgres', issuer: authority, validFrom: -9, validTo: -8 })
  await refused(
    t,
    { sslMode: 'require', certFile: tls.file(late.certificate), keyFile: tls.file(late.key) },
    ConnectionTlsError,
    /does not accept the client's certificate .*Expired/,
  )
  // Of the oldest form, and with each kind of key.
  for (const kind of [
    { version1: true },
    { algorithm: 'rsa' },
    { algorithm: 'ed25519' },
  ] as const) {
    const one = makeCertificate({ name: 'postgres', issuer: authority, ...kind })
    const files = { certFile: tls.file(one.certificate), keyFile: tls.file(one.key) }
    t.true((await session({ dsn, sslMode: 'require', ...files })).ssl, JSON.stringify(kind))
  }
})

test.serial(
  'a file that cannot be used is an error that names the option and the path',
  async (t) => {
    await tls.change({ certificate: good })
    const client = makeCertificate({ name: 'postgres', issuer: authority })
    const certFile = tls.file(client.certificate)
    const keyFile = tls.file(client.key)
    const missing = `${tls.folder}/missing.pem`
    const text = tls.file('not a certificate')
    const broken = tls.file('-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n')
    const encrypted = tls.file(
      client.privateKey
        .export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'hunter2' })
        .toString(),
    )
    const otherKey = tls.file(makeCertificate().key)
    const open = tls.file(client.key, 0o644)
    const wrong: [ConnectionPoolOptions, path: string, RegExp, option?: string][] = [
      [{ caFile: missing }, missing, /`caFile` \(`sslrootcert`\) cannot be read: .*No such file/],
      [{ caFile: text }, text, /`caFile` .* cannot be used: .* found none/],
      [{ caFile: broken }, broken, /certificate 1 cannot be read/],
      [{ caFile: tls.folder }, tls.folder, /directory/],
      [
        { certFile: missing, keyFile },
        missing,
        /`certFile` \(`sslcert`\) cannot be read: .*No such file/,
      ],
      [{ certFile: text, keyFile }, text, /`certFile` .* found none/],
      [
        { certFile, keyFile: missing },
        missing,
        /`keyFile` \(`sslkey`\) cannot be used: .*No such file/,
        'keyFile',
      ],
      [{ certFile, keyFile: text }, text, /expected a private key/, 'keyFile'],
      [
        { certFile, keyFile: encrypted },
        encrypted,
        /it is encrypted, which is not supported/,
        'keyFile',
      ],
      [{ certFile, keyFile: otherKey }, otherKey, /not the key of the certificate/, 'keyFile'],
      [{ certFile, keyFile: open }, open, /others have access to it.*0600.*are 0644/, 'keyFile'],
      [{ certFile }, `${tls.folder}/.postgresql/postgresql.key`, /No such file/, 'keyFile'],
      [{ sslMode: 'verify-ca' }, `${tls.folder}/.postgresql/root.crt`, /No such file/, 'caFile'],
    ]
    for (const [options, path, message, named = Object.keys(options)[0]!] of wrong) {
      for (const sslMode of [options.sslMode ?? 'prefer', 'verify-full'] as const) {
        const files = options.caFile || options.sslMode || sslMode === 'prefer' ? {} : { caFile }
        const error = await refused(
          t,
          { ...files, ...options, sslMode },
          ConnectionPoolConfigurationError,
          message,
        )
        t.true(error.message.includes(path), error.message)
        t.is((error as ConnectionPoolConfigurationError).option, named)
      }
      // Where nothing is to be encrypted, nothing is read.
      t.false((await session({ ...options, sslMode: 'disable' })).ssl)
    }
  },
)

// psqlpy encrypts without verifying when there is no certificate to verify with.
test.serial(
  'verification that was asked for is not left out for want of a certificate',
  async (t) => {
    await tls.change({ certificate: good })
    for (const sslMode of ['verify-ca', 'verify-full'] as const) {
      const error = await refused(t, { sslMode }, ConnectionPoolConfigurationError, /root\.crt/)
      t.is((error as ConnectionPoolConfigurationError).option, 'caFile')
    }
  },
)

test.serial("libpq's own files are used where none are named", async (t) => {
  const client = makeCertificate({ name: 'postgres', issuer: authority })
  tls.ownFile('root.crt', authority.certificate)
  tls.ownFile('postgresql.crt', client.certificate)
  tls.ownFile('postgresql.key', client.key)
  await tls.change({ certificate: good, clientAuthority: authority })
  t.like(await session({ sslMode: 'verify-full' }), {
    ssl: true,
    client_dn: '/O=pglisten tests/CN=postgres',
  })
  t.like(await session({ dsn: `${tls.dsn}?sslcertmode=disable`, sslMode: 'verify-full' }), {
    ssl: true,
    client_dn: null,
  })
  // With a root certificate `require` verifies, as the manual says.
  await tls.change({ certificate: stranger.issue() })
  await refused(t, { sslMode: 'require' }, ConnectionTlsError, /unknown issuer/)
})

test.serial("libpq's own files that cannot be looked at count as missing", async (t) => {
  await tls.change({ certificate: good })
  // As where the home folder is that of another user, which root may look at.
  fs.symlinkSync('.postgresql', path.join(tls.folder, '.postgresql'))
  t.like(await session({}), { ssl: true })
  t.like(await session({ sslMode: 'allow' }), { ssl: false })
  // As in libpq, what must encrypt does not do without the client's certificate, and what must check without the authorities'.
  for (const [sslMode, option] of [
    ['require', 'certFile'],
    ['verify-ca', 'caFile'],
    ['verify-full', 'caFile'],
  ] as const) {
    const error = await refused(t, { sslMode }, ConnectionPoolConfigurationError, /cannot be read/)
    t.is((error as ConnectionPoolConfigurationError).option, option)
  }
})

test.serial('files are read for each connection', async (t) => {
  const file = tls.file(stranger.authority.certificate)
  await tls.change({ certificate: good })
  const pool = new ConnectionPool({ dsn: tls.dsn, sslMode: 'verify-full', caFile: file })
  t.teardown(() => pool.close())
  await t.throwsAsync(pool.notify('x'), { instanceOf: ConnectionTlsError })
  fs.writeFileSync(file, authority.certificate)
  await t.notThrowsAsync(pool.notify('x'))
})

since17('the DSN and the environment can ask for everything', async (t) => {
  const client = makeCertificate({ name: 'postgres', issuer: authority })
  const certFile = tls.file(client.certificate)
  const keyFile = tls.file(client.key)
  await tls.change({ certificate: good, clientAuthority: authority, access: ['hostssl cert'] })
  const expected = { ssl: true, client_dn: '/O=pglisten tests/CN=postgres' }
  const asked = {
    sslmode: 'verify-full',
    sslrootcert: caFile,
    sslcert: certFile,
    sslkey: keyFile,
    sslnegotiation: 'direct',
    channel_binding: 'prefer',
  }
  t.like(await session({ dsn: tls.pairs(asked) }), expected)
  t.like(await session({ dsn: `${tls.dsn}?${new URLSearchParams(asked).toString()}` }), expected)
  const variables = {
    PGSSLMODE: 'verify-full',
    PGSSLROOTCERT: caFile,
    PGSSLCERT: certFile,
    PGSSLKEY: keyFile,
    PGSSLNEGOTIATION: 'direct',
    PGCHANNELBINDING: 'prefer',
  }
  t.like(await withEnvironment(variables, () => session({})), expected)
  // An option wins over the DSN, and the DSN over the environment.
  await withEnvironment({ ...variables, PGSSLMODE: 'disable', PGSSLNEGOTIATION: '' }, async () => {
    await refused(t, {}, DatabaseError, /no encryption/)
    t.true((await session({ dsn: `${tls.dsn}?sslmode=require` })).ssl)
    const dsn = `${tls.dsn}?sslmode=require`
    await refused(t, { dsn, sslMode: 'disable' }, DatabaseError, /no encryption/)
  })
  await tls.change({})
  await withEnvironment({ PGREQUIRESSL: '1' }, () =>
    refused(t, {}, ConnectionTlsError, /does not support TLS \(sslMode is `require`\)/),
  )
})

test.serial("the system's roots are trusted, and those only", async (t) => {
  await tls.change({ certificate: good })
  const system = { caFile: 'system' } as const
  await withEnvironment({ SSL_CERT_FILE: caFile }, async () => {
    t.true((await session(system)).ssl)
    const { host } = new URL(tls.dsn)
    const dsn = tls.dsn.replace(host, host.replace('localhost', '127.0.0.1'))
    await tls.change({ certificate: issue({ names: ['localhost'] }) })
    await refused(t, { dsn, ...system }, ConnectionTlsError, /not for `127\.0\.0\.1`/)
  })
  const strangers = tls.file(stranger.authority.certificate)
  await withEnvironment({ SSL_CERT_FILE: strangers }, () =>
    refused(t, system, ConnectionTlsError, /unknown issuer/),
  )
  for (const sslMode of ['disable', 'prefer', 'require', 'verify-ca'] as const) {
    const error = t.throws(() => new ConnectionPool({ dsn: tls.dsn, sslMode, ...system }), {
      instanceOf: ConnectionPoolConfigurationError,
      message: /`sslMode` to be `verify-full`/,
    })
    t.is(error.option, 'sslMode')
  }
})
