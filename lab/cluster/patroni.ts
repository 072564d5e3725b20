// A cluster of PostgreSQL that Patroni keeps: etcd, three nodes, HAProxy before them. All of it on this machine, in one folder.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from '../server/ports.mjs'
import { giveTo, unprivilegedAccount } from '../server/server-account.mjs'
import { waitFor } from '../wait.js'

/** The programs that a cluster is made of. */
export interface Programs {
  patroni: string
  etcd: string
  haproxy: string
  /** The folder of PostgreSQL's programs. */
  postgres: string
}

/** A server of the cluster, and the agent that keeps it. */
export interface Node {
  name: string
  port: number
  /** Of Patroni's REST API. */
  api: number
  folder: string
  agent: ChildProcess
}

const PASSWORD = 'of the laboratory'
const USER = 'postgres'
const START_DEADLINE_MS = 90_000

/** See the file. */
export class PatroniCluster {
  readonly folder = fs.mkdtempSync(path.join(os.tmpdir(), 'pglisten-cluster-'))
  readonly nodes: Node[] = []
  haproxyPort = 0
  readonly #account = unprivilegedAccount()
  readonly #programs: Programs
  readonly #others: ChildProcess[] = []
  readonly #isSynchronous: boolean

  private constructor(programs: Programs, isSynchronous: boolean) {
    this.#programs = programs
    this.#isSynchronous = isSynchronous
    giveTo(this.folder, this.#account)
  }

  /**
   * Starts everything, and resolves when one node leads and the others follow.
   *
   * @param isSynchronous - Whether a commit waits for one of the replicas, and only such a one is promoted.
   */
  static async start(programs: Programs, isSynchronous = false): Promise<PatroniCluster> {
    const cluster = new PatroniCluster(programs, isSynchronous)
    try {
      await cluster.#start()
      return cluster
    } catch (error) {
      const logs = fs.readdirSync(cluster.folder).filter((name) => name.endsWith('.log'))
      for (const name of logs) {
        const text = fs.readFileSync(path.join(cluster.folder, name), 'utf8')
        console.error(`${name}: ${text.split('\n').slice(-8).join('\n')}`)
      }
      await cluster.stop()
      throw error
    }
  }

  /** Every node, in the order of their names. */
  get hosts(): string {
    return this.nodes.map(({ port }) => `127.0.0.1:${port}`).join(',')
  }

  dsn(hosts: string): string {
    return `postgres://${USER}:${encodeURIComponent(PASSWORD)}@${hosts}/postgres`
  }

  /** The node that leads, as Patroni says. */
  async leader(): Promise<Node | undefined> {
    const answers = await Promise.all(this.nodes.map((node) => answers200(node, 'leader')))
    return this.nodes.find((_, index) => answers[index])
  }

  async replicas(): Promise<Node[]> {
    const answers = await Promise.all(this.nodes.map((node) => answers200(node, 'replica')))
    return this.nodes.filter((_, index) => answers[index])
  }

  /** Asks for a planned change of the leader. */
  async switchOver(): Promise<void> {
    const leader = await this.#ledBy()
    const response = await fetch(`http://127.0.0.1:${leader.api}/switchover`, {
      method: 'POST',
      body: JSON.stringify({ leader: leader.name }),
    })
    if (!response.ok) throw new Error(`No switchover: ${await response.text()}`)
  }

  /** Ends the leader and its agent, as the loss of a machine does. */
  async killLeader(): Promise<void> {
    const leader = await this.#ledBy()
    leader.agent.kill('SIGKILL')
    endServer(leader)
  }

  /** Ends only the agent of the leader: the server goes on as a primary, and another node is promoted. */
  async killAgent(): Promise<void> {
    const leader = await this.#ledBy()
    leader.agent.kill('SIGKILL')
  }

  /** Ends the leader and its agent, after its log has not been sent to the replicas for a while: they lack what was committed last. */
  async killLeaderAhead(aheadMs: number): Promise<void> {
    const senders = childrenOf(serverOf(await this.#ledBy()), /walsender/)
    if (senders.length === 0) throw new Error('No replica is sent the log')
    for (const pid of senders) process.kill(pid, 'SIGSTOP')
    await sleep(aheadMs)
    await this.killLeader()
    for (const pid of senders) process.kill(pid, 'SIGKILL')
  }

  async stop(): Promise<void> {
    for (const { agent } of this.nodes) agent.kill('SIGKILL')
    for (const node of this.nodes) endServer(node)
    for (const child of this.#others) child.kill('SIGKILL')
    const children = [...this.nodes.map(({ agent }) => agent), ...this.#others]
    const running = children.filter((child) => child.exitCode === null && child.signalCode === null)
    await Promise.all(running.map((child) => once(child, 'exit')))
    fs.rmSync(this.folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
  }

  /** How many replicas receive the leader's log. */
  async #streaming(): Promise<number> {
    const leader = await this.leader()
    if (leader === undefined) return 0
    const response = await fetch(`http://127.0.0.1:${leader.api}/patroni`, {
      signal: AbortSignal.timeout(2000),
    })
    const { replication = [] } = (await response.json()) as {
      replication?: { state: string; application_name: string }[]
    }
    // The base backup of a replica that is being made streams too, under another name.
    return this.nodes.filter(({ name }) =>
      replication.some((one) => one.state === 'streaming' && one.application_name === name),
    ).length
  }

  async #ledBy(): Promise<Node> {
    const leader = await this.leader()
    if (!leader) throw new Error('No node leads')
    return leader
  }

  async #start(): Promise<void> {
    const [etcd, etcdPeer] = [await freePort(), await freePort()]
    this.#others.push(
      this.#run('etcd', this.#programs.etcd, [
        ...['--data-dir', path.join(this.folder, 'etcd')],
        ...['--listen-client-urls', `http://127.0.0.1:${etcd}`],
        ...['--advertise-client-urls', `http://127.0.0.1:${etcd}`],
        ...['--listen-peer-urls', `http://127.0.0.1:${etcdPeer}`],
        ...['--initial-advertise-peer-urls', `http://127.0.0.1:${etcdPeer}`],
        ...['--initial-cluster', `default=http://127.0.0.1:${etcdPeer}`],
      ]),
    )
    for (const name of ['a', 'b', 'c']) await this.#startNode(name, etcd)
    // A replica that does not stream yet may be promoted nevertheless, without what was committed meanwhile.
    await waitFor(async () => (await this.#streaming()) === 2, {
      timeoutMs: START_DEADLINE_MS,
      what: 'a leader and two replicas that follow it',
    })
    if (this.#isSynchronous)
      await waitFor(
        async () =>
          (await Promise.all(this.nodes.map((node) => answers200(node, 'synchronous')))).includes(
            true,
          ),
        { timeoutMs: START_DEADLINE_MS, what: 'a synchronous replica' },
      )
    this.haproxyPort = await freePort()
    const config = this.#write('haproxy.cfg', this.#haproxyConfig())
    this.#others.push(this.#run('haproxy', this.#programs.haproxy, ['-db', '-f', config]))
  }

  async #startNode(name: string, etcd: number): Promise<void> {
    const [port, api] = [await freePort(), await freePort()]
    const folder = path.join(this.folder, name)
    fs.mkdirSync(folder)
    giveTo(folder, this.#account)
    const login = (username: string) => ({ username, password: PASSWORD })
    // JSON is YAML.
    const config = this.#write(
      `${name}.yml`,
      JSON.stringify({
        scope: 'laboratory',
        name,
        restapi: { listen: `127.0.0.1:${api}`, connect_address: `127.0.0.1:${api}` },
        etcd3: { host: `127.0.0.1:${etcd}` },
        bootstrap: {
          dcs: {
            ...{ ttl: 30, loop_wait: 10, retry_timeout: 10 },
            synchronous_mode: this.#isSynchronous,
          },
          initdb: [{ encoding: 'UTF8' }, { 'auth-host': 'scram-sha-256' }, 'no-sync'],
        },
        postgresql: {
          listen: `127.0.0.1:${port}`,
          connect_address: `127.0.0.1:${port}`,
          data_dir: path.join(folder, 'data'),
          bin_dir: this.#programs.postgres,
          pgpass: path.join(folder, 'pgpass'),
          authentication: { superuser: login(USER), replication: login('replicator') },
          parameters: { unix_socket_directories: folder },
          pg_hba: [
            'local all all trust',
            'host all all 127.0.0.1/32 scram-sha-256',
            'host replication all 127.0.0.1/32 scram-sha-256',
          ],
        },
      }),
    )
    const agent = this.#run(name, this.#programs.patroni, [config])
    this.nodes.push({ name, port, api, folder, agent })
  }

  #haproxyConfig(): string {
    const servers = this.nodes.map(
      ({ name, port, api }) =>
        `  server ${name} 127.0.0.1:${port} check port ${api} inter 3s fall 3 rise 2 on-marked-down shutdown-sessions`,
    )
    return [
      'defaults',
      '  mode tcp',
      '  timeout connect 4s',
      '  timeout client 30m',
      '  timeout server 30m',
      '  timeout check 5s',
      'listen primary',
      `  bind 127.0.0.1:${this.haproxyPort}`,
      '  option httpchk GET /primary',
      '  http-check expect status 200',
      ...servers,
      '',
    ].join('\n')
  }

  #write(name: string, text: string): string {
    const file = path.join(this.folder, name)
    fs.writeFileSync(file, text, { mode: 0o600 })
    giveTo(file, this.#account)
    return file
  }

  #run(name: string, program: string, args: string[]): ChildProcess {
    const log = fs.openSync(path.join(this.folder, `${name}.log`), 'a')
    const child = spawn(program, args, {
      ...this.#account,
      cwd: this.folder,
      stdio: ['ignore', log, log],
    })
    fs.closeSync(log)
    return child
  }
}

async function answers200({ api }: Node, question: string): Promise<boolean> {
  try {
    const response = await fetch(`http://127.0.0.1:${api}/${question}`, {
      signal: AbortSignal.timeout(2000),
    })
    await response.arrayBuffer()
    return response.status === 200
  } catch {
    // A node that is down answers nothing.
    return false
  }
}

/** The process of a node's server. */
function serverOf({ folder }: Node): number {
  const [pid] = fs.readFileSync(path.join(folder, 'data', 'postmaster.pid'), 'utf8').split('\n')
  return Number(pid)
}

/** Ends a node's server at once. */
function endServer(node: Node): void {
  try {
    process.kill(serverOf(node), 'SIGKILL')
  } catch {
    // It is not running.
  }
}

/** The children of a process with such a title. */
function childrenOf(parent: number, title: RegExp): number[] {
  const { stdout } = spawnSync('ps', ['-o', 'pid=,args=', '--ppid', String(parent)], {
    encoding: 'utf8',
  })
  return stdout
    .split('\n')
    .filter((line) => title.test(line))
    .map((line) => Number.parseInt(line, 10))
}

/** The programs, or what is missing. */
export function findPrograms(patroni: string): { programs: Programs; missing: string[] } {
  const postgres = fs.existsSync('/usr/lib/postgresql')
    ? fs
        .readdirSync('/usr/lib/postgresql')
        .sort((a, b) => Number(b) - Number(a))
        .map((version) => `/usr/lib/postgresql/${version}/bin`)[0]
    : undefined
  const programs = { patroni, etcd: 'etcd', haproxy: '/usr/sbin/haproxy', postgres: postgres ?? '' }
  const runs = (file: string, flag: string) =>
    spawnSync(file, [flag], { stdio: 'ignore' }).status === 0
  const missing = [
    runs(programs.patroni, '--version') ? [] : ['patroni'],
    runs(programs.etcd, '--version') ? [] : ['etcd'],
    runs(programs.haproxy, '-v') ? [] : ['haproxy'],
    postgres === undefined ? ['postgresql (in /usr/lib/postgresql)'] : [],
  ].flat()
  return { programs, missing }
}
