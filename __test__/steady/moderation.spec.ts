// How long a notification waits for others, while many come.

import test from 'ava'
import { ConnectionPool } from 'pglisten'
import { serverDsn } from '../../lab/server/test-server.js'
import { leastOf } from '../../lab/stalls.js'
import { waitFor } from '../../lab/wait.js'
import { openListener, run, uniqueChannel } from '../support/listener.js'

const COUNT = 10_000

/** Notifies so often, each in a transaction of its own, several in each millisecond. */
const notifyFast = (channel: string) =>
  run(`DO $$ BEGIN FOR n IN 1..${COUNT} LOOP
    PERFORM pg_notify('${channel}', n::text); COMMIT;
    IF n % 10 = 0 THEN PERFORM pg_sleep(0.0005); END IF;
  END LOOP; END $$`)

/** In how many turns of the event loop a listener gets what comes fast, with this `maxDelayMs`. */
async function turns(t: Parameters<typeof openListener>[0], maxDelayMs: number) {
  const channel = uniqueChannel()
  const { listener } = await openListener(t, { maxDelayMs, session: 'own' })
  let got = 0
  let turned = 0
  let isCounted = false
  await listener.addCallback(channel, (_, payload) => {
    got += 1
    t.is(payload, String(got))
    if (isCounted) return
    isCounted = true
    turned += 1
    setImmediate(() => {
      isCounted = false
    })
  })
  await listener.startup()
  listener.listen()
  const since = performance.now()
  await notifyFast(channel)
  await waitFor(() => got === COUNT)
  const elapsedMs = performance.now() - since
  await listener.shutdown()
  return { turned, elapsedMs }
}

const onLibuv = process.platform === 'win32' ? test.serial.skip : test.serial

onLibuv('what comes fast comes together, as long as is allowed', async (t) => {
  // On a busy machine it comes together by itself, so that there is less of a difference.
  const share = await leastOf(0.3, async () => {
    const none = await turns(t, 0)
    const long = await turns(t, 10)
    for (const { turned, elapsedMs } of [none, long])
      t.log(`${turned} turns in ${Math.round(elapsedMs)} ms`)
    return long.turned / none.turned
  })
  t.true(share < 0.3, `${share}`)
})

test('the delay is a whole number of milliseconds up to 10', async (t) => {
  const pool = new ConnectionPool(await serverDsn())
  for (const maxDelayMs of [-1, 0.5, 11, Number.NaN]) {
    t.throws(() => pool.listener({ maxDelayMs }), {
      code: 'ERR_PGLISTEN_ARGUMENT_RANGE',
      message: /`maxDelayMs`/,
    })
  }
  t.throws(() => pool.listener({ maxDelayMs: '1' as unknown as number }), {
    code: 'ERR_PGLISTEN_ARGUMENT_TYPE',
    message: /`maxDelayMs`/,
  })
  await pool.close()
})
