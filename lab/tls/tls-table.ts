// Each mode of encryption against each kind of server and certificate: what becomes of the connection, here and in libpq.

import { spawnSync } from 'node:child_process'
import { ConnectionPool, type SslMode } from 'pglisten'
import { postgresBinaries } from '../server/postgres-binaries.mjs'
import {
  type Certificate,
  type CertificateOptions,
  distinguishedName,
  makeCertificate,
} from './certificates.js'
import { ANY_WAY, type TlsServer, type TlsSetup, makeAuthority } from './tls-server.js'

export const MODES = [
  'disable',
  'allow',
  'prefer',
  'require',
  'verify-ca',
  'verify-full',
] as const satisfies readonly SslMode[]

export type Outcome = 'plain' | 'TLS' | 'refused'

/** A server, and the files of a client. */
export interface TlsCase {
  name: string
  setup: TlsSetup
  caFile?: string
  certFile?: string
  keyFile?: string
  /** The name to connect to, without asking for its address. @default localhost */
  host?: string
}

/** Makes the certificates of all cases. */
export function tlsCases(tls: TlsServer): TlsCase[] {
  const { authority, issue } = makeAuthority()
  const stranger = makeAuthority('stranger')
  const good = issue()
  const caFile = tls.file(authority.certificate)
  const between = makeCertificate({ name: 'between', authority: true, issuer: authority })
  const limited = makeCertificate({
    name: 'limited',
    authority: true,
    onlyFor: 'team.example',
    issuer: authority,
  })
  const beyondLimits = makeCertificate({ name: 'localhost', authority: false, issuer: limited })
  const dotted = 'db.other.example'
  const dottedBeyondLimits = makeCertificate({ name: dotted, authority: false, issuer: limited })
  const limitedRoot = makeCertificate({
    name: 'limited root',
    authority: true,
    notFor: 'other.example',
  })
  const dottedBeyondRoot = makeCertificate({ name: dotted, authority: false, issuer: limitedRoot })
  const dottedWithin = 'db.team.example'
  const dottedWithinLimits = makeCertificate({
    name: dottedWithin,
    authority: false,
    issuer: limited,
  })
  // As `openssl req -x509` makes it, and as the manual of PostgreSQL does with `openssl x509 -req`.
  const selfSigned = makeCertificate({ name: 'localhost', authority: true })
  const oldFashioned = makeCertificate({ name: 'localhost', version1: true, issuer: authority })
  const past = makeCertificate({
    name: 'authority of the past',
    authority: true,
    validFrom: -20,
    validTo: -10,
  })
  const client = makeCertificate({ name: 'postgres', issuer: authority })
  const unknownClient = makeCertificate({ name: 'postgres', issuer: stranger.authority })
  const clients: TlsSetup = {
    certificate: good,
    clientAuthority: authority,
    access: ['hostssl scram-sha-256 clientcert=verify-ca'],
  }
  const files = (one: typeof client) => ({
    certFile: tls.file(one.certificate),
    keyFile: tls.file(one.key),
  })
  const pastIssued = issue({ issuer: past })
  return [
    { name: 'good certificate', setup: { certificate: good }, caFile },
    {
      name: 'good, from an intermediate authority',
      setup: { certificate: issue({ issuer: between }), intermediates: [between] },
      caFile,
    },
    { name: 'good, and the client has no root certificate', setup: { certificate: good } },
    {
      name: 'for another host',
      setup: { certificate: issue({ name: 'other', names: ['other.example', '10.0.0.1'] }) },
      caFile,
    },
    { name: 'from an unknown authority', setup: { certificate: stranger.issue() }, caFile },
    { name: 'expired', setup: { certificate: issue({ validFrom: -20, validTo: -10 }) }, caFile },
    {
      name: 'not valid yet',
      setup: { certificate: issue({ validFrom: 10, validTo: 20 }) },
      caFile,
    },
    {
      name: 'from an authority that has expired',
      setup: { certificate: pastIssued },
      caFile: tls.file(past.certificate),
    },
    {
      name: 'self-signed, and its own root certificate',
      setup: { certificate: selfSigned },
      caFile: tls.file(selfSigned.certificate),
    },
    { name: 'self-signed, and unknown', setup: { certificate: selfSigned }, caFile },
    { name: 'version 1, for its common name', setup: { certificate: oldFashioned }, caFile },
    {
      name: 'common name only, that of another host',
      setup: {
        certificate: makeCertificate({ name: 'other', issuer: authority, authority: false }),
      },
      caFile,
    },
    {
      name: 'common name only, which its authority may not vouch for',
      setup: { certificate: beyondLimits, intermediates: [limited] },
      caFile,
    },
    {
      name: 'common name only, with dots, which its authority may not vouch for',
      setup: { certificate: dottedBeyondLimits, intermediates: [limited] },
      caFile,
      host: dotted,
    },
    {
      name: 'common name only, with dots, which its root may not vouch for',
      setup: { certificate: dottedBeyondRoot },
      caFile: tls.file(limitedRoot.certificate),
      host: dotted,
    },
    {
      name: 'common name only, with dots, which its authority may vouch for',
      setup: { certificate: dottedWithinLimits, intermediates: [limited] },
      caFile,
      host: dottedWithin,
    },
    ...chainCases(tls),
    { name: 'server without TLS', setup: {}, caFile },
    {
      name: 'server that insists on TLS (`hostssl`)',
      setup: { certificate: good, access: ['hostssl scram-sha-256'] },
      caFile,
    },
    {
      name: 'server that refuses TLS (`hostnossl`)',
      setup: { certificate: good, access: ['hostnossl scram-sha-256'] },
      caFile,
    },
    { name: 'client certificate required, and shown', setup: clients, caFile, ...files(client) },
    { name: 'client certificate required, none shown', setup: clients, caFile },
    {
      name: 'client certificate from an unknown authority',
      setup: { ...clients, access: ANY_WAY },
      caFile,
      ...files(unknownClient),
    },
  ]
}

/** What certificates say about their own use, and ways to a trusted authority. */
function chainCases(tls: TlsServer): TlsCase[] {
  const { authority, issue } = makeAuthority()
  const make = (name: string, options: CertificateOptions = {}) =>
    makeCertificate({ name, authority: true, ...options })
  const between = (options: CertificateOptions = {}) =>
    make('between', { issuer: authority, ...options })
  const clientsOnly = { extendedKeyUsage: ['clientAuth'] }
  /** The server sends these, its own first; the client trusts those. */
  const chain = (
    name: string,
    [certificate, ...intermediates]: readonly [Certificate, ...Certificate[]],
    ...trusted: Certificate[]
  ): TlsCase => ({
    name,
    setup: { certificate, intermediates },
    caFile: tls.file(
      (trusted.length > 0 ? trusted : [authority]).map((one) => one.certificate).join(''),
    ),
  })
  const from = (name: string, issuer: Certificate, ...others: Certificate[]) =>
    chain(name, [issue({ issuer }), issuer, ...others])
  const rootIs = (name: string, options: CertificateOptions) => {
    const root = make('root', options)
    return chain(name, [issue({ issuer: root })], root)
  }
  const short = make('root', { pathLength: 0 })
  const belowShort = between({ issuer: short })
  const shortBetween = between({ pathLength: 0 })
  const belowBetween = make('below', { issuer: shortBetween })
  const oldFashioned = { name: 'localhost', version1: true } as const
  const plain = between()
  const family = make('root', { onlyForOrganization: 'another' })
  const named = make('root', { keyIdentifiers: true })
  const past = make('renewed', { validFrom: -20, validTo: -10 })
  const renewed = make('renewed', { keyOf: past })
  return [
    chain('key usage: agreeing on keys', [issue({ keyUsage: ['keyAgreement'] })]),
    chain('key usage: certificates only', [issue({ keyUsage: ['keyCertSign'] })]),
    from('key usage of the intermediate: not certificates', between({ keyUsage: ['cRLSign'] })),
    rootIs('key usage of the root: not certificates', { keyUsage: ['digitalSignature'] }),
    chain('path length of the root exceeded', [issue({ issuer: belowShort }), belowShort], short),
    from('path length of the intermediate exceeded', belowBetween, shortBetween),
    chain('extended key usage: clients', [issue(clientsOnly)]),
    chain('extended key usage: "any"', [issue({ extendedKeyUsage: ['anyExtendedKeyUsage'] })]),
    from('extended key usage of the intermediate: clients', between(clientsOnly)),
    rootIs('extended key usage of the root: clients', clientsOnly),
    chain("Netscape's type: client", [issue({ netscapeType: 0x80 })]),
    chain("Netscape's type: server", [issue({ netscapeType: 0x40 })]),
    from('intermediate that is no authority', between({ authority: false })),
    from(
      'intermediate without basic constraints, whose key may sign certificates',
      makeCertificate({ name: 'between', issuer: authority, keyUsage: ['keyCertSign'] }),
    ),
    rootIs('root without basic constraints, whose key may sign certificates', {
      authority: undefined,
      keyUsage: ['keyCertSign'],
    }),
    rootIs('root of version 1', { version1: true }),
    rootIs('root that says nothing of its use', { authority: undefined }),
    chain('version 1, from an intermediate', [issue({ ...oldFashioned, issuer: plain }), plain]),
    chain("an authority's own, from an intermediate", [
      issue({ authority: true, issuer: plain }),
      plain,
    ]),
    chain('critical extension that is unknown', [issue({ unknownDemand: true })]),
    rootIs('critical extension of the root that is unknown', { unknownDemand: true }),
    chain('the intermediate is trusted, its root is not', [issue({ issuer: plain })], plain),
    chain(
      'the intermediate is not sent, but trusted as its root is',
      [issue({ issuer: plain })],
      plain,
      authority,
    ),
    chain("issuer's name in capitals and another kind of string", [
      issue({ issuerName: distinguishedName('AUTHORITY', 'pglisten  Tests', 0x13) }),
    ]),
    chain(
      "hint at another key of the issuer's",
      [issue({ issuer: named, keyIdentifiers: 'wrong' })],
      named,
    ),
    chain('root for the names of another organization', [issue({ issuer: family })], family),
    chain('root that has expired, and its renewed one', [issue({ issuer: past })], past, renewed),
  ]
}

/** What becomes of a connection of ours. */
export async function outcomeHere(
  tls: TlsServer,
  one: TlsCase,
  sslMode: SslMode,
): Promise<Outcome> {
  const { caFile, certFile, keyFile } = one
  const files = {
    ...(caFile && { caFile }),
    ...(certFile && { certFile }),
    ...(keyFile && { keyFile }),
  }
  const pool = new ConnectionPool({ dsn: tls.pairs(place(one)), sslMode, ...files })
  try {
    const connection = await pool.connection()
    const isEncrypted = await connection.fetchVal<boolean>(IS_ENCRYPTED)
    await connection.close()
    return isEncrypted ? 'TLS' : 'plain'
  } catch {
    return 'refused'
  } finally {
    await pool.close()
  }
}

/** Where the server is. */
const place = ({ host }: TlsCase) => (host === undefined ? {} : { host, hostaddr: '127.0.0.1' })

const IS_ENCRYPTED = 'SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()'

/** `psql`, with the libpq that came with the server if it takes that. `undefined`: there is none. */
export const PSQL = (() => {
  const { postgres } = postgresBinaries()
  const library = { LD_LIBRARY_PATH: postgres.replace(/bin\/postgres$/, 'lib') }
  const runs = (env: object) =>
    spawnSync('psql', ['--version'], { stdio: 'ignore', env: { ...process.env, ...env } })
      .status === 0
  if (runs(library)) return library
  return runs({}) ? {} : undefined
})()

/**
 * The `psql` of the system with its own libpq, and the OpenSSL of that: the one that comes with the server is older, and
 * does not check the path length of a root.
 */
export const SYSTEM_PSQL = spawnSync('psql', ['--version'], { stdio: 'ignore' }).status === 0

/** What becomes of one of libpq's. */
export function outcomeOfLibpq(tls: TlsServer, one: TlsCase, sslMode: SslMode): Outcome {
  const { caFile, certFile, keyFile } = one
  const pairs = tls.pairs({
    ...place(one),
    sslmode: sslMode,
    sslrootcert: caFile,
    sslcert: certFile,
    sslkey: keyFile,
  })
  const { status, stdout } = spawnSync('psql', ['-XwAt', '-d', pairs, '-c', IS_ENCRYPTED], {
    encoding: 'utf8',
    env: { PATH: process.env['PATH'], HOME: tls.folder },
  })
  if (status !== 0) return 'refused'
  return stdout.trim() === 't' ? 'TLS' : 'plain'
}

/** A line of the table. */
export interface TlsRow {
  name: string
  outcomes: readonly Outcome[]
}

/** Tries everything. `check` is called while the server is as the case says. */
export async function tlsRows(
  tls: TlsServer,
  check: (one: TlsCase, outcomes: readonly Outcome[]) => void,
): Promise<TlsRow[]> {
  const rows: TlsRow[] = []
  for (const one of tlsCases(tls)) {
    await tls.change(one.setup)
    const outcomes: Outcome[] = []
    for (const mode of MODES) outcomes.push(await outcomeHere(tls, one, mode))
    check(one, outcomes)
    rows.push({ name: one.name, outcomes })
  }
  return rows
}

/** The table, in Markdown. */
export function tlsTable(rows: readonly TlsRow[]): string[] {
  return [
    `| server and certificate | ${MODES.map((mode) => `\`${mode}\``).join(' | ')} |`,
    `| --- |${MODES.map(() => ' --- |').join('')}`,
    ...rows.map(({ name, outcomes }) => `| ${name} | ${outcomes.join(' | ')} |`),
  ]
}
