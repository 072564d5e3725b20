// Runs a program of `fixtures/` from which the operating system takes threads or descriptors when the program asks for it.

import { execFile, execFileSync, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { serverDsn } from '../../lab/server/test-server.js'
import { unprivilegedAccount } from '../../lab/server/server-account.mjs'
import { within } from '../../lab/wait.js'

const run = promisify(execFile)

/** Whether this system can take resources from a running process: Linux, with `prlimit` of util-linux. */
export const canLimit = (() => {
  try {
    execFileSync('prlimit', ['--version'], { stdio: 'ignore' })
    return process.platform === 'linux'
  } catch {
    return false
  }
})()

/** A wish of the program: a soft limit; `null` for as much as there is. */
interface Wish {
  resource: 'nofile' | 'nproc'
  limit: number | null
}

/**
 * Runs a program and gives what it sent last. Rejects when the program does not end with exit code 0. The limit of threads
 * does not count for root, so the program is told of an account to change to.
 */
export async function runLimited(name: string, args: readonly string[]): Promise<unknown> {
  const account = unprivilegedAccount()
  const child = fork(fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url)), args, {
    env: {
      ...process.env,
      NODE_OPTIONS: '',
      PGLISTEN_TEST_DSN: await serverDsn(),
      ACCOUNT: JSON.stringify(account),
    },
    execArgv: [],
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  })
  let output = ''
  for (const stream of [child.stdout!, child.stderr!])
    stream.setEncoding('utf8').on('data', (chunk: string) => (output += chunk))
  let result: unknown
  child.on('message', (message: { wish?: Wish; result?: unknown }) => {
    if (!message.wish) {
      result = message.result
      return
    }
    void grant(child.pid!, message.wish, account).then(
      () => child.send('done'),
      (error: unknown) => {
        output += String(error)
        child.kill('SIGKILL')
      },
    )
  })
  try {
    const [code, signal] = await within(once(child, 'close'), {
      timeoutMs: 60_000,
      what: `${name} to end; so far it said:\n${output}`,
    })
    if (code !== 0) throw new Error(`${name} ended with ${signal ?? code}:\n${output}`)
  } finally {
    child.kill('SIGKILL')
  }
  return result
}

async function grant(
  pid: number,
  { resource, limit }: Wish,
  account: ReturnType<typeof unprivilegedAccount>,
): Promise<void> {
  const of = ['--pid', String(pid)]
  // Only who has the account of a process may set its limits, not even root in a container.
  const options = { encoding: 'utf8', ...(resource === 'nproc' ? account : {}) } as const
  const asked = await run(
    'prlimit',
    [...of, `--${resource}`, '-o', 'HARD', '--noheadings'],
    options,
  )
  const hard = asked.stdout.trim()
  await run('prlimit', [...of, `--${resource}=${limit ?? hard}:${hard}`], options)
}
