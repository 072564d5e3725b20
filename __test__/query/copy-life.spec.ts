// COPYs that their thread or process does not outlive: nothing crashes, hangs, or stays behind on the server.

import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { runFixture } from '../support/child.js'
import { run, sessionCount } from '../support/listener.js'
import { serverDsn } from '../../lab/server/test-server.js'
import { uniqueName } from '../../lab/unique-name.js'
import { waitFor, within } from '../../lab/wait.js'

const WAYS = [
  'while data goes in',
  'while a source gives nothing',
  'while data comes out',
  'while data waits to be read',
  'with all of these',
]

async function names(t: ExecutionContext) {
  const table = uniqueName('outlived')
  await run(`CREATE TABLE ${table} (n int4, s text)`)
  t.teardown(() => run(`DROP TABLE ${table}`))
  return { applicationName: uniqueName('outlived'), table }
}

async function nothingIsLeft(applicationName: string): Promise<void> {
  await waitFor(async () => (await sessionCount(applicationName)) === 0, {
    what: 'the end of its sessions',
  })
}

for (const way of WAYS) {
  test.serial(`a worker that is ended ${way} takes its sessions with it`, async (t) => {
    const { applicationName, table } = await names(t)
    const worker = new Worker(new URL('../fixtures/copying.mjs', import.meta.url), {
      workerData: { dsn: await serverDsn(), applicationName, table, way },
    })
    const [message] = await within(once(worker, 'message'), { what: 'the middle of the COPY' })
    t.is(message, 'ready')
    t.true((await sessionCount(applicationName)) > 0)
    await within(worker.terminate(), { what: 'the end of the worker' })
    await nothingIsLeft(applicationName)
  })

  test.serial(`a process that exits ${way} does so at once`, async (t) => {
    const { applicationName, table } = await names(t)
    t.deepEqual(await runFixture('copying.mjs', [applicationName, table, way]), {})
    await nothingIsLeft(applicationName)
  })
}
