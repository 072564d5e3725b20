// A consumer that does not read while session after session is lost: its gaps are bounded, and none goes without a trace.

import test from 'ava'
import { once } from 'node:events'
import { Gap } from 'pglisten'
import { Arena } from '../../lab/faults/arena.js'
import { Witness } from '../../lab/faults/witness.js'
import { collect, waitFor, within } from '../../lab/wait.js'

const MOST_GAPS = 1024
const LOSSES = MOST_GAPS + 6
/** So many of the first sessions deliver something. */
const NOTIFIED = 2

let arena: Arena

test.before(async () => {
  arena = await Arena.open()
})

test.after.always(() => arena?.close())

test('beyond 1024 gaps that nobody reads the oldest become one', async (t) => {
  const witness = new Witness(arena.dsn, { reconnect: { initialDelayMs: 1, maxDelayMs: 2 } }, 10)
  t.teardown(() => witness.stop())
  await witness.start()
  const { listener } = witness
  const unread = listener.messages({ gaps: 'include' })
  const gaps: Gap[] = []
  listener.on('gap', (gap) => gaps.push(gap))
  for (let loss = 1; loss <= LOSSES; loss += 1) {
    const back = once(listener, 'reconnected')
    arena.proxy.reset()
    await within(back)
    if (loss <= NOTIFIED) {
      await arena.direct.notify(witness.channels[0]!, `${loss}`)
      await waitFor(() => witness.iterated.includes(loss))
    }
  }
  t.is(gaps.length, LOSSES)
  t.true(gaps.every(({ merged }) => merged === 1))
  const read = () => witness.iterated.filter((item) => item instanceof Gap)
  // The event of the last gap comes before the iterator's turn.
  await waitFor(() => read().length >= LOSSES, { what: 'the last gap' })
  t.deepEqual(read(), gaps, 'who reads gets each of them')

  const [sum, ...rest] = await collect(unread, MOST_GAPS + NOTIFIED)
  const summed = gaps.slice(0, LOSSES - MOST_GAPS + 1)
  const [first, last] = [summed[0]!, summed.at(-1)!]
  t.true(sum instanceof Gap)
  t.like(sum, {
    reason: 'disconnect',
    merged: summed.length,
    lostAt: first.lostAt,
    resumedAt: last.resumedAt,
    downtimeMs: last.resumedAt.getTime() - first.lostAt.getTime(),
    dropped: null,
    oldProcessId: first.oldProcessId,
    newProcessId: last.newProcessId,
    attempts: summed.reduce((attempts, gap) => attempts + gap.attempts, 0),
    serverRestarted: false,
  })
  // What came between the gaps that became one follows them.
  t.like(rest.slice(0, NOTIFIED), [{ payload: '1' }, { payload: '2' }])
  t.deepEqual(rest.slice(NOTIFIED) as unknown[], gaps.slice(summed.length))
})
