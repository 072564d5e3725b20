// Encryption on both sides of the relay, with the accounts that the documentation names and no more rights than it names.

import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, connect as dial, type AddressInfo } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import type { ExecutionContext } from 'ava'
import { AckPolicy, DeliverPolicy, jetstreamManager } from '@nats-io/jetstream'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import { ConnectionPool } from 'pglisten'
import {
  Relay,
  RelayOptionError,
  checkRelay,
  subscribe,
  type NatsOptions,
  type RelayOptions,
} from 'pglisten-relay-nats'
import { NatsServer } from '../../lab/relay/nats-server.js'
import { RelayProcess } from '../../lab/relay/relay-process.js'
import { readStream } from '../../lab/relay/stream-reading.js'
import type { Certificate } from '../../lab/tls/certificates.js'
import { TlsServer, makeAuthority } from '../../lab/tls/tls-server.js'
import { waitFor } from '../../lab/wait.js'
import { leading, startRelay, test } from './scene.js'

const { authority, issue } = makeAuthority()
const stranger = makeAuthority('stranger')
const PASSWORD = 'hunter2'

let postgres: TlsServer

test.before(async () => {
  postgres = await TlsServer.start()
  // As an administrator makes the account of a relay.
  const pool = new ConnectionPool(postgres.dsn)
  await pool.execute(`CREATE ROLE relay LOGIN PASSWORD '${PASSWORD}'`)
  await pool.close()
  await postgres.change({ certificate: issue(), access: ['hostssl scram-sha-256'] })
})

test.after.always(() => postgres?.stop())

/** What `docs/relay.md` allows, with the names of this file. */
const RIGHTS = `
  accounts { A { jetstream: enabled, users: [
    { user: relay, password: ${PASSWORD}, permissions: {
        publish: ["pg.>", "$JS.API.STREAM.INFO.PG", "$JS.API.STREAM.MSG.GET.PG"],
        subscribe: ["_INBOX_relay.>"] } },
    { user: reader, password: ${PASSWORD}, permissions: {
        publish: ["$JS.API.STREAM.INFO.PG", "$JS.API.STREAM.MSG.GET.PG", "$JS.API.CONSUMER.INFO.PG.D",
                  "$JS.API.CONSUMER.MSG.NEXT.PG.D", "$JS.ACK.PG.D.>"],
        subscribe: ["_INBOX_reader.>"] } },
    { user: admin, password: ${PASSWORD} } ] } }`

interface Files {
  (name: string, text: string): string
}

function filesOf(t: ExecutionContext): Files {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'pglisten-relay-tls-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return (name, text) => {
    const file = path.join(folder, name)
    writeFileSync(file, text, { mode: 0o600 })
    return file
  }
}

interface TlsScene {
  nats: NatsServer
  nc: NatsConnection
  file: Files
  /** The address by the name that good certificates are for. */
  url: string
  /** The path of the authority's certificate, and of a client's with its key. */
  caFile: string
  certFile: string
  keyFile: string
  options: RelayOptions
}

/** A nats-server that takes nothing but TLS, with a stream and a durable consumer that an administrator has made. */
async function openScene(
  t: ExecutionContext,
  { certificate = issue(), tls = '' }: { certificate?: Certificate; tls?: string } = {},
): Promise<TlsScene> {
  const file = filesOf(t)
  const client = issue({ name: 'client' })
  const caFile = file('ca.pem', authority.certificate)
  const certFile = file('client.pem', client.certificate)
  const keyFile = file('client.key', client.key)
  const [cert, key] = [
    file('server.pem', certificate.certificate),
    file('server.key', certificate.key),
  ]
  const config = `${RIGHTS}
    tls { cert_file: "${cert}", key_file: "${key}", ca_file: "${caFile}", ${tls} }`
  const nats = await NatsServer.start({ config })
  t.teardown(() => nats.stop())
  const url = `tls://localhost:${nats.port}`
  const nc = await connect({
    ...{ servers: url, user: 'admin', pass: PASSWORD },
    tls: {
      caFile,
      certFile,
      keyFile,
      ...{ handshakeFirst: tls.includes('handshake_first'), rejectUnauthorized: false },
    },
  })
  t.teardown(() => nc.close())
  const jsm = await jetstreamManager(nc)
  await jsm.streams.add({
    ...{ name: 'PG', subjects: ['pg.shop.>'], allow_direct: true },
    ...{ max_age: 3600e9, duplicate_window: 1e9 },
  })
  await jsm.consumers.add('PG', {
    ...{ durable_name: 'D', ack_policy: AckPolicy.Explicit, deliver_policy: DeliverPolicy.All },
    filter_subjects: ['pg.shop.orders', 'pg.shop.%gap'],
  })
  const options: RelayOptions = {
    ...{ stream: 'PG', channels: ['orders'], database: 'shop' },
    postgres: postgres.pairs({
      ...{ user: 'relay', password: PASSWORD },
      ...{ sslmode: 'verify-full', sslrootcert: caFile },
    }),
    nats: { servers: url, user: 'relay', password: PASSWORD, tls: { caFile } },
  }
  return { nats, nc, file, url, caFile, certFile, keyFile, options }
}

/** What the check says of NATS when it cannot be reached. */
async function unreachable({ options }: TlsScene, nats: NatsOptions): Promise<string | undefined> {
  const found = await checkRelay({ ...options, nats: { ...options.nats, ...nats } })
  return found.find(({ what }) => what.startsWith('NATS cannot be reached'))?.what
}

async function notify(payload: string): Promise<void> {
  const pool = new ConnectionPool({ dsn: postgres.dsn, sslMode: 'require' })
  await pool.notify('orders', payload)
  await pool.close()
}

test.serial(
  'the command relays with TLS on both sides and the rights that are documented',
  async (t) => {
    const scene = await openScene(t, { tls: 'verify: true' })
    const { caFile, certFile, keyFile, options, url } = scene
    const tls = { caFile, certFile, keyFile }
    const given = { ...options, nats: { ...options.nats, tls } }
    t.deepEqual(
      (await checkRelay(given)).filter(({ level }) => level !== 'ok'),
      [],
    )
    const first = new RelayProcess(given)
    t.teardown(() => first.kill())
    await first.becomes('leading')
    const second = new RelayProcess(given)
    t.teardown(() => second.kill())
    await second.becomes('standby')
    await notify('1')
    const jsm = await jetstreamManager(scene.nc)
    await waitFor(async () => (await jsm.streams.info('PG')).state.last_seq === 2)
    // The other one can end the session of a leader that is frozen, and take its place.
    first.freeze()
    await second.becomes('leading')
    await notify('2')
    const reader = await connect({
      ...{ servers: url, user: 'reader', pass: PASSWORD, tls, inboxPrefix: '_INBOX_reader' },
    })
    t.teardown(() => reader.close())
    const items: string[] = []
    const signal = AbortSignal.timeout(20_000)
    const wanted = { stream: 'PG', database: 'shop', durable: 'D', signal }
    for await (const item of subscribe(reader, wanted)) {
      items.push(item.kind === 'gap' ? item.reason : item.payload)
      item.ack()
      if (items.length === 4) break
    }
    t.deepEqual(items, ['relay-start', '1', 'takeover', '2'])
    const pool = new ConnectionPool({ dsn: postgres.dsn, sslMode: 'require' })
    t.teardown(() => pool.close())
    const sessions = await pool.execute<{ ssl: boolean; usename: string }>(
      `SELECT ssl, usename::text FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
      WHERE application_name = 'pglisten-relay-nats'`,
    )
    t.true(sessions.length > 0)
    for (const one of sessions) t.deepEqual({ ...one }, { ssl: true, usename: 'relay' })
  },
)

test.serial('a relay goes on when nats-server is killed and comes back with TLS', async (t) => {
  const scene = await openScene(t)
  const running = startRelay(t, scene.options)
  await leading(running)
  await notify('1')
  await waitFor(() => running.relay.stats().stored === 2)
  await scene.nats.kill()
  await notify('2')
  await scene.nats.start()
  await waitFor(() => running.relay.stats().stored === 3)
  const messages = await readStream(scene.nc, 'PG')
  t.deepEqual(
    messages.map(({ payload }) => payload).filter((payload) => /^\d+$/.test(payload)),
    ['1', '2'],
  )
})

test.serial('an authority that has not issued the server’s certificate is refused', async (t) => {
  const scene = await openScene(t)
  const caFile = scene.file('other.pem', stranger.authority.certificate)
  t.regex((await unreachable(scene, { tls: { caFile } }))!, /certificate/)
  // Without a file, those of Node.js count.
  t.regex((await unreachable(scene, { tls: {} }))!, /certificate/)
  t.regex((await unreachable(scene, { tls: undefined }))!, /certificate/)
  t.is(await unreachable(scene, {}), undefined)
})

test.serial('a certificate for another host is refused', async (t) => {
  const scene = await openScene(t, { certificate: issue({ names: ['elsewhere.example'] }) })
  t.regex((await unreachable(scene, {}))!, /localhost|altnames/i)
})

test.serial(
  'a server that asks for a certificate refuses a client without one, or with one of another authority',
  async (t) => {
    const scene = await openScene(t, { tls: 'verify: true' })
    const { caFile, certFile, keyFile, file } = scene
    t.truthy(await unreachable(scene, { tls: { caFile } }))
    const other = stranger.issue({ name: 'client' })
    const theirs = {
      certFile: file('other.pem', other.certificate),
      keyFile: file('other.key', other.key),
    }
    t.truthy(await unreachable(scene, { tls: { caFile, ...theirs } }))
    t.is(await unreachable(scene, { tls: { caFile, certFile, keyFile } }), undefined)
  },
)

test.serial('a server that begins with TLS is told by handshakeFirst', async (t) => {
  const scene = await openScene(t, { tls: 'handshake_first: true' })
  const { caFile } = scene
  t.is(await unreachable(scene, { tls: { caFile, handshakeFirst: true } }), undefined)
})

test.serial('a server by its address is verified by that address', async (t) => {
  const scene = await openScene(t, { certificate: issue({ names: ['127.0.0.1'] }) })
  const byAddress = { servers: `tls://127.0.0.1:${scene.nats.port}` }
  t.is(await unreachable(scene, byAddress), undefined)
  t.truthy(await unreachable(scene, {}))
  const both = await openScene(t, { certificate: issue({ names: ['localhost'] }) })
  t.regex((await unreachable(both, { servers: `127.0.0.1:${both.nats.port}` }))!, /127\.0\.0\.1/)
  t.is(await unreachable(both, { servers: [both.url, '127.0.0.1:1'] }), undefined)
})

for (const [what, nats] of [
  ['tls://', { servers: 'tls://' }],
  ['tls: {}', { servers: 'nats://', tls: {} }],
  ['one of several addresses with tls://', { servers: ['nats://127.0.0.1:1', 'TLS://'] }],
] as const)
  test.serial(`with ${what} a server without TLS learns no password`, async (t) => {
    const server = await NatsServer.start({ config: RIGHTS })
    t.teardown(() => server.stop())
    let sent = ''
    const wire = createServer((client) => {
      const onward = dial(server.port, '127.0.0.1')
      client.on('data', (bytes) => (sent += bytes.toString('latin1')))
      client.on('error', () => {}).pipe(onward)
      onward.on('error', () => {}).pipe(client)
    })
    wire.listen(0, '127.0.0.1')
    await once(wire, 'listening')
    t.teardown(() => wire.close())
    const { port } = wire.address() as AddressInfo
    const address = (scheme: string) =>
      scheme.endsWith('//') ? `${scheme}localhost:${port}` : scheme
    const { servers, ...more } = nats
    const found = await checkRelay({
      ...{ stream: 'PG', channels: ['orders'], database: 'shop', postgres: postgres.dsn },
      nats: {
        ...more,
        servers:
          typeof servers === 'string' ? address(servers) : servers.map((one) => address(one)),
        ...{ user: 'relay', password: PASSWORD },
      },
    })
    t.true(found.some(({ what: told }) => told.startsWith('NATS cannot be reached')))
    t.false(sent.includes(PASSWORD), sent)
  })

test('files and names for TLS that are wrong are refused', async (t) => {
  const make = (tls: object) => new Relay({ stream: 'S', channels: ['a'], nats: { tls } })
  for (const [tls, message] of [
    [{ ca_file: '/x' }, /Expected `nats.tls` to have handshakeFirst, caFile, .*, got `ca_file`/],
    [{ rejectUnauthorized: false }, /Expected `nats.tls` to have .*, got `rejectUnauthorized`/],
    [{ caFile: 1 }, /Expected `nats.tls.caFile` to be a text, got number/],
    [{ handshakeFirst: 'yes' }, /Expected `nats.tls.handshakeFirst` to be a boolean, got/],
    [{ certFile: '/x' }, /to have a certificate and its key, or neither, got no key/],
    [{ key: 'secret' }, /to have a certificate and its key, or neither, got no certificate/],
  ] as const)
    t.throws(() => make(tls), { instanceOf: RelayOptionError, message })
  t.throws(() => make('yes' as never), { message: /Expected `nats.tls` to be an object, got/ })
  for (const tls of [
    { caFile: '/nowhere' },
    { certFile: '/nowhere', key: 'k' },
    { cert: 'c', keyFile: '/nowhere' },
  ])
    await t.throwsAsync(make(tls).run(), {
      instanceOf: RelayOptionError,
      message:
        /Expected `nats.tls.\w+File` to be a file that can be read, got \/nowhere \(ENOENT\)/,
    })
})
