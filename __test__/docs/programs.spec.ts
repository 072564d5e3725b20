// Programs of the documentation on servers other than that of the tests.

import { spawnSync } from 'node:child_process'
import test from 'ava'
import { startNotificationFilter } from '../../lab/network/notification-filter.js'
import { HAS_PGLITE, startPglite } from '../../lab/server/pglite.js'
import { POOLER, startPooler } from '../../lab/server/pooler.js'
import { unprivilegedAccount } from '../../lab/server/server-account.mjs'
import { serverDsn } from '../../lab/server/test-server.js'
import { cleanUp, codeBlocks, root, runProgram } from '../support/code-blocks.js'

test.after.always(cleanUp)

/** The only program of a page that has `text` in it. */
function program(page: string, text: string) {
  const found = codeBlocks(page).filter(
    ({ language, code }) => language === 'js' && code.includes(text),
  )
  if (found.length !== 1) throw new Error(`${page} has ${found.length} programs with ${text}`)
  return found[0]!
}

const asks = () => program('docs/poolers-and-managed.md', 'is anybody there')

test('who asks whether notifications come through is told the truth of a server and a filter', async (t) => {
  t.is(await runProgram(asks(), await serverDsn()), 'notifications come through\n')
  const filter = await startNotificationFilter(t)
  filter.drops = true
  t.regex(await runProgram(asks(), filter.dsn), /^they do not: .*did not come within/)
})

const pooled = POOLER ? test : test.skip

pooled('who asks is told the truth of a pooler', async (t) => {
  for (const [mode, truth] of [
    ['session', /^notifications come through\n$/],
    ['transaction', /^they do not: there is a pooler/],
  ] as const) {
    const server = await serverDsn()
    const pooler = await startPooler(server, mode)
    t.teardown(() => pooler.stop())
    const dsn = new URL(server)
    dsn.port = `${pooler.port}`
    t.regex(await runProgram(asks(), dsn.href), truth, mode)
  }
})

const withPglite = HAS_PGLITE ? test : test.skip

withPglite('who asks is told the truth of PGlite', async (t) => {
  const pglite = await startPglite('pglite-socket')
  t.teardown(() => pglite.stop())
  t.regex(await runProgram(asks(), pglite.dsn), /^they do not: .*share one session/)
})

/** PostgreSQL refuses to run as root, and another account cannot read every clone. */
const account = unprivilegedAccount()
const canRead = spawnSync('ls', [root], { ...account, cwd: '/' }).status === 0
const embedded = canRead ? test : test.skip

embedded('the server that comes from npm starts, and a listener listens to it', async (t) => {
  t.timeout(120_000)
  const block = program('docs/testing.md', 'EmbeddedPostgres')
  t.is(await runProgram(block, '', account), '17\n')
})
