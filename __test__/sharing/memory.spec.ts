// What thousands of idle listeners of one process keep in memory.

import test from 'ava'
import { runFixture } from '../support/child.js'
import { uniqueChannel } from '../support/listener.js'

/** Node 20 needs about 1,900. Native objects with hidden classes of their own, or a few tables that are made too early, go beyond it. */
const MOST_BYTES = 2300

test('an idle listener keeps little in the heap of JavaScript', async (t) => {
  const outcome = await runFixture('many-listeners.mjs', [uniqueChannel(), '2000'], {
    node: ['--expose-gc'],
  })
  const { bytesEach, heard } = outcome as { bytesEach: number; heard: number }
  t.log(`${Math.round(bytesEach)} bytes each`)
  t.true(bytesEach > 0 && bytesEach <= MOST_BYTES, `${bytesEach} bytes each`)
  t.is(heard, 2)
})
