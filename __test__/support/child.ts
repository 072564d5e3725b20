// Runs a program of `fixtures/` in a process of its own, which ends by itself and says at its end what it found.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { serverDsn } from '../../lab/server/test-server.js'
import { within } from '../../lab/wait.js'

export interface ChildOptions {
  /** Arguments for Node. */
  node?: readonly string[]
  env?: Record<string, string>
  timeoutMs?: number
}

/** The JSON on the last line of its standard output. Rejects when it does not end with exit code 0. */
export async function runFixture(
  name: string,
  args: readonly string[] = [],
  { node = [], env = {}, timeoutMs = 60_000 }: ChildOptions = {},
): Promise<unknown> {
  const file = fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url))
  const child = spawn(process.execPath, [...node, file, ...args], {
    env: { ...process.env, NODE_OPTIONS: '', PGLISTEN_TEST_DSN: await serverDsn(), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  let errors = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (output += chunk))
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (errors += chunk))
  try {
    const [code, signal] = await within(once(child, 'close'), {
      timeoutMs,
      what: `${name} to end; so far it said:\n${output}${errors}`,
    })
    if (code !== 0) throw new Error(`${name} ended with ${signal ?? code}:\n${output}${errors}`)
  } finally {
    child.kill('SIGKILL')
  }
  return JSON.parse(output.trim().split('\n').at(-1) ?? '')
}
