// What goes over a connection with TLS: versions, direct negotiation, what SCRAM is bound to, who may be in between.

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
  ConnectionTlsError,
  DatabaseError,
} from 'pglisten'
import { type Certificate, makeCertificate } from '../../lab/tls/certificates.js'
import { authority, caFile, good, issue, refused, session, tls } from '../../lab/tls/tls-scene.js'
import { startServer } from '../../lab/server/test-server.js'
import { since } from '../support/since.js'
import { waitFor } from '../../lab/wait.js'

/** Debian's. */
const OLD_POSTGRES = '/usr/lib/postgresql/15/bin'

/** Direct TLS came with PostgreSQL 17. */
const since17 = since(17)

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

const TLS_HANDSHAKE = 0x16
const CANCEL_REQUEST_CODE = Buffer.from([0x04, 0xd2, 0x16, 0x2e])
const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f])

async function listen(t: ExecutionContext, server: Server): Promise<number> {
  t.teardown(() => server.close())
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return (server.address() as AddressInfo).port
}

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

since17('direct TLS is spoken with a server that takes it, and refused by others', async (t) => {
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
})

test.serial('a statement is cancelled the same encrypted way', async (t) => {
  await tls.change({ certificate: good })
  const sent: Buffer[] = []
  const port = await listen(
    t,
    createServer((client) => {
      const index = sent.push(Buffer.alloc(0)) - 1
      const server = connect(tls.server.port, '127.0.0.1')
      for (const socket of [client, server]) socket.on('error', () => {})
      client.on('data', (chunk) => (sent[index] = Buffer.concat([sent[index]!, chunk])))
      pipeline(client, server, client, () => {})
    }),
  )
  const dsn = tls.dsn.replace(/localhost:\d+/, `localhost:${port}`)
  await using pool = new ConnectionPool({ dsn, sslMode: 'verify-full', caFile })
  await using connection = await pool.connection()
  for (const bounds of [() => ({ timeoutMs: 100 }), () => ({ signal: AbortSignal.timeout(100) })]) {
    const before = sent.length
    const error = await t.throwsAsync(connection.execute('SELECT pg_sleep(60)', [], bounds()), {
      any: true,
    })
    // The server confirmed it, and only one other connection can have told it.
    t.notRegex(String(error), /not known/)
    t.is(await connection.fetchVal('SELECT 1'), 1)
    const request = sent[before]!
    t.deepEqual(request.subarray(0, SSL_REQUEST.length), SSL_REQUEST)
    t.is(request[SSL_REQUEST.length], TLS_HANDSHAKE)
    t.false(request.includes(CANCEL_REQUEST_CODE), 'a request to cancel that everybody can read')
  }
})

/** What a server says that does not expect TLS at once, and what it needs. */
const NOT_DIRECT =
  /it closed the connection when TLS began\. `?sslNegotiation`? `direct` needs PostgreSQL 17 or later, and proxies/

test.serial('a server before 17 does not know direct TLS, and the error says so', async (t) => {
  const direct = { sslNegotiation: 'direct', sslMode: 'require' } as const
  // As PostgreSQL before 17: the first bytes of TLS are the length of a message that is much too long.
  const port = await listen(
    t,
    createServer((socket) => socket.on('error', () => {}).once('data', () => socket.end())),
  )
  const dsn = tls.dsn.replace(/localhost:\d+/, `localhost:${port}`)
  await refused(t, { dsn, ...direct }, ConnectionFailedError, NOT_DIRECT)
  const plain = await listen(
    t,
    createServer((socket) =>
      socket.on('error', () => {}).once('data', () => socket.end('ESFATAL\0')),
    ),
  )
  const atPlain = tls.dsn.replace(/localhost:\d+/, `localhost:${plain}`)
  await refused(t, { dsn: atPlain, ...direct }, ConnectionTlsError, /not TLS\. .* PostgreSQL 17/)
  if (!fs.existsSync(OLD_POSTGRES)) {
    t.log(`No PostgreSQL in ${OLD_POSTGRES}: tried with what behaves like it alone.`)
    return
  }
  const old = await startServer({ bin: OLD_POSTGRES })
  t.teardown(() => old.stop('immediate'))
  await refused(t, { dsn: old.dsn, ...direct }, ConnectionFailedError, NOT_DIRECT)
})

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
  await waitFor(async () => (await sleeping()) === 0n, { what: 'their end' })
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
    const sslMode = 'require'
    await refused(
      t,
      { dsn: at(silent), sslMode, connectTimeoutSec: 0.3 },
      ConnectionFailedError,
      /no answer within 0\.3 s/,
    )
    await refused(t, { dsn: at(rude), sslMode }, ConnectionFailedError, /reset|eof|closed/i)
  },
)

test.serial('short and long statements take turns on one encrypted connection', async (t) => {
  await tls.change({ certificate: good, access: ['hostssl scram-sha-256'] })
  const pool = new ConnectionPool({ dsn: tls.dsn, sslMode: 'verify-full', caFile })
  t.teardown(() => pool.close())
  await using connection = await pool.connection()
  const text = 'SELECT repeat($1, $2) AS x'
  for (let round = 0; round < 30; round += 1) {
    for (const length of [1, 1000, 5000, 20_000]) {
      t.is((await connection.fetchVal<string>(text, ['x', length])).length, length)
    }
    // Beyond a record of TLS, what is sent at once, and what is read at once.
    const sent = 'y'.repeat(20_000 * (1 + (round % 5)))
    t.is((await connection.fetchVal<string>(text, [sent, 3])).length, 3 * sent.length)
  }
  await t.throwsAsync(connection.execute('SELECT pg_sleep(60)', [], { timeoutMs: 50 }), {
    code: 'ERR_PGLISTEN_CONNECTION_TIMEOUT',
  })
  t.is(await connection.fetchVal(text, ['z', 1]), 'z')
})
