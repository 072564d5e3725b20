// A server and a network that belong to one spec file, to be broken at will.

import fs from 'node:fs'
import { ConnectionPool } from 'pglisten'
import { DevServer, startServer } from '../server/dev-server.mjs'
import { giveTo, unprivilegedAccount } from '../server/server-account.mjs'
import { FaultProxy } from '../network/fault-proxy.js'
import { waitFor } from '../wait.js'

const ROLE = 'victim'
const DATABASE = 'victim'
const PASSWORD = 'as before'

/** See the file. */
export class Arena {
  readonly server: DevServer
  readonly proxy: FaultProxy
  /** Of the superuser, in a database that is no victim's, past the proxy. */
  readonly admin: ConnectionPool
  /** Of the superuser, in the victims' database, past the proxy: it notifies. */
  readonly direct: ConnectionPool

  private constructor(server: DevServer, proxy: FaultProxy) {
    this.server = server
    this.proxy = proxy
    this.admin = new ConnectionPool({ dsn: server.dsn, maxDbPoolSize: 4 })
    this.direct = new ConnectionPool({ dsn: server.dsn, dbName: DATABASE, maxDbPoolSize: 4 })
  }

  static async open(settings: Record<string, string | number | boolean> = {}): Promise<Arena> {
    const server = await startServer({ settings })
    const arena = new Arena(server, await FaultProxy.start(server.port))
    await arena.run(`CREATE ROLE ${ROLE} LOGIN`)
    await arena.restoreLogin()
    await arena.createDatabase()
    return arena
  }

  async close(): Promise<void> {
    await Promise.all([this.admin.close(), this.direct.close()])
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

  /** One statement of the administrator's. */
  async run(sql: string): Promise<void> {
    await using connection = await this.admin.connection()
    await connection.executeBatch(sql)
  }

  /** What a statement of the administrator's gives. */
  async ask<Value>(sql: string, params: readonly unknown[] = []): Promise<Value> {
    await using connection = await this.admin.connection()
    return await connection.fetchVal<Value>(sql, params as never)
  }

  /** How many server sessions have that application name. */
  async sessions(applicationName: string): Promise<number> {
    return this.ask('SELECT count(*)::int4 FROM pg_stat_activity WHERE application_name = $1', [
      applicationName,
    ])
  }

  async terminate(processId: number): Promise<void> {
    await this.ask('SELECT pg_terminate_backend($1)', [processId])
  }

  async isGone(processId: number): Promise<void> {
    await waitFor(
      async () =>
        !(await this.ask('SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)', [
          processId,
        ])),
      { what: `the end of backend ${processId}` },
    )
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

  async dropDatabase(): Promise<void> {
    await this.run(`DROP DATABASE ${DATABASE} WITH (FORCE)`)
  }

  /** A streaming standby of the server, which is restarted for it; not started yet. The caller stops it. */
  async makeStandby(settings: Record<string, string | boolean> = {}): Promise<DevServer> {
    const { server } = this
    const standby = new DevServer({
      settings: {
        // The standby looks for its primary, and for whether it is to be promoted, this often.
        wal_retrieve_retry_interval: '100ms',
        ...settings,
        primary_conninfo: `host=127.0.0.1 port=${server.port} user=${server.user} password=${server.password}`,
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

/** Sends a signal to a process of the server. One that is gone may be told to go on. */
export function signal(processId: number, name: NodeJS.Signals): void {
  try {
    process.kill(processId, name)
  } catch (error) {
    if (name !== 'SIGCONT') throw error
  }
}
