// The gap tells why the server ended the session, whatever the session was doing at that time.

import { once } from 'node:events'
import test from 'ava'
import type { Gap } from 'pglisten'
import { ask, openListener, terminate, uniqueChannel } from '../support/listener.js'
import { waitFor } from '../../lab/wait.js'

for (const isBusy of [false, true]) {
  const what = isBusy ? 'while it runs a statement' : 'at rest'
  test(`a session that an administrator ends ${what} leaves the server's reason in the gap`, async (t) => {
    const { listener } = await openListener(t, { channels: [uniqueChannel()], session: 'own' })
    await listener.startup()
    const { processId } = listener.stats().session!
    const statement = isBusy && t.throwsAsync(listener.connection.execute('SELECT pg_sleep(60)'))
    if (isBusy) {
      const sleeps = `SELECT query LIKE '%pg_sleep%' AND state = 'active' FROM pg_stat_activity WHERE pid = $1`
      await waitFor(() => ask<boolean>(sleeps, [processId]), { what: 'the statement' })
    }
    const lost = once(listener, 'disconnected') as Promise<
      [{ error: Error & { sqlState?: string } }]
    >
    const told = once(listener, 'gap') as Promise<[Gap]>
    await terminate(processId)
    await statement
    const [[{ error }], [gap]] = await Promise.all([lost, told])
    t.is(gap.sqlState, '57P01')
    t.regex(gap.message, /administrator/)
    t.regex(error.message, /administrator/)
  })
}
