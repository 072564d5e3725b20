// What thousands of idle listeners of one process keep in memory.

import test from 'ava'
import { runFixture } from '../support/child.js'
import { uniqueChannel } from '../support/listener.js'

/** One more table, closure or hidden class for each listener would go beyond it. With an object of Node-API it was 3,500. */
const MOST_BYTES = 2600

test('an idle listener keeps little in the heap of JavaScript', async (t) => {
  const outcome = await runFixture('many-listeners.mjs', [uniqueChannel(), '2000'], {
    node: ['--expose-gc'],
  })
  const { bytesEach, heard } = outcome as { bytesEach: number; heard: number }
  t.log(`${Math.round(bytesEach)} bytes each`)
  t.true(bytesEach > 0 && bytesEach <= MOST_BYTES, `${bytesEach} bytes each`)
  t.is(heard, 2)
})
