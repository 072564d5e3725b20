// Certificates made on the spot: X.509 (RFC 5280) written out by hand, so that wrong and old-fashioned ones can be made
// too, without a program like openssl.

import {
  type KeyObject,
  createHash,
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
  sign,
} from 'node:crypto'
import { isIP } from 'node:net'

/** A certificate and its private key. */
export interface Certificate {
  /** In PEM. */
  certificate: string
  /** In PEM. */
  key: string
  /** To make others with. */
  readonly subject: Buffer
  readonly privateKey: KeyObject
}

export interface CertificateOptions {
  /** The common name; none by default. */
  name?: string
  /** Who signs; the certificate itself by default. */
  issuer?: Certificate
  /** Alternative names: hosts and addresses. */
  names?: readonly string[]
  /** Whether it may issue others. `undefined`: it does not say, as in version 1. */
  authority?: boolean | undefined
  /** Of an authority: the only domain for which it may vouch. */
  onlyFor?: string
  /** Of an authority: a domain for which it may not vouch. */
  notFor?: string
  /** Of an authority: the only organization for which it may vouch. */
  onlyForOrganization?: string
  /** Of an authority: how many authorities may stand below it. */
  pathLength?: number
  /** The only uses of the key. */
  keyUsage?: readonly KeyUse[]
  /** The only uses of the certificate: names as in RFC 5280, or identifiers. */
  extendedKeyUsage?: readonly string[]
  /** The bits of Netscape's old extension for the same. */
  netscapeType?: number
  /** A critical extension that nobody knows. */
  unknownDemand?: boolean
  /** Names of its key and its issuer's. `wrong`: of the key of another issuer. */
  keyIdentifiers?: boolean | 'wrong'
  /** Makes the key of another certificate its own. */
  keyOf?: Certificate
  /** Its issuer's name, as it writes it. */
  issuerName?: Buffer
  /** The oldest form: no extensions. */
  version1?: boolean
  /** Days from now. @default -1 */
  validFrom?: number
  /** Days from now. @default 30 */
  validTo?: number
  /** The hash of the issuer's signature. @default sha256 */
  hash?: 'sha256' | 'sha384' | 'sha512'
  algorithm?: 'ec' | 'rsa' | 'ed25519'
}

/** A use of a key, by its bit in the extension. */
export const KEY_USES = {
  digitalSignature: 0,
  keyEncipherment: 2,
  keyAgreement: 4,
  keyCertSign: 5,
  cRLSign: 6,
} as const
export type KeyUse = keyof typeof KEY_USES

const EXTENDED_USES: Readonly<Record<string, string>> = {
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
  anyExtendedKeyUsage: '2.5.29.37.0',
}

const DAY_MS = 86_400_000

/** Makes one. */
export function makeCertificate(options: CertificateOptions = {}): Certificate {
  const { algorithm = 'ec', hash = 'sha256', issuer } = options
  const { publicKey, privateKey } = options.keyOf
    ? { privateKey: options.keyOf.privateKey, publicKey: createPublicKey(options.keyOf.privateKey) }
    : keyPair(algorithm)
  const subject = distinguishedName(options.name)
  const signer = issuer?.privateKey ?? privateKey
  const signature = signatureAlgorithm(signer, hash)
  const to = sequence(
    ...(options.version1 ? [] : [tagged(0xa0, integer(Buffer.from([2])))]),
    integer(Buffer.concat([Buffer.from([1]), randomBytes(8)])),
    signature,
    options.issuerName ?? issuer?.subject ?? subject,
    sequence(time(options.validFrom ?? -1), time(options.validTo ?? 30)),
    subject,
    publicKey.export({ type: 'spki', format: 'der' }),
    ...(options.version1 ? [] : extensions(options, publicKey, signer)),
  )
  const signed = sign(signer.asymmetricKeyType === 'ed25519' ? null : hash, to, signer)
  const der = sequence(to, signature, bitString(signed))
  return {
    certificate: pem('CERTIFICATE', der),
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    subject,
    privateKey,
  }
}

function keyPair(algorithm: 'ec' | 'rsa' | 'ed25519') {
  if (algorithm === 'rsa') return generateKeyPairSync('rsa', { modulusLength: 2048 })
  if (algorithm === 'ed25519') return generateKeyPairSync('ed25519')
  return generateKeyPairSync('ec', { namedCurve: 'P-256' })
}

function extensions(options: CertificateOptions, key: KeyObject, signer: KeyObject): Buffer[] {
  const { authority, pathLength, keyUsage, extendedKeyUsage, netscapeType, names } = options
  const { keyIdentifiers } = options
  const all: Buffer[] = []
  if (authority !== undefined) {
    const value = authority ? [tagged(0x01, Buffer.from([0xff]))] : []
    if (pathLength !== undefined) value.push(integer(Buffer.from([pathLength])))
    all.push(extension('2.5.29.19', sequence(...value)))
  }
  if (keyUsage) all.push(extension('2.5.29.15', bits(keyUsage.map((use) => KEY_USES[use]))))
  if (extendedKeyUsage) {
    const ids = extendedKeyUsage.map((use) => objectId(EXTENDED_USES[use] ?? use))
    all.push(extension('2.5.29.37', sequence(...ids)))
  }
  if (netscapeType !== undefined) {
    const value = tagged(0x03, Buffer.from([0, netscapeType]))
    all.push(extension('2.16.840.1.113730.1.1', value))
  }
  if (options.unknownDemand) {
    const critical = tagged(0x01, Buffer.from([0xff]))
    const value = tagged(0x04, tagged(0x05, Buffer.alloc(0)))
    all.push(sequence(objectId('1.3.6.1.4.1.55555.1'), critical, value))
  }
  if (keyIdentifiers) {
    all.push(extension('2.5.29.14', tagged(0x04, keyIdentifier(key))))
    const issuers = keyIdentifiers === 'wrong' ? randomBytes(20) : keyIdentifier(signer)
    all.push(extension('2.5.29.35', sequence(tagged(0x80, issuers))))
  }
  const limits = nameConstraints(options)
  if (limits.length > 0) all.push(extension('2.5.29.30', sequence(...limits)))
  if (names) {
    const general = names.map((name) =>
      isIP(name) ? tagged(0x87, addressBytes(name)) : tagged(0x82, Buffer.from(name)),
    )
    all.push(extension('2.5.29.17', sequence(...general)))
  }
  return all.length > 0 ? [tagged(0xa3, sequence(...all))] : []
}

function nameConstraints({ onlyFor, notFor, onlyForOrganization }: CertificateOptions): Buffer[] {
  const domain = (name: string) => sequence(tagged(0x82, Buffer.from(name)))
  const permitted = [
    ...(onlyFor === undefined ? [] : [domain(onlyFor)]),
    ...(onlyForOrganization === undefined
      ? []
      : [sequence(tagged(0xa4, distinguishedName(undefined, onlyForOrganization)))]),
  ]
  return [
    ...(permitted.length === 0 ? [] : [tagged(0xa0, Buffer.concat(permitted))]),
    ...(notFor === undefined ? [] : [tagged(0xa1, domain(notFor))]),
  ]
}

/** A name of a key: the hash of it. */
function keyIdentifier(key: KeyObject): Buffer {
  const open = key.type === 'private' ? createPublicKey(key) : key
  const der = open.export({ type: 'spki', format: 'der' })
  return createHash('sha1').update(der).digest()
}

/** A list of bits, without those at its end that are not set. */
function bits(set: readonly number[]): Buffer {
  const last = Math.max(...set)
  const byte = set.reduce((all, bit) => all | (0x80 >> bit), 0)
  return tagged(0x03, Buffer.from([7 - last, byte]))
}

const extension = (id: string, value: Buffer) => sequence(objectId(id), tagged(0x04, value))

function addressBytes(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split('.').map(Number))
  if (address !== '::1') throw new Error('The only IPv6 address that is needed is ::1')
  return Buffer.concat([Buffer.alloc(15), Buffer.from([1])])
}

function signatureAlgorithm(key: KeyObject, hash: 'sha256' | 'sha384' | 'sha512'): Buffer {
  const index = ['sha256', 'sha384', 'sha512'].indexOf(hash)
  switch (key.asymmetricKeyType) {
    case 'ed25519':
      return sequence(objectId('1.3.101.112'))
    case 'rsa':
      return sequence(objectId(`1.2.840.113549.1.1.${11 + index}`), tagged(0x05, Buffer.alloc(0)))
    default:
      return sequence(objectId(`1.2.840.10045.4.3.${2 + index}`))
  }
}

/** An organization of its own keeps the names of authorities apart. `kind`: the tag of the strings; UTF-8 by default. */
export function distinguishedName(
  common: string | undefined,
  organization = 'pglisten tests',
  kind = 0x0c,
): Buffer {
  const attribute = (id: string, value: string) =>
    tagged(0x31, sequence(objectId(id), tagged(kind, Buffer.from(value))))
  return sequence(
    attribute('2.5.4.10', organization),
    ...(common === undefined ? [] : [attribute('2.5.4.3', common)]),
  )
}

function time(days: number): Buffer {
  const digits = new Date(Date.now() + days * DAY_MS).toISOString().replaceAll(/[-:T]|\..*/g, '')
  return tagged(0x18, Buffer.from(`${digits}Z`))
}

function pem(label: string, der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? []
  return [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ''].join('\n')
}

// DER.

function tagged(tag: number, content: Buffer): Buffer {
  const { length } = content
  const size =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...size]), content])
}

const sequence = (...items: Buffer[]) => tagged(0x30, Buffer.concat(items))
const integer = (bytes: Buffer) => tagged(0x02, bytes)
const bitString = (bytes: Buffer) => tagged(0x03, Buffer.concat([Buffer.from([0]), bytes]))

function objectId(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number)
  const bytes = [first * 40 + second]
  for (const arc of rest) {
    const septets = [arc & 0x7f]
    for (let left = arc >> 7; left > 0; left >>= 7) septets.unshift((left & 0x7f) | 0x80)
    bytes.push(...septets)
  }
  return tagged(0x06, Buffer.from(bytes))
}
