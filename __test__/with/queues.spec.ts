// The examples of pg-boss, graphile-worker and procrastinate: jobs are worked when they are notified, and after a gap. Nothing is polled
// while a test lasts.

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import test from 'ava'
import { root, runBeside, startExample } from './support.js'

test('pg-boss: a worker is woken by a notification, and by a gap', async (t) => {
  const { program, env, run, severAll, isGone } = await startExample(t, 'pg-boss', {
    env: { POLL_SECONDS: '3600' },
  })
  await program.says(/^ready$/m)
  await runBeside(t, ['examples/with/pg-boss/send.mjs', 'ann'], env)
  await program.says(/^mail to ann$/m)
  // Of this one nobody is told.
  await run(`INSERT INTO pgboss.job (name, data) VALUES ('mail', '{"to": "bob"}')`)
  await severAll()
  await program.says(/^mail to bob$/m)
  await runBeside(t, ['examples/with/pg-boss/send.mjs', 'cid'], env)
  await program.says(/^mail to cid$/m)
  t.is(await program.end(), 0)
  await isGone()
})

test('graphile-worker: it runs when it is told of a job, and after a gap', async (t) => {
  const { program, run, severAll, isGone } = await startExample(t, 'graphile-worker', {
    env: { POLL_MS: '3600000' },
  })
  await program.says(/^ready$/m)
  await run(`SELECT graphile_worker.add_job('mail', '{"to": "ann"}')`)
  await program.says(/^mail to ann$/m)
  await severAll()
  // Nobody hears this, or somebody does: in both cases it is worked.
  await run(`SELECT graphile_worker.add_job('mail', '{"to": "bob"}')`)
  await program.says(/^mail to bob$/m)
  await run(`SELECT graphile_worker.add_jobs(ARRAY[
    ('mail', '{"to": "cid"}', NULL, NULL, NULL, NULL, NULL, NULL)::graphile_worker.job_spec])`)
  await program.says(/^mail to cid$/m)
  t.is(await program.end(), 0)
  await isGone()
})

const python = process.env['PGLISTEN_PROCRASTINATE'] ?? ''
const withPython = python === '' ? test.skip : test

withPython('procrastinate: a worker is started when there is a job, and after a gap', async (t) => {
  const { program, env, run, severAll, isGone } = await startExample(t, 'procrastinate', {
    env: { POLL_MS: '3600000', PYTHON: python },
    args: ['--install'],
  })
  await program.says(/^ready$/m)
  await promisify(execFile)(
    python,
    ['-m', 'procrastinate', '--app=app.app', 'defer', 'mail', '{"to": "ann"}'],
    { cwd: `${root}/examples/with/procrastinate`, env: { ...process.env, ...env } },
  )
  await program.says(/^mail to ann$/m)
  // Of this one nobody is told: triggers do not fire in this session.
  await run(`SET session_replication_role = replica;
    INSERT INTO procrastinate_jobs (queue_name, task_name, args) VALUES ('mail', 'mail', '{"to": "bob"}')`)
  await severAll()
  await program.says(/^mail to bob$/m)
  t.is(await program.end(), 0)
  await isGone()
})
