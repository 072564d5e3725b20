// One disposable PostgreSQL for a test run or the demo: fresh folder, free port, nothing left behind.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import { randomBytes } from 'node:crypto'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { postgresBinaries } from './postgres-binaries.mjs'
import { freePort, isListening } from './ports.mjs'
import { giveTo, reachableBinaries, unprivilegedAccount } from './server-account.mjs'
import { startWatchdog } from './watchdog.mjs'

/**
 * @typedef {object} DevServerOptions
 * @property {string} [bin] The folder of the programs of another PostgreSQL than the installed one.
 * @property {number} [port] A fixed port; a free one by default.
 * @property {Record<string, string | number | boolean>} [settings] Server settings, as in postgresql.conf.
 *
 * @typedef {'smart' | 'fast' | 'immediate'} StopMode
 */

/** @type {Record<StopMode, NodeJS.Signals>} */
const STOP_SIGNAL = { smart: 'SIGTERM', fast: 'SIGINT', immediate: 'SIGQUIT' }

const START_DEADLINE_MS = 30_000
const STOP_DEADLINE_MS = 10_000
const POLL_MS = 20

// Nothing here outlives its run, so nothing has to survive a power cut.
const DISPOSABLE = { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' }

/**
 * Starts a server and resolves once it accepts connections.
 * @param {DevServerOptions} [options]
 * @returns {Promise<DevServer>}
 */
export async function startServer(options = {}) {
  const server = new DevServer(options)
  try {
    await server.initialise()
    await server.start()
    return server
  } catch (error) {
    await server.stop('immediate')
    throw error
  }
}

export class DevServer {
  /** Everything of this server: data, socket, log. Gone after {@link DevServer.stop}. */
  folder
  dataDir
  user = 'postgres'
  password = randomBytes(12).toString('hex')
  /** 0 until started. */
  port
  /** The postmaster's process id while it runs. @type {number | undefined} */
  pid
  #settings
  #portIsFixed
  #binaries
  #account
  #watchdog
  /** @type {import('node:child_process').ChildProcess | undefined} */
  #process
  #stopped = false
  #onExit = () => this.#cleanUpNow()

  /** @param {DevServerOptions} options */
  constructor(options) {
    this.#settings = options.settings ?? {}
    this.port = options.port ?? 0
    this.#portIsFixed = options.port !== undefined
    this.#account = unprivilegedAccount()
    const binaries = postgresBinaries(options.bin)
    this.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'pglisten-'))
    this.dataDir = path.join(this.folder, 'data')
    this.#watchdog = startWatchdog(this.folder)
    process.once('exit', this.#onExit)
    giveTo(this.folder, this.#account)
    this.#binaries = reachableBinaries(binaries, this.folder, this.#account)
  }

  /** `postgres://user:password@host:port/database`. */
  get dsn() {
    return `postgres://${this.user}:${this.password}@127.0.0.1:${this.port}/postgres`
  }

  /** What the server wrote to its log so far. */
  log() {
    const file = path.join(this.folder, 'log')
    return fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : ''
  }

  /** Creates the data folder. */
  async initialise() {
    const passwordFile = path.join(this.folder, 'password')
    fs.writeFileSync(passwordFile, this.password, { mode: 0o600 })
    giveTo(passwordFile, this.#account)
    const child = this.#spawn(this.#binaries.initdb, [
      ...['-D', this.dataDir, '-U', this.user, '--pwfile', passwordFile],
      ...['--auth', 'scram-sha-256', '--encoding', 'UTF8', '--locale', 'C'],
      ...['--no-sync', '--no-instructions'],
    ])
    const [code, signal] = await once(child, 'exit')
    fs.rmSync(passwordFile, { force: true })
    fs.rmSync(path.join(this.folder, 'pid'), { force: true })
    if (code !== 0) throw this.#failure(`initdb ended with ${signal ?? `exit code ${code}`}`)
  }

  /** Starts the server on its data folder; after the first time always on the same port. */
  async start() {
    if (this.#stopped) throw new Error('This server was stopped and its folder removed.')
    if (this.#process !== undefined) throw new Error('This server is already running.')
    const deadline = Date.now() + START_DEADLINE_MS
    for (;;) {
      if (this.port === 0) this.port = await freePort()
      const logged = this.log().length
      if (await this.#startOnce(deadline)) {
        this.#portIsFixed = true
        return
      }
      const log = this.log().slice(logged)
      const portTaken = /could not bind|could not create any TCP/.test(log)
      if (portTaken && !this.#portIsFixed) this.port = 0
      // After `kill()` the orphaned backends need a moment to notice.
      const orphans = /shared memory block .* is still in use/.test(log)
      if (!(orphans || (portTaken && !this.#portIsFixed)) || Date.now() > deadline) {
        throw this.#failure('PostgreSQL did not start')
      }
      await sleep(100)
    }
  }

  /**
   * Stops the server and keeps its data, so that {@link DevServer.start} goes on from there.
   * @param {StopMode} [mode]
   */
  async halt(mode = 'fast') {
    await this.#end(STOP_SIGNAL[mode])
  }

  /** Ends the server as a crash would: SIGKILL. Its data stays. */
  async kill() {
    await this.#end('SIGKILL')
    // A child that was just forked still holds the port, until it notices.
    const deadline = Date.now() + STOP_DEADLINE_MS
    while (Date.now() < deadline && (await isListening(this.port))) await sleep(POLL_MS)
  }

  /** @param {StopMode} [mode] */
  async restart(mode = 'fast') {
    await this.halt(mode)
    await this.start()
  }

  /**
   * Stops the server for good and removes its folder. May be called again.
   * @param {StopMode} [mode]
   */
  async stop(mode = 'fast') {
    if (this.#stopped) return
    this.#stopped = true
    await this.#end(STOP_SIGNAL[mode])
    process.off('exit', this.#onExit)
    const watchdog = this.#watchdog
    const gone = watchdog.exitCode === null ? once(watchdog, 'exit') : undefined
    watchdog.ref()
    watchdog.stdin.destroy()
    await gone
    fs.rmSync(this.folder, { recursive: true, force: true })
  }

  async [Symbol.asyncDispose]() {
    await this.stop()
  }

  /**
   * @param {number} deadline
   * @returns {Promise<boolean>} false when the server ended instead of becoming ready.
   */
  async #startOnce(deadline) {
    const settings = {
      listen_addresses: '127.0.0.1',
      unix_socket_directories: this.folder,
      ...DISPOSABLE,
      ...this.#settings,
      port: this.port,
    }
    const child = this.#spawn(this.#binaries.postgres, [
      ...['-D', this.dataDir],
      ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
    ])
    this.#process = child
    this.pid = child.pid
    const ended = () => {
      if (this.#process !== child) return
      this.#process = undefined
      this.pid = undefined
    }
    child.once('exit', ended).once('error', ended)
    while (this.#process === child) {
      if (this.#isReady(child.pid)) {
        child.unref()
        return true
      }
      if (Date.now() > deadline) {
        await this.#end('SIGQUIT')
        return false
      }
      await sleep(POLL_MS)
    }
    return false
  }

  /** The postmaster says itself, in the last line of its lock file, when it takes connections. */
  #isReady(/** @type {number | undefined} */ pid) {
    try {
      const lines = fs.readFileSync(path.join(this.dataDir, 'postmaster.pid'), 'utf8').split('\n')
      return Number(lines[0]) === pid && lines[7]?.trim() === 'ready'
    } catch {
      return false
    }
  }

  /** @param {NodeJS.Signals} signal */
  async #end(signal) {
    const child = this.#process
    if (child === undefined) return
    child.ref()
    const exited = once(child, 'exit')
    child.kill(signal)
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_DEADLINE_MS)
    await exited
    clearTimeout(timer)
    fs.rmSync(path.join(this.folder, 'pid'), { force: true })
  }

  /** Runs a program of the server as its own process group, out of reach of the terminal's Ctrl-C. */
  #spawn(/** @type {string} */ file, /** @type {string[]} */ args) {
    const log = fs.openSync(path.join(this.folder, 'log'), 'a')
    try {
      const child = spawn(file, args, {
        ...this.#account,
        cwd: this.folder,
        env: { PATH: process.env['PATH'] ?? '', HOME: this.folder, LC_ALL: 'C', TZ: 'UTC' },
        stdio: ['ignore', log, log],
        detached: true,
      })
      // The watchdog reads it, should we be gone by then.
      fs.writeFileSync(path.join(this.folder, 'pid'), String(child.pid ?? ''))
      return child
    } finally {
      fs.closeSync(log)
    }
  }

  /** @param {string} what */
  #failure(what) {
    const lines = this.log().trimEnd().split('\n').slice(-15).join('\n')
    return new Error(`${what}. Its last words:\n${lines || '(none)'}`)
  }

  /** On `exit` nothing asynchronous runs any more: close the pipe and wait for the watchdog's work. */
  #cleanUpNow() {
    this.#watchdog.stdin.destroy()
    const deadline = Date.now() + STOP_DEADLINE_MS
    const cell = new Int32Array(new SharedArrayBuffer(4))
    while (fs.existsSync(this.folder) && Date.now() < deadline) Atomics.wait(cell, 0, 0, POLL_MS)
  }
}
