// `npm run example`: asks before it makes tables in somebody's database, and leaves nothing behind when it is ended.

import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import test from 'ava'
import { root } from '../support/code-blocks.js'
import { openDatabase } from '../support/example.js'
import { waitFor, within } from '../../lab/wait.js'

const command = path.join(root, 'scripts/example.mjs')
const env = { ...process.env, NODE_OPTIONS: '', PORT: '0' }

test('tables are made in a database of the user’s only after a yes', async (t) => {
  const { dsn, ask } = await openDatabase(t)
  const running = promisify(execFile)(process.execPath, [command, 'cache'], {
    env: { ...env, DATABASE_URL: dsn },
  })
  running.child.stdin?.end()
  const { code, stderr } = await t.throwsAsync<Error & { code: number; stderr: string }>(running)
  t.is(code, 1)
  t.regex(stderr, /creates in the database of DATABASE_URL.*: settings\. Expected --install/)
  t.false(stderr.includes(new URL(dsn).password))
  t.is(await ask(`SELECT to_regclass('settings')::text`), null)
})

test('an example that is ended leaves neither a process nor a folder', async (t) => {
  const folder = await mkdtemp(path.join(tmpdir(), 'pglisten-example-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  // The server may run under another account.
  await chmod(folder, 0o755)
  const child = spawn(process.execPath, [command, 'cache'], {
    cwd: root,
    env: { ...env, DATABASE_URL: undefined, TMPDIR: folder },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (output += chunk))
  const ended = once(child, 'exit')
  await waitFor(() => /^http:/m.test(output), {
    what: `the address:\n${output}`,
    timeoutMs: 60_000,
  })
  const [, port] = /@[^/]*:(\d+)\//.exec(output)!
  /** Without what tsx keeps of what it has translated. */
  const folders = async () => (await readdir(folder)).filter((name) => !name.startsWith('tsx-'))
  t.is((await folders()).length, 1)
  child.kill('SIGTERM')
  t.deepEqual(await within(ended, { what: 'the end' }), [0, null])
  const refused = await fetch(`http://127.0.0.1:${port}`).catch((error: Error) => error)
  t.true(refused instanceof Error)
  t.deepEqual(await folders(), [])
})
