// A server with TLS that belongs to one spec file: its certificate and its rules of access are changed as need be.

import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { giveTo, unprivilegedAccount } from '../server/server-account.mjs'
import { type Certificate, type CertificateOptions, makeCertificate } from './certificates.js'
import { type DevServer, startServer } from '../server/test-server.js'
import { waitFor } from '../wait.js'

/** Who may connect how: the lines of pg_hba.conf, without the addresses. */
export type Access = readonly string[]

/** Either way, with a password. */
export const ANY_WAY: Access = ['host scram-sha-256']

export interface TlsSetup {
  /** Of the server. `undefined`: it has no TLS. */
  certificate?: Certificate | undefined
  /** Sent after it. */
  intermediates?: readonly Certificate[]
  /** The authority of clients' certificates. */
  clientAuthority?: Certificate
  access?: Access
  /** Other settings. */
  settings?: Record<string, string>
}

/** See the file. */
export class TlsServer {
  readonly server: DevServer
  /** Of clients: their certificates and keys. */
  readonly folder = fs.mkdtempSync(path.join(os.tmpdir(), 'pglisten-tls-'))
  #files = 0

  private constructor(server: DevServer) {
    this.server = server
    // Whose certificates the tests find must not depend on who runs them.
    process.env['HOME'] = this.folder
  }

  static async start(settings: Record<string, string | number | boolean> = {}): Promise<TlsServer> {
    return new TlsServer(await startServer({ settings }))
  }

  async stop(): Promise<void> {
    await this.server.stop('immediate')
    fs.rmSync(this.folder, { recursive: true, force: true })
  }

  /** By the name that good certificates are for. */
  get dsn(): string {
    const url = new URL(this.server.dsn)
    url.hostname = 'localhost'
    return url.href
  }

  /** The same as key/value pairs, with more of them. */
  pairs(more: Record<string, string | undefined> = {}): string {
    const { server } = this
    const pairs = {
      host: 'localhost',
      port: `${server.port}`,
      user: server.user,
      password: server.password,
      dbname: 'postgres',
      ...more,
    }
    return Object.entries(pairs)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => `${name}='${value}'`)
      .join(' ')
  }

  /** Puts text into a file of the client's. */
  file(text: string, mode = 0o600): string {
    const file = path.join(this.folder, `${(this.#files += 1)}.pem`)
    fs.writeFileSync(file, text, { mode })
    fs.chmodSync(file, mode)
    return file
  }

  /** Puts text into one of libpq's own files, below `~/.postgresql`. */
  ownFile(name: string, text: string, mode = 0o600): void {
    const folder = path.join(this.folder, '.postgresql')
    fs.mkdirSync(folder, { recursive: true })
    fs.writeFileSync(path.join(folder, name), text, { mode })
  }

  removeOwnFiles(): void {
    fs.rmSync(path.join(this.folder, '.postgresql'), { recursive: true, force: true })
  }

  /** From now on the server is like this. */
  async change(setup: TlsSetup): Promise<void> {
    const { server } = this
    const { certificate, intermediates = [], clientAuthority, access = ANY_WAY } = setup
    const settings = [`ssl = ${certificate ? 'on' : 'off'}`]
    for (const [name, value] of Object.entries(setup.settings ?? {}))
      settings.push(`${name} = '${value}'`)
    if (certificate) {
      const chain = [certificate, ...intermediates].map((one) => one.certificate)
      this.#serverFile('server.crt', chain.join(''))
      this.#serverFile('server.key', certificate.key)
    }
    if (clientAuthority) {
      this.#serverFile('clients.crt', clientAuthority.certificate)
      settings.push("ssl_ca_file = 'clients.crt'")
    }
    this.#serverFile('postgresql.auto.conf', `${settings.join('\n')}\n`)
    const rules = access.flatMap((rule) => {
      const [type, ...rest] = rule.split(' ')
      return ['127.0.0.1/32', '::1/128'].map((from) => [type, 'all all', from, ...rest].join(' '))
    })
    this.#serverFile('pg_hba.conf', `local all all trust\n${rules.join('\n')}\n`)
    const logged = server.log().length
    process.kill(server.pid!, 'SIGHUP')
    // The postmaster reads everything in one go, and takes no connection meanwhile.
    await waitFor(() => server.log().slice(logged).includes('received SIGHUP'), {
      what: 'the reload of the server',
    })
  }

  #serverFile(name: string, text: string): void {
    const file = path.join(this.server.dataDir, name)
    fs.writeFileSync(file, text, { mode: 0o600 })
    giveTo(file, unprivilegedAccount())
  }
}

/** An authority, and a good certificate of it for the server. */
export function makeAuthority(name = 'authority'): {
  authority: Certificate
  issue: (options?: CertificateOptions) => Certificate
} {
  const authority = makeCertificate({ name, authority: true })
  return {
    authority,
    issue: (options = {}) =>
      makeCertificate({
        name: 'server',
        names: ['localhost', '127.0.0.1', '::1'],
        issuer: authority,
        ...options,
      }),
  }
}
