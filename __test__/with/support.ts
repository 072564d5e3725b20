// What the tests of `examples/with/` share: an example that is prepared and started on a database of its own, and a browser.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import type { ExecutionContext } from 'ava'
import { examples, nodeOfExamples, prepareExample } from '../../scripts/lib/examples.mjs'
import { type Database, openDatabase } from '../support/example.js'
import { waitFor, within } from '../../lab/wait.js'

export const root = path.resolve(import.meta.dirname, '../..')

/** What runs until it is ended, or by itself. */
export interface Running {
  output(): string
  /** Waits for output, and gives what the pattern captured. */
  says(pattern: RegExp): Promise<RegExpMatchArray>
  /** Sends SIGTERM; gives the exit code, or the signal. */
  end(): Promise<number | string | null>
  ended: Promise<unknown[]>
}

/** Starts a program in the project's folder, in a group of its own, of which the end of the test kills whatever is left. */
export function start(
  t: ExecutionContext,
  command: string,
  args: readonly string[],
  env: Record<string, string>,
): Running {
  const child = spawn(command, args, {
    cwd: root,
    env: { ...process.env, NODE_OPTIONS: '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => (output += chunk))
  }
  const ended = once(child, 'exit')
  t.teardown(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
    await ended
    try {
      process.kill(-child.pid!, 'SIGKILL')
    } catch {
      // Nobody is left in the group.
    }
  })
  return {
    ended,
    output: () => output,
    says: (pattern) =>
      waitFor(() => output.match(pattern), {
        what: `${args.join(' ')} to say ${pattern}:\n${output}`,
        timeoutMs: 60_000,
      }),
    async end() {
      child.kill('SIGTERM')
      const [code, signal] = await within(ended, { what: `${args.join(' ')} to end:\n${output}` })
      return (code ?? signal) as number | string | null
    },
  }
}

export interface Started extends Database {
  program: Running
  /** Resolves when no session of the example is left on the server. */
  isGone: () => Promise<void>
  env: Record<string, string>
}

export async function startExample(
  t: ExecutionContext,
  name: string,
  options: { env?: Record<string, string>; args?: readonly string[] } = {},
): Promise<Started> {
  const database = await openDatabase(t)
  const example = examples().find((it) => it.name === name)
  if (example === undefined) throw new Error(`there is no example ${name}`)
  const env = {
    ...{ DATABASE_URL: database.dsn, PORT: '0', NEXT_TELEMETRY_DISABLED: '1' },
    ...options.env,
  }
  const { command, args } = await prepareExample(example)
  const program = start(t, command, [...args, ...(options.args ?? [])], env)
  const isGone = () =>
    waitFor(
      async () =>
        (await database.ask<number>(
          `SELECT count(*)::int FROM pg_stat_activity
            WHERE datname = current_database() AND application_name <> 'the test'`,
        )) === 0,
      { what: `the sessions of ${name} to end` },
    )
  return { ...database, program, isGone: async () => void (await isGone()), env }
}

/** A program of an example's folder, run to its end by the Node.js that the examples need. */
export async function runBeside(
  t: ExecutionContext,
  args: readonly string[],
  env: Record<string, string>,
) {
  const running = start(t, nodeOfExamples(), args, env)
  const [code] = await within(running.ended, { what: args.join(' '), timeoutMs: 60_000 })
  if (code !== 0)
    throw new Error(`${args.join(' ')} ended with ${String(code)}:\n${running.output()}`)
  return running.output()
}

/** A browser that reads server-sent events. */
export class Browser {
  text = ''
  readonly #left = new AbortController()

  static async open(t: ExecutionContext, url: string, init: RequestInit = {}): Promise<Browser> {
    const browser = new Browser()
    t.teardown(() => browser.leave())
    const response = await fetch(url, { ...init, signal: browser.#left.signal })
    if (!response.ok || !response.body) throw new Error(`${url} answered ${response.status}`)
    void browser.#read(response.body)
    return browser
  }

  async #read(body: ReadableStream<Uint8Array>) {
    const decoder = new TextDecoder()
    try {
      for await (const chunk of body) this.text += decoder.decode(chunk, { stream: true })
    } catch (error) {
      if (!this.#left.signal.aborted) this.text += `\n${String(error)}`
    }
  }

  /** Waits for text. */
  until(text: string) {
    return waitFor(() => this.text.includes(text), {
      what: `${JSON.stringify(text)}, so far:\n${this.text}`,
      timeoutMs: 20_000,
    })
  }

  count(text: string): number {
    return this.text.split(text).length - 1
  }

  leave(): void {
    this.#left.abort()
  }
}
