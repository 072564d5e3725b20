// A relay in a process of its own, as its command starts it: to be killed, frozen and watched.

import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { RelayOptions, RelayStats } from 'pglisten-relay-nats'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { tied } from '../child.js'
import { waitFor } from '../wait.js'

const command = fileURLToPath(
  new URL('../../packages/relay-nats/bin/pglisten-relay-nats.js', import.meta.url),
)

/** A line that the command has written. */
export interface Line {
  time: string
  event: string
  message: string
  role?: string
  epoch?: string
}

export class RelayProcess {
  readonly child: ChildProcess
  readonly lines: Line[] = []
  errors = ''
  /** The exit code, or the signal, once it has ended. */
  ended: number | string | undefined
  readonly #folder = mkdtempSync(path.join(os.tmpdir(), 'pglisten-relay-'))

  /**
   * Starts one.
   *
   * @param options - What its file has; `undefined` for none.
   * @param env - Its environment, beside the PATH.
   * @param start - Its program with the first arguments, and the folder that it runs in; by default the command of this clone.
   */
  constructor(
    options: (RelayOptions & { health?: { port: number } }) | undefined,
    env: Record<string, string> = {},
    start: { program: readonly string[]; cwd?: string } = {
      program: [process.execPath, command, 'run', '--json'],
    },
  ) {
    const file = path.join(this.#folder, 'relay.json')
    if (options) writeFileSync(file, JSON.stringify(options))
    const args = options ? ['--config', file] : []
    const [program, ...first] = start.program
    const child = spawn(program!, [...first, ...args], {
      ...(start.cwd === undefined ? {} : { cwd: start.cwd }),
      env: { PATH: process.env['PATH'] ?? '', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.child = tied(child)
    let rest = ''
    this.child.stdout!.setEncoding('utf8').on('data', (chunk: string) => {
      const lines = (rest + chunk).split('\n')
      rest = lines.pop()!
      for (const line of lines) this.lines.push(JSON.parse(line) as Line)
    })
    this.child.stderr!.setEncoding('utf8').on('data', (chunk: string) => (this.errors += chunk))
    this.child.once('close', (code, signal) => {
      this.ended = signal ?? code ?? 0
      rmSync(this.#folder, { recursive: true, force: true })
    })
  }

  /** The newest role that it has told. */
  get role(): string | undefined {
    return this.lines.findLast(({ event }) => event === 'role')?.role
  }

  async becomes(role: string, timeoutMs = 15_000): Promise<void> {
    await waitFor(
      () => {
        if (this.ended !== undefined)
          throw new Error(`The relay has ended with ${this.ended}: ${this.errors}`)
        return this.role === role
      },
      { what: `the relay to be ${role}`, timeoutMs },
    )
  }

  /** What its health server tells, with the status. */
  async health(page = 'healthz'): Promise<{ status: number; stats: RelayStats }> {
    const { message } = await waitFor(() => this.lines.find(({ event }) => event === 'health'), {
      what: 'the address of the health server',
    })
    const url = /http:\/\/[^/]+/.exec(message)![0]
    const response = await fetch(`${url}/${page}`)
    return { status: response.status, stats: (await response.json()) as RelayStats }
  }

  freeze(): void {
    this.child.kill('SIGSTOP')
  }

  thaw(): void {
    this.child.kill('SIGCONT')
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    if (this.ended !== undefined) return
    const closed = once(this.child, 'close')
    this.child.kill(signal)
    if (signal === 'SIGKILL') this.thaw()
    await closed
  }
}
