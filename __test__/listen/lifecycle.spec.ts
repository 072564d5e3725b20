// The table of a listener's states, without a server: what may follow what, and what a failed startup leads back to.

import test from 'ava'
import { Lifecycle } from '../../src-ts/listen/lifecycle.js'

const never = new Promise<void>(() => {})

test('a listener is idle until its first startup, and closed after its last', (t) => {
  const idle = Lifecycle.idle()
  t.deepEqual([idle.state, idle.isLive, idle.isOpen, idle.isStarted], ['idle', false, false, false])
  const run = idle.begin()
  t.deepEqual([run.state, run.isLive, run.isOpen, run.isStarted], ['connecting', true, true, false])
  run.to('connected')
  run.succeed()
  t.deepEqual([run.state, run.isLive, run.isOpen, run.isStarted], ['connected', true, true, true])
  run.to('reconnecting')
  t.deepEqual([run.state, run.isStarted], ['reconnecting', true])
  run.end(never)
  t.deepEqual(
    [run.state, run.isLive, run.isOpen, run.isStarted],
    ['reconnecting', true, false, false],
  )
  run.to('ended')
  t.deepEqual([run.state, run.isLive, run.hasEnded], ['closed', false, true])
  t.is(run.afterwards().state, 'closed')
})

test('a startup that fails leads back to the state before it', (t) => {
  const first = Lifecycle.idle().begin()
  first.to('ended')
  t.is(first.afterwards().state, 'idle')
  const second = first.afterwards().begin()
  second.to('connected')
  second.succeed()
  second.to('ended')
  const third = second.afterwards().begin()
  third.to('ended')
  t.is(third.afterwards().state, 'closed')
})

test('a run is not begun before the one before it is over', (t) => {
  const run = Lifecycle.idle().begin()
  t.throws(() => run.begin(), { message: 'The listener is already started' })
  run.end(never)
  t.throws(() => run.begin(), { message: 'The listener is being shut down' })
  const other = Lifecycle.idle().begin()
  other.to('gaveUp')
  t.is(other.begin().state, 'connecting')
})

test('nothing brings a run back that is over', (t) => {
  const run = Lifecycle.idle().begin()
  run.to('gaveUp')
  for (const phase of ['connected', 'reconnecting', 'connecting', 'idle'] as const) {
    run.to(phase)
    t.is(run.state, 'closed')
  }
  run.to('ended')
  run.to('gaveUp')
  t.true(run.hasEnded)
})
