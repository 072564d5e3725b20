// A short run of operations of all kinds by chance. `npm run mixed` runs more of them.

import test from 'ava'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { serverDsn } from '../../lab/server/test-server.js'
import { within } from '../../lab/wait.js'
import { createDatabase } from '../support/database.js'

const OPERATIONS = 3000

test('mixed operations give what they should, leave nothing behind, and their process ends by itself', async (t) => {
  t.timeout(120_000)
  const dsn = new URL(await serverDsn())
  dsn.pathname = `/${await createDatabase(t)}`
  const seed = Math.floor(Math.random() * 1e9)
  const program = fileURLToPath(new URL('../../lab/mixed/mixed-main.ts', import.meta.url))
  const child = spawn(
    process.execPath,
    ['--expose-gc', '--import=tsx', program, dsn.href, String(OPERATIONS), String(seed)],
    { env: { ...process.env, NODE_OPTIONS: '' }, stdio: ['ignore', 'pipe', 'pipe'] },
  )
  t.teardown(() => child.kill('SIGKILL'))
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (chunk: string) => (output += chunk))
  const what = `the end of a run with the seed ${seed}`
  const [code] = await within(once(child, 'close'), { timeoutMs: 100_000, what })
  t.is(code, 0, output)
  t.regex(output, new RegExp(`seed ${seed}: ${OPERATIONS} operations in .*, 0 wrong`))
})
