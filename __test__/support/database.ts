// A database that belongs to one test.

import type { ExecutionContext } from 'ava'
import { uniqueName } from '../../lab/unique-name.js'
import { run } from './listener.js'

/** Creates an empty database; the end of the test drops it. */
export async function createDatabase(t: ExecutionContext, options = ''): Promise<string> {
  const name = uniqueName('database')
  await run(`CREATE DATABASE ${name} ${options} TEMPLATE template0`)
  t.teardown(() => run(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`))
  return name
}
