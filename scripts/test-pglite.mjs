// `npm run test:pglite`: installs PGlite into target/, and runs the tests that need it. From then on `npm test` has them too.

import fs from 'node:fs'
import path from 'node:path'
import { onInterrupt, root, run } from './lib/run.mjs'
import { SetupError, runMain, setup } from './lib/setup.mjs'

/** PGlite, what puts it behind a socket, somebody else's way to do that, and pgvector for it. */
const PACKAGES = [
  '@electric-sql/pglite@0.5.14',
  '@electric-sql/pglite-socket@0.2.17',
  'pglite-server@0.1.5',
  '@electric-sql/pglite-pgvector@0.0.15',
]

const FILES = [
  '__test__/faults/one-session.spec.ts',
  '__test__/query/types/pgvector.spec.ts',
  '__test__/docs/*.spec.ts',
]

await runMain(async () => {
  onInterrupt(() => {})
  await setup()
  await install()
  const { ok } = await run(process.execPath, ['scripts/test.mjs', ...FILES])
  return ok ? 0 : 1
})

async function install() {
  const folder = path.join(root, 'target', 'pglite')
  fs.mkdirSync(folder, { recursive: true })
  fs.writeFileSync(path.join(folder, 'package.json'), JSON.stringify({ private: true }))
  const args = [
    'install',
    '--prefix',
    folder,
    '--no-audit',
    '--no-fund',
    '--ignore-scripts',
    ...PACKAGES,
  ]
  const { ok, output } = await run('npm', args, { output: 'keep' })
  if (!ok) throw new SetupError(`PGlite cannot be installed:\n${output}`)
}
