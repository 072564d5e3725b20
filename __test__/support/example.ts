// A program of `examples/` in a process of its own, on a database of its own.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import path from 'node:path'
import type { ExecutionContext } from 'ava'
import { ConnectionPool, type QueryParameter } from 'pglisten'
import { createDatabase } from './database.js'
import { serverDsn } from '../../lab/server/test-server.js'
import { waitFor, within } from '../../lab/wait.js'

const root = path.resolve(import.meta.dirname, '../..')

/** A database, and statements on it through connections that no example has. */
export interface Database {
  dsn: string
  ask: <Value>(sql: string, params?: readonly QueryParameter[]) => Promise<Value>
  run: (sql: string) => Promise<void>
  /** Ends every other session of the database, as a failover would. */
  severAll: () => Promise<void>
}

export async function openDatabase(t: ExecutionContext): Promise<Database> {
  const url = new URL(await serverDsn())
  url.pathname = `/${await createDatabase(t)}`
  const pool = new ConnectionPool({ dsn: url.href, maxDbPoolSize: 4, applicationName: 'the test' })
  t.teardown(() => pool.close())
  const run = async (sql: string) => {
    await using connection = await pool.connection()
    await connection.executeBatch(sql)
  }
  return {
    dsn: url.href,
    run,
    async ask<Value>(sql: string, params: readonly QueryParameter[] = []) {
      await using connection = await pool.connection()
      return await connection.fetchVal<Value>(sql, params)
    },
    severAll: () =>
      run(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name <> 'the test'`),
  }
}

export interface Example {
  child: ChildProcess
  /** All that it has printed. */
  output(): string
  lines(): string[]
  /** Waits for a line, and gives what the pattern captured. */
  says(pattern: RegExp): Promise<RegExpMatchArray>
  /** Sends a signal; gives the exit code. */
  end(signal?: NodeJS.Signals): Promise<number | null>
}

/** Starts an example. The end of the test kills it. */
export function startExample(
  t: ExecutionContext,
  name: string,
  dsn: string,
  env: Record<string, string> = {},
  args: readonly string[] = [],
): Example {
  const files = ['main.mts', 'main.mjs'].map((file) => `examples/${name}/${file}`)
  const file = files.find((it) => existsSync(path.join(root, it)))
  if (file === undefined) throw new Error(`Expected one of ${files.join(', ')}, got none`)
  const child = spawn(process.execPath, ['--import=tsx', file, ...args], {
    cwd: root,
    env: { ...process.env, NODE_OPTIONS: '', DATABASE_URL: dsn, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => (output += chunk))
  }
  const closed = once(child, 'close')
  t.teardown(async () => {
    child.kill('SIGKILL')
    await closed
  })
  return {
    child,
    output: () => output,
    lines: () => output.trim().split('\n'),
    says: (pattern) =>
      waitFor(() => output.match(pattern), { what: `${name} to say ${pattern}:\n${output}` }),
    async end(signal = 'SIGTERM') {
      child.kill(signal)
      const [code] = await within(closed, { what: `${name} to end:\n${output}` })
      return code as number | null
    },
  }
}
