// A server and a network that belong to one spec file, to be broken at will.

import fs from 'node:fs'
import { DevServer, startServer } from '../server/dev-server.mjs'
import { giveTo, unprivilegedAccount } from '../server/server-account.mjs'
import { FaultProxy } from '../network/fault-proxy.js'
import { waitFor } from '../wait.js'
import { ServerWitness } from '../witness.js'

const ROLE = 'victim'
const DATABASE = 'victim'
const PASSWORD = 'as before'

/** The witness is the superuser's, in a database that no victim uses, past the proxy. */
export class Arena extends ServerWitness {
  readonly server: DevServer
  readonly proxy: FaultProxy
  /** The superuser's too, past the proxy, but in the victims' database: it notifies. */
  readonly direct: ServerWitness

  private constructor(server: DevServer, proxy: FaultProxy) {
    super(server.dsn)
    this.server = server
    this.proxy = proxy
    this.direct = new ServerWitness(server.dsn, DATABASE)
  }

  static async open(settings: Record<string, string | number | boolean> = {}): Promise<Arena> {
    const server = await startServer({ settings })
    const arena = new Arena(server, await FaultProxy.start(server.port))
    await arena.run(`CREATE ROLE ${ROLE} LOGIN`)
    await arena.restoreLogin()
    await arena.createDatabase()
    return arena
  }

  override async close(): Promise<void> {
    await Promise.all([super.close(), this.direct.close()])
    this.proxy.stop()
    await this.server.stop('immediate')
  }

  /** How a victim connects: by way of the proxy. */
  get dsn(): string {
    return this.proxy.dsn(this.directDsn)
  }

  /** The same, past the proxy. */
  get directDsn(): string {
    const url = new URL(this.server.dsn)
    url.username = ROLE
    url.password = PASSWORD
    url.pathname = `/${DATABASE}`
    return url.href
  }

  async revokeLogin(): Promise<void> {
    await this.run(`ALTER ROLE ${ROLE} PASSWORD 'another one'`)
  }

  async restoreLogin(): Promise<void> {
    await this.run(`ALTER ROLE ${ROLE} PASSWORD '${PASSWORD}'`)
  }

  /** How many connections victims may have; -1: as many as they like. */
  async limitConnections(count: number): Promise<void> {
    await this.run(`ALTER ROLE ${ROLE} CONNECTION LIMIT ${count}`)
  }

  /** `undefined`: as without a setting. */
  async setForRole(setting: string, value: string | undefined): Promise<void> {
    const change = value === undefined ? `RESET ${setting}` : `SET ${setting} = '${value}'`
    await this.run(`ALTER ROLE ${ROLE} ${change}`)
  }

  async createDatabase(): Promise<void> {
    await this.run(`CREATE DATABASE ${DATABASE} TEMPLATE template0`)
  }

  /** Resolves once a server that has crashed takes connections again. */
  async isBack(): Promise<void> {
    await waitFor(() => this.direct.ask<boolean>('SELECT true').catch(() => false), {
      what: 'the recovery of the server',
    })
  }

  async dropDatabase(): Promise<void> {
    await this.run(`DROP DATABASE ${DATABASE} WITH (FORCE)`)
  }

  /**
   * A streaming standby of the server, which is restarted for it; not started yet. The caller stops it.
   *
   * @param port Where the standby finds its primary, should that be a proxy.
   */
  async makeStandby(
    settings: Record<string, string | boolean> = {},
    port = this.server.port,
  ): Promise<DevServer> {
    const { server } = this
    const standby = new DevServer({
      settings: {
        // The standby looks for its primary, and for whether it is to be promoted, this often.
        wal_retrieve_retry_interval: '100ms',
        ...settings,
        primary_conninfo: `host=127.0.0.1 port=${port} user=${server.user} password=${server.password}`,
      },
    })
    standby.password = server.password
    await server.halt()
    fs.cpSync(server.dataDir, standby.dataDir, { recursive: true })
    fs.writeFileSync(`${standby.dataDir}/standby.signal`, '')
    fs.chmodSync(standby.dataDir, 0o700)
    const account = unprivilegedAccount()
    giveTo(standby.dataDir, account)
    for (const name of fs.readdirSync(standby.dataDir, { recursive: true, encoding: 'utf8' }))
      giveTo(`${standby.dataDir}/${name}`, account)
    await server.start()
    return standby
  }
}

/** Makes a primary of a standby, as `pg_ctl promote` does. */
export function promote({ dataDir, pid }: DevServer): void {
  fs.writeFileSync(`${dataDir}/promote`, '')
  signal(pid!, 'SIGUSR1')
}

/** Sends a signal to a process of the server. One that is gone may be told to go on. */
export function signal(processId: number, name: NodeJS.Signals): void {
  try {
    process.kill(processId, name)
  } catch (error) {
    if (name !== 'SIGCONT') throw error
  }
}
