// `npm run examples`: installs what the examples in `examples/with/` use, and tries each of them on a real server.
//
//   npm run examples                               all of them
//   npm run examples -- __test__/with/web.spec.ts  one file of tests

import fs from 'node:fs'
import path from 'node:path'
import { installExamples } from '../lib/examples.mjs'
import { onInterrupt, root, run, runTool } from '../lib/run.mjs'
import { SetupError, runMain, setup } from '../lib/setup.mjs'

/** @type {import('../../lab/server/dev-server.mjs').DevServer | undefined} */
let server

await runMain(async () => {
  onInterrupt(() => server?.stop('immediate'))
  await setup()
  await installExamples()
  const python = await installProcrastinate()
  const { startServer } = await import('../../lab/server/dev-server.mjs')
  server = await startServer()
  try {
    const { ok } = await runTool('ava/entrypoints/cli.mjs', process.argv.slice(2), {
      env: {
        PGLISTEN_EXAMPLES: '1',
        PGLISTEN_TEST_DSN: server.dsn,
        PGLISTEN_PROCRASTINATE: python,
        // A free one, for each server of the web.
        PORT: '0',
      },
    })
    return ok ? 0 : 1
  } finally {
    await server.stop()
  }
})

/** @returns {Promise<string>} The Python that has procrastinate; empty where there is no Python. */
async function installProcrastinate() {
  const folder = path.join(root, 'target/tools/procrastinate')
  const wanted = path.join(root, 'examples/with/procrastinate/requirements.txt')
  const python = path.join(folder, 'bin/python')
  const installed = path.join(folder, 'requirements.txt')
  const list = fs.readFileSync(wanted, 'utf8')
  if (fs.existsSync(installed) && fs.readFileSync(installed, 'utf8') === list) return python
  const { ok: hasPython } = await run('python3', ['--version'], { output: 'keep' })
  if (!hasPython) {
    console.log('procrastinate is not tried: there is no python3')
    return ''
  }
  console.log('Installing procrastinate')
  for (const [command, args] of /** @type {[string, string[]][]} */ ([
    ['python3', ['-m', 'venv', folder]],
    [python, ['-m', 'pip', 'install', '--quiet', '--requirement', wanted]],
  ])) {
    const { ok, output } = await run(command, args, { output: 'keep' })
    if (!ok) throw new SetupError(`procrastinate could not be installed:\n${output}`)
  }
  fs.writeFileSync(installed, list)
  return python
}
