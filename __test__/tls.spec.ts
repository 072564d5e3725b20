// What a connection over TLS does: whom it trusts, which files it reads and when, and what it says when it refuses.

import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import fs from 'node:fs'
import { type AddressInfo, type Server, type Socket, connect, createServer } from 'node:net'
import { pipeline } from 'node:stream'
import * as nodeTls from 'node:tls'
import {
  ConnectionFailedError,
  ConnectionPool,
  ConnectionPoolConfigurationError,
  type ConnectionPoolOptions,
  ConnectionTlsError,
  DatabaseError,
} from 'pglisten'
import { type Certificate, makeCertificate } from './support/certificates.js'
import { TlsServer, makeAuthority } from './support/tls-server.js'
import { waitFor } from './support/wait.js'

const { authority, issue } = makeAuthority()
const stranger = makeAuthority('stranger')
const good = issue()
let tls: TlsServer
let caFile: string

test.before(async () => {
  tls = await TlsServer.start()
  caFile = tls.file(authority.certificate)
})

test.after.always(() => tls?.stop())

test.afterEach.always(() => tls.removeOwnFiles())

interface Session {
  ssl: boolean
  version: string | null
  client_dn: string | null
}

/** What the server knows of a connection that is made with these options. */
async function session(options: ConnectionPoolOptions): Promise<Session> {
  const pool = new ConnectionPool({ dsn: tls.dsn, ...options })
  try {
    const connection = await pool.connection()
    const { rows } = { rows: await connection.execute<Session & Record<string, unknown>>(SESSION) }
    await connection.close()
    return rows[0]!
  } finally {
    await pool.close()
  }
}

const SESSION = 'SELECT ssl, version, client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()'

async function refused(
  t: ExecutionContext,
  options: ConnectionPoolOptions,
  instanceOf: new (...args: never[]) => Error,
  ...messages: RegExp[]
): Promise<Error> {
  const error = await t.throwsAsync(session(options), { instanceOf })
  for (const message of messages) t.regex(error.message, message)
  return error
}

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

test.serial('files are read for each connection', async (t) => {
  const file = tls.file(stranger.authority.certificate)
  await tls.change({ certificate: good })
  const pool = new ConnectionPool({ dsn: tls.dsn, sslMode: 'verify-full', caFile: file })
  t.teardown(() => pool.close())
  await t.throwsAsync(pool.notify('x'), { instanceOf: ConnectionTlsError })
  fs.writeFileSync(file, authority.certificate)
  await t.notThrowsAsync(pool.notify('x'))
})

test.serial('the DSN and the environment can ask for everything', async (t) => {
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

test.serial('old and new versions of TLS are spoken, with each kind of certificate', async (t) => {
  for (const version of ['TLSv1.2', 'TLSv1.3']) {
    for (const kind of [
      {},
      { algorithm: 'rsa' },
      { version1: true },
      { version1: true, algorithm: 'rsa' },
      { algorithm: 'ed25519' },
    ] as const) {
      const certificate = issue({ name: 'localhost', ...kind })
      await tls.change({
        certificate,
        settings: { ssl_min_protocol_version: version, ssl_max_protocol_version: version },
      })
      for (const sslMode of ['require', 'verify-full'] as const) {
        const files = sslMode === 'require' ? {} : { caFile }
        t.like(await session({ sslMode, ...files }), { ssl: true, version }, JSON.stringify(kind))
      }
    }
  }
  await tls.change({ certificate: good, settings: { ssl_max_protocol_version: 'TLSv1.2' } })
  const dsn = `${tls.dsn}?sslmode=require&ssl_min_protocol_version=TLSv1.3`
  await refused(t, { dsn }, ConnectionTlsError, /versions of TLS/)
})

test.serial(
  'direct TLS is spoken with a server that takes it, and refused by others',
  async (t) => {
    await tls.change({ certificate: good })
    const direct = { sslNegotiation: 'direct', sslMode: 'verify-full', caFile } as const
    t.true((await session(direct)).ssl)
    for (const sslMode of ['disable', 'allow', 'prefer'] as const) {
      t.throws(() => new ConnectionPool({ dsn: tls.dsn, ...direct, sslMode }), {
        instanceOf: ConnectionPoolConfigurationError,
        message: /`sslMode` to be `require`, .* with `sslNegotiation` `direct`/,
      })
    }
    const port = await listen(
      t,
      nodeTls.createServer({ key: good.key, cert: good.certificate }, (socket) => {
        socket.on('error', () => {})
      }),
    )
    const dsn = tls.dsn.replace(/localhost:\d+/, `localhost:${port}`)
    await refused(t, { dsn, ...direct }, ConnectionTlsError, /\(ALPN\)/)
  },
)

/** Somebody in between, with a certificate that the client trusts for this very host. */
async function startMiddleman(t: ExecutionContext, certificate: Certificate): Promise<string> {
  const server = createServer((socket) => {
    const give = (other: NodeJS.ReadWriteStream, from: NodeJS.ReadWriteStream) =>
      from
        .on('error', () => {})
        .on('close', () => (other as Socket).destroy())
        .pipe(other)
    socket
      .on('error', () => {})
      .once('data', () => {
        const upstream = connect(tls.server.port, '127.0.0.1')
        upstream.on('error', () => socket.destroy())
        upstream.write(SSL_REQUEST)
        upstream.once('data', () => {
          const far = nodeTls.connect({ socket: upstream, rejectUnauthorized: false })
          const near = new nodeTls.TLSSocket(socket, {
            isServer: true,
            key: certificate.key,
            cert: certificate.certificate,
          })
          give(near, far)
          give(far, near)
          socket.write('S')
        })
      })
  })
  return tls.dsn.replace(/localhost:\d+/, `localhost:${await listen(t, server)}`)
}

const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f])

async function listen(t: ExecutionContext, server: Server): Promise<number> {
  t.teardown(() => server.close())
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return (server.address() as AddressInfo).port
}

test.serial('SCRAM is bound to the server, whatever its certificate was signed with', async (t) => {
  for (const kind of [
    { hash: 'sha256' },
    { hash: 'sha384' },
    { hash: 'sha512' },
    { algorithm: 'rsa', hash: 'sha512' },
  ] as const) {
    const rsa = makeCertificate({ name: 'rsa', authority: true, algorithm: 'rsa' })
    const issuer = 'algorithm' in kind ? rsa : authority
    const certificate = issue({ ...kind, issuer })
    await tls.change({ certificate })
    const bound = { sslMode: 'require', channelBinding: 'require' } as const
    t.true((await session(bound)).ssl, JSON.stringify(kind))
  }
})

test.serial(
  'somebody in between, whom the client trusts, is found out by the binding',
  async (t) => {
    await tls.change({ certificate: good })
    const dsn = await startMiddleman(t, issue())
    const full = { dsn, caFile, sslMode: 'verify-full' } as const
    t.true((await session({ ...full, channelBinding: 'disable' })).ssl)
    for (const channelBinding of ['prefer', 'require'] as const)
      await refused(t, { ...full, channelBinding }, DatabaseError, /channel binding/)
  },
)

test.serial('a binding that is a must cannot be left out', async (t) => {
  const bound = { channelBinding: 'require' } as const
  await tls.change({})
  await refused(t, bound, ConnectionTlsError, /not encrypted, but `channelBinding` is `require`/)
  await tls.change({ certificate: good })
  t.true((await session(bound)).ssl)
  t.true((await session({ ...bound, sslMode: 'allow' })).ssl)
  for (const method of ['trust', 'password', 'md5']) {
    await tls.change({ certificate: good, access: [`host ${method}`] })
    const message = /does not bind authentication to TLS, but `channelBinding` is `require`/
    // With a password that is kept for SCRAM, `md5` is SCRAM.
    if (method === 'md5') t.true((await session(bound)).ssl)
    else await refused(t, bound, ConnectionTlsError, message)
  }
  t.throws(() => new ConnectionPool({ dsn: tls.dsn, ...bound, sslMode: 'disable' }), {
    instanceOf: ConnectionPoolConfigurationError,
    message: /`channelBinding` is `require`, which needs TLS/,
  })
})

test.serial('closing a pool cancels what goes on in the way of its connection', async (t) => {
  await tls.change({ certificate: good })
  /** What each connection to the port begins with. */
  const beginnings: Buffer[] = []
  const port = await listen(
    t,
    createServer((socket) => {
      const server = connect(tls.server.port, '127.0.0.1')
      socket.once('data', (data) => beginnings.push(data.subarray(0, 8)))
      // A client that leaves something unread resets the connection, which pipe() does not pass on.
      pipeline(socket, server, socket, () => {})
    }),
  )
  const observing = new ConnectionPool({ dsn: tls.dsn })
  const observer = await observing.connection()
  const sleeping = () =>
    observer.fetchVal<bigint>(
      "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'",
    )
  const pools = [
    new ConnectionPool({ dsn: tls.pairs({ host: tls.server.folder }) }),
    new ConnectionPool({
      dsn: tls.dsn.replace(/:\d+\//, `:${port}/`),
      sslMode: 'verify-full',
      caFile,
    }),
  ]
  const ended = pools.map(async (pool) => {
    const connection = await pool.connection()
    await t.throwsAsync(connection.execute('SELECT pg_sleep(60)'))
  })
  await waitFor(async () => (await sleeping()) === 2n, { what: 'statements that run' })
  await Promise.all(pools.map((pool) => pool.close()))
  await waitFor(async () => (await sleeping()) === 0n, { what: 'their end', timeoutMs: 2000 })
  await Promise.all(ended)
  await observer.close()
  await observing.close()
  t.deepEqual(
    beginnings.map((bytes) => bytes.toString('hex')),
    ['0000000804d2162f', '0000000804d2162f'],
  )
})

test.serial('a Unix-domain socket is never encrypted, whatever the mode', async (t) => {
  await tls.change({ certificate: good })
  const dsn = tls.pairs({ host: tls.server.folder })
  t.false((await session({ dsn, sslMode: 'verify-full' })).ssl)
  await refused(t, { dsn, channelBinding: 'require' }, ConnectionTlsError, /not encrypted/)
})

test.serial(
  'what stands behind the answer to the request for TLS is not taken for the server',
  async (t) => {
    const greeting = Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 0])
    const port = await listen(
      t,
      createServer((socket) => {
        socket.on('error', () => {})
        socket.once('data', () => socket.write(Buffer.concat([Buffer.from('S'), greeting])))
      }),
    )
    const dsn = tls.dsn.replace(/localhost:\d+/, `localhost:${port}`)
    await refused(
      t,
      { dsn, sslMode: 'require' },
      ConnectionTlsError,
      /not TLS|handshake|TLS failed/,
    )
  },
)

test.serial(
  'a handshake that never ends is bounded, and a broken one is no matter of TLS',
  async (t) => {
    const silent = await listen(
      t,
      createServer((socket) => {
        socket.on('error', () => {})
        socket.once('data', () => socket.write('S'))
      }),
    )
    const rude = await listen(
      t,
      createServer((socket) => {
        socket.on('error', () => {})
        socket.once('data', () => {
          socket.write('S')
          socket.once('data', () => socket.resetAndDestroy())
        })
      }),
    )
    const at = (port: number) => tls.dsn.replace(/localhost:\d+/, `127.0.0.1:${port}`)
    const options = { sslMode: 'require', connectTimeoutSec: 0.3 } as const
    await refused(
      t,
      { dsn: at(silent), ...options },
      ConnectionFailedError,
      /no answer within 0\.3 s/,
    )
    await refused(t, { dsn: at(rude), ...options }, ConnectionFailedError, /reset|eof|closed/i)
  },
)
