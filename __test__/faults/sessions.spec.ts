// Whatever ends a session is noticed, told as one gap in its place, and got over.

import test from 'ava'
import { Arena } from '../../lab/faults/arena.js'
import { FAULTS, HEARTBEAT } from '../../lab/faults/faults.js'
import { observe } from '../../lab/faults/witness.js'
import { withoutStall } from '../../lab/stalls.js'

/** For the other load of the machine. */
const SLACK_MS = 1000

let arena: Arena

test.before(async () => {
  arena = await Arena.open()
})

test.after.always(() => arena?.close())

for (const fault of FAULTS) {
  test.serial(`${fault.name}: noticed, one gap in its place, everything after it`, async (t) => {
    const heartbeat = fault.isSilent ? HEARTBEAT : { intervalMs: 10_000, timeoutMs: 5000 }
    const timely = await withoutStall(async () => {
      const seen = await observe(arena, { ...fault, options: { heartbeat, ...fault.options } })
      t.deepEqual(seen.violations, [])
      t.deepEqual(seen.events, ['connected', 'disconnected', 'connected', 'reconnected'])
      const { gap } = seen
      t.like(gap, {
        reason: 'disconnect',
        dropped: null,
        sqlState: fault.sqlState,
        serverRestarted: fault.restarts ?? false,
        oldProcessId: seen.oldProcessId,
        newProcessId: seen.newProcessId,
        attempts: seen.attempts.length + 1,
      })
      // A silence is noticed by the heartbeat and its own time-out, and everything else without it.
      if (fault.isSilent) t.regex(gap.message, /did not answer a heartbeat within 0\.6 s/)
      else t.notRegex(gap.message, /heartbeat/)
      t.is(gap.downtimeMs, gap.resumedAt.getTime() - gap.lostAt.getTime())
      t.true(gap.lostAt <= gap.resumedAt)
      t.log(
        `noticed ${Math.round(seen.noticedMs)} ms, recovered ${Math.round(seen.recoveredMs)} ms, ${gap.message}, missing ${seen.missing} of ${seen.delivered + seen.missing}`,
      )
      return seen
    })
    if (!timely) return t.log('the machine stalled in each round: their times say nothing')
    const bound = fault.isSilent ? HEARTBEAT.intervalMs + HEARTBEAT.timeoutMs : 1000
    t.true(timely.noticedMs < bound + SLACK_MS, `noticed after ${timely.noticedMs} ms`)
    t.true(timely.recoveredMs < 3000, `recovered after ${timely.recoveredMs} ms`)
    return undefined
  })
}
