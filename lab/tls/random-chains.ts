// Chains of certificates at random, most of them wrong somewhere: each has the same verdict here and with psql.

import { randomNumbers } from '../random.mjs'
import {
  type Certificate,
  type CertificateOptions,
  type KeyUse,
  makeCertificate,
} from './certificates.js'
import type { TlsCase } from './tls-table.js'
import type { TlsServer } from './tls-server.js'

/** Endless cases; the same seed gives the same kinds of chains. */
export function* randomChains(tls: TlsServer, seed: number): Generator<TlsCase> {
  const random = randomNumbers(seed)
  const chance = (part: number) => random() < part
  const pick = <Value>(...values: readonly Value[]) => values[Math.floor(random() * values.length)]!

  /** Mostly as it must be. */
  const authorityOptions = (): CertificateOptions => ({
    authority: chance(0.9) ? true : pick(undefined, false),
    version1: chance(0.05),
    ...(chance(0.25) && { pathLength: pick(0, 0, 1, 2) }),
    ...(chance(0.3) && {
      keyUsage: pick<readonly KeyUse[]>(
        ['keyCertSign', 'cRLSign'],
        ['keyCertSign'],
        ['digitalSignature', 'keyCertSign'],
        ['digitalSignature'],
      ),
    }),
    ...anyOptions(),
    ...(chance(0.1) &&
      pick({ onlyFor: 'localhost' }, { onlyFor: 'other' }, { notFor: 'localhost' })),
    ...(chance(0.05) && { onlyForOrganization: pick('pglisten tests', 'another') }),
  })
  const anyOptions = (): CertificateOptions => ({
    ...(chance(0.15) && {
      extendedKeyUsage: pick<readonly string[]>(
        ['serverAuth'],
        ['serverAuth', 'clientAuth'],
        ['clientAuth'],
        ['anyExtendedKeyUsage'],
        ['2.16.840.1.113730.4.1'],
      ),
    }),
    ...(chance(0.06) && { netscapeType: pick(0x80, 0x40, 0x04, 0x44) }),
    ...(chance(0.02) && { unknownDemand: true }),
    ...(chance(0.4) && { keyIdentifiers: chance(0.9) ? true : 'wrong' }),
    ...(chance(0.05) && { validFrom: -20, validTo: -10 }),
    ...(chance(0.02) && { validFrom: 10, validTo: 20 }),
  })

  for (let count = 0; ; count += 1) {
    const length = pick(0, 1, 1, 2, 2, 3)
    const authorities: Certificate[] = []
    const told: CertificateOptions[] = []
    const make = (options: CertificateOptions) => {
      const { issuer: _, keyOf: __, ...rest } = options
      told.push(rest)
      return makeCertificate(options)
    }
    for (let place = 0; place < length; place += 1) {
      const issuer = authorities[0]
      const options = authorityOptions()
      // Now and then an authority's new key for its old one: with the same name.
      const name = issuer && chance(0.1) ? `authority ${place - 1}` : `authority ${place}`
      authorities.unshift(make({ name, ...options, ...(issuer && { issuer }) }))
    }
    const [issuer] = authorities
    const certificate = make({
      name: pick('localhost', 'server', 'db.example'),
      ...(chance(0.8) && { names: ['localhost'] }),
      ...(chance(0.5) && { authority: pick(true, false) }),
      ...(chance(0.1) && { version1: true }),
      ...(chance(0.2) && {
        keyUsage: pick<readonly KeyUse[]>(
          ['digitalSignature'],
          ['keyEncipherment'],
          ['keyAgreement'],
          ['keyCertSign'],
          ['digitalSignature', 'keyCertSign'],
        ),
      }),
      ...anyOptions(),
      ...(issuer && { issuer }),
    })
    const root = authorities.at(-1) ?? certificate
    const between = authorities.slice(0, -1)
    const trusted = chance(0.9) ? [root] : pick(between, [...between, root], [certificate])
    const sent = chance(0.85) ? between : between.slice(1)
    yield {
      name: `chain ${count} of seed ${seed}: ${JSON.stringify(told)}, ${sent.length} sent, ${trusted.length} trusted`,
      setup: { certificate, intermediates: chance(0.8) ? sent : sent.toReversed() },
      caFile: tls.file(
        (trusted.length > 0 ? trusted : [root]).map((one) => one.certificate).join(''),
      ),
    }
  }
}
