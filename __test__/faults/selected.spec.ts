// The referee of consumers that filter or coalesce: it must see each kind of broken promise.

import test from 'ava'
import type { Gap } from 'pglisten'
import { judgeSelected } from '../../lab/soak/selected.js'

const lost = (newProcessId: number) => ({ reason: 'disconnect', newProcessId }) as Gap
const dropped = { reason: 'overflow', dropped: 1 } as Gap
const isEven = (key: number) => key % 2 === 0
/** The tens are the channel. */
const channelOf = (key: number) => Math.floor(key / 10)

type Stream = (number | Gap)[]
const filtered = (whole: Stream, seen: Stream) =>
  judgeSelected('it', whole, seen, { passes: isEven }).violations
const merged = (whole: Stream, seen: Stream) =>
  judgeSelected('it', whole, seen, { passes: () => true, channelOf }).violations

test('a filtered stream has exactly what passes', (t) => {
  t.deepEqual(filtered([1, 2, 3, 4, lost(7), 6], [2, 4, lost(7), 6]), [])
  t.regex(filtered([1, 2, 4], [2])[0]!, /nothing at a place where 4 is due/)
  t.regex(filtered([1, 2, 4], [1, 2, 4])[0]!, /1 at a place where 2 is due/)
  t.regex(filtered([2, lost(7), 4], [2, 4, lost(7)])[0]!, /4 at a place where nothing is due/)
  t.regex(filtered([2, lost(7), 4], [2, 4])[0]!, /0 breaks, but 1/)
  t.regex(filtered([2, lost(7)], [2, lost(8)])[0]!, /break 1 differs/)
})

test('a merged stream has the newest of each channel, at the place of the first that it stands for', (t) => {
  t.deepEqual(merged([11, 21, 12, 22, 13], [11, 21, 12, 22, 13]), [])
  t.deepEqual(merged([11, 21, 12, 22, 13], [13, 22]), [])
  t.deepEqual(merged([11, 21, 12, 22, 13], [11, 22, 13]), [])
  t.deepEqual(merged([11, 12, lost(7), 13, 14], [12, lost(7), 14]), [])
  t.regex(merged([11, 21, 12], [11, 21])[0]!, /12, the newest of its channel, never came/)
  t.regex(merged([11, 21, 12], [21, 12])[0]!, /12 came behind/)
  t.regex(merged([11, 12], [12, 11])[0]!, /11 came, out of its channel's order/)
  t.regex(merged([11, lost(7), 12], [lost(7), 12])[0]!, /11, the newest/)
  t.regex(merged([11, 12], [11, 12, 12])[0]!, /12 came, out of/)
})

test('a part in which something was dropped is not compared', (t) => {
  const verdict = judgeSelected('it', [11, dropped, 12, lost(7), 13, 14], [12, lost(7), 14], {
    passes: () => true,
    channelOf,
  })
  t.deepEqual(verdict, { violations: [], compared: 1, delivered: 1, merged: 1 })
})
