// A disposable nats-server with JetStream: fresh folder, free port, to be killed, frozen and started again.

import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { freePort, isListening } from '../server/ports.mjs'
import { waitFor } from '../wait.js'
import { natsBinaries, type NatsBinary } from './nats-binaries.js'

export interface NatsServerOptions {
  binary?: NatsBinary
  /** Lines of the configuration beside port and JetStream. */
  config?: string
}

/** Those that run: what is left of them when this process exits ends with it. */
const running = new Set<() => void>()
process.once('exit', () => {
  for (const end of running) end()
})

export class NatsServer {
  readonly folder = mkdtempSync(path.join(os.tmpdir(), 'pglisten-nats-'))
  readonly version: string
  readonly #file: string
  readonly #config: string
  readonly #onExit = () => {
    this.#process?.kill('SIGKILL')
    rmSync(this.folder, { recursive: true, force: true })
  }
  #process: ChildProcess | undefined
  #port = 0

  private constructor({ binary = natsBinaries()[0], config = '' }: NatsServerOptions) {
    if (binary === undefined) throw new Error('There is no nats-server on this machine.')
    this.#file = binary.file
    this.version = binary.version
    this.#config = config
    running.add(this.#onExit)
  }

  /** Starts one, and resolves once it takes connections. */
  static async start(options: NatsServerOptions = {}): Promise<NatsServer> {
    const server = new NatsServer(options)
    await server.start()
    return server
  }

  get port(): number {
    return this.#port
  }

  /** `127.0.0.1:port`. */
  get url(): string {
    return `127.0.0.1:${this.#port}`
  }

  /** Starts it on its folder; after the first time on the same port. */
  async start(): Promise<void> {
    if (this.#port === 0) this.#port = await freePort()
    this.configure(this.#config)
    const child = spawn(this.#file, ['-c', path.join(this.folder, 'nats.conf')], {
      stdio: 'ignore',
      detached: true,
    })
    this.#process = child
    child.unref()
    child.once('exit', () => {
      if (this.#process === child) this.#process = undefined
    })
    await waitFor(
      () => {
        if (this.#process !== child) throw new Error(`nats-server has ended:\n${this.log()}`)
        return isListening(this.#port)
      },
      { what: 'nats-server to listen' },
    )
  }

  /** Writes the configuration; a server that runs takes it with {@link NatsServer.reload}. */
  configure(config: string): void {
    writeFileSync(
      path.join(this.folder, 'nats.conf'),
      `host: 127.0.0.1
port: ${this.#port}
log_file: ${JSON.stringify(path.join(this.folder, 'log'))}
jetstream { store_dir: ${JSON.stringify(path.join(this.folder, 'data'))}, max_mem: 64MB, max_file: 20GB }
${config}
`,
    )
  }

  /** Has the server read its configuration again. */
  reload(): void {
    this.#process?.kill('SIGHUP')
  }

  log(): string {
    try {
      return readFileSync(path.join(this.folder, 'log'), 'utf8')
    } catch {
      return ''
    }
  }

  /** Ends it as a crash would. Its data stays. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL')
  }

  /** Ends it as an administrator would. Its data stays. */
  async halt(): Promise<void> {
    await this.#end('SIGTERM')
  }

  freeze(): void {
    this.#process?.kill('SIGSTOP')
  }

  thaw(): void {
    this.#process?.kill('SIGCONT')
  }

  /** Ends it, and removes its folder. */
  async stop(): Promise<void> {
    await this.#end('SIGKILL')
    running.delete(this.#onExit)
    rmSync(this.folder, { recursive: true, force: true })
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process
    if (child === undefined) return
    const exited = once(child, 'exit')
    child.ref()
    child.kill('SIGCONT')
    child.kill(signal)
    await exited
  }
}
