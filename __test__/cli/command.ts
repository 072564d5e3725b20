// Runs the command `pglisten` as a user does: a process of its own, with its streams, exit code and signals.

import type { ExecutionContext } from 'ava'
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { Readable, type Writable } from 'node:stream'
import { serverDsn } from '../../lab/server/test-server.js'
import { waitFor, within, type WaitOptions } from '../../lab/wait.js'
import { root } from '../support/code-blocks.js'

/** The program that `npx pglisten` runs. */
export const COMMAND = path.join(root, 'bin', 'pglisten.js')

const DEADLINE_MS = 30_000

export interface CommandOptions {
  /** The server, in `DATABASE_URL`; `null` for none. @default the test server */
  dsn?: string | null
  env?: Record<string, string>
  /** What is sent to its standard input, which is closed at the end of it. @default nothing */
  input?: string | Uint8Array | Readable
  /** Whether nothing of its standard output is read until somebody does. */
  unread?: boolean
  /** Whether it leads a process group, as under a shell in a terminal: `interrupt()` signals that. */
  isForeground?: boolean
}

/** A command that runs. */
export class Command {
  readonly child: ChildProcess
  /** What it has printed so far. */
  out = ''
  err = ''
  readonly #ended: Promise<number | NodeJS.Signals>

  constructor(child: ChildProcess, unread: boolean) {
    this.child = child
    if (!unread) this.read()
    const stderr = child.stderr!.setEncoding('utf8')
    stderr.on('data', (chunk: string) => (this.err += chunk))
    // Standard output that nobody reads does not close. What was said last may come after the exit.
    const ended = unread
      ? Promise.all([once(child, 'exit'), once(stderr, 'close')]).then(([exit]) => exit)
      : once(child, 'close')
    this.#ended = ended.then(
      ([code, signal]: (number | NodeJS.Signals | null)[]) =>
        (signal as NodeJS.Signals | null) ?? (code as number),
    )
  }

  get stdin(): Writable {
    return this.child.stdin!
  }

  get stdout(): Readable {
    return this.child.stdout!
  }

  /** Its lines so far, without the one that is not complete. */
  get lines(): string[] {
    return this.out.split('\n').slice(0, -1)
  }

  /** Its lines so far, read as JSON. */
  get records(): Record<string, unknown>[] {
    return this.lines.map((line) => JSON.parse(line) as Record<string, unknown>)
  }

  /** Sends a signal to its whole group, as a terminal does with Ctrl-C. */
  interrupt(signal: NodeJS.Signals): void {
    process.kill(-this.child.pid!, signal)
  }

  read(): void {
    this.stdout.setEncoding('utf8').on('data', (chunk: string) => (this.out += chunk))
  }

  /** Resolves once it has said something on standard error. */
  async says(pattern: RegExp, options: WaitOptions = {}): Promise<void> {
    await this.#waitFor(() => pattern.test(this.err), `standard error to match ${pattern}`, options)
  }

  /** Resolves once it has printed so many lines. */
  async printed(count: number, options: WaitOptions = {}): Promise<void> {
    await this.#waitFor(() => this.lines.length >= count, `${count} lines`, options)
  }

  /** Its exit code, or the signal that has ended it. */
  async ended(timeoutMs = DEADLINE_MS): Promise<number | NodeJS.Signals> {
    try {
      return await within(this.#ended, { timeoutMs })
    } catch (error) {
      throw new Error(`${String(error)}: it has not ended. ${this.#said()}`, { cause: error })
    }
  }

  async #waitFor(condition: () => boolean, what: string, options: WaitOptions): Promise<void> {
    const { child } = this
    const isOver = () => child.exitCode !== null || child.signalCode !== null
    await waitFor(() => condition() || (isOver() && 'over'), {
      timeoutMs: DEADLINE_MS,
      ...options,
    }).catch((error: unknown) => {
      throw new Error(`${String(error)}: ${what}. ${this.#said()}`)
    })
    // What it said last may still be on its way.
    if (!condition()) await this.#ended
    if (!condition()) throw new Error(`It ended before ${what}. ${this.#said()}`)
  }

  #said() {
    return `It said:\n${this.err}\nand printed:\n${this.out.slice(0, 2000)}`
  }
}

/** Starts the command; the end of the test ends it. */
export async function pglisten(
  t: ExecutionContext,
  args: readonly string[],
  { dsn, env = {}, input = '', unread = false, isForeground = false }: CommandOptions = {},
): Promise<Command> {
  const where = dsn === undefined ? await serverDsn() : dsn
  const child = spawn(process.execPath, [COMMAND, ...args], {
    env: {
      ...withoutPostgres(),
      NODE_OPTIONS: '',
      ...(where !== null && { DATABASE_URL: where }),
      ...env,
    },
    stdio: 'pipe',
    detached: isForeground,
  })
  t.teardown(() => child.kill('SIGKILL'))
  child.stdin.on('error', () => {})
  if (input instanceof Readable) input.pipe(child.stdin)
  else child.stdin.end(input)
  return new Command(child, unread)
}

/** The environment, without what would name a server. */
function withoutPostgres(): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(PG|DATABASE_URL)/.test(name)),
  )
}
