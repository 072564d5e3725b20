// What nobody knows any more is collected, whatever became of it before, and takes its session and buffers along.

import test from 'ava'
import { once } from 'node:events'
import { flood } from '../support/flood.js'
import {
  backendOf,
  openListener,
  sessionCount,
  sessionsAre,
  terminate,
  uniqueChannel,
} from '../support/listener.js'
import { waitFor } from '../../lab/wait.js'

/** Collects garbage until the condition holds. */
function collecting(what: string, condition: () => boolean | Promise<boolean>): Promise<true> {
  return waitFor(
    () => {
      globalThis.gc!()
      return condition()
    },
    { what },
  )
}

async function isCollected(what: string, reference: WeakRef<object>): Promise<void> {
  await collecting(`${what} to be collected`, () => reference.deref() === undefined)
}

/** Listeners that must not be collected yet. */
const held = new Set<object>()

for (const listening of [true, false]) {
  const state = listening ? 'calling callbacks' : 'idle'

  test(`a listener that gave up while it was ${state} is collected`, async (t) => {
    const giveUp = async () => {
      const { listener } = await openListener(t, { reconnect: false })
      await listener.addCallback(uniqueChannel(), () => {})
      await listener.startup()
      if (listening) listener.listen()
      // Nothing but this set reaches the listener while its end is waited for, and tests beside this one collect garbage.
      held.add(listener)
      const closed = once(listener, 'closed')
      await terminate(await backendOf(listener))
      await closed
      held.delete(listener)
      return new WeakRef(listener)
    }
    await isCollected('the listener', await giveUp())
    t.pass()
  })
}

test('a forgotten listener ends its session although its signal lives on', async (t) => {
  const controller = new AbortController()
  const forget = async () => {
    const { listener, applicationName } = await openListener(t, { signal: controller.signal })
    await listener.startup()
    await sessionsAre(applicationName, 1)
    return applicationName
  }
  const applicationName = await forget()
  await collecting('the session to end', async () => (await sessionCount(applicationName)) === 0)
  // Nobody is left to hear it.
  t.notThrows(() => controller.abort())
})

for (const [how, fail] of Object.entries({
  refused: async (sync) => {
    await sync()
  },
  'given up': async (sync) => {
    const controller = new AbortController()
    const synced = sync(controller.signal)
    controller.abort(new Error('enough'))
    await synced
  },
} satisfies Record<string, (sync: (signal?: AbortSignal) => Promise<void>) => Promise<void>>)) {
  test(`a fence that was ${how} does not keep the iterators that it waited for`, async (t) => {
    const { listener } = await openListener(t, { channels: [uniqueChannel()] })
    await listener.startup()
    if (how === 'refused') await listener.connection.executeBatch('BEGIN')
    const abandon = async () => {
      const messages = listener.messages()
      await t.throwsAsync(fail((signal) => listener.sync(signal ? { signal } : {})))
      return new WeakRef(messages)
    }
    await isCollected('the iterator', await abandon())
    t.true(listener.isStarted)
  })
}

test('what an iterator has dropped stays counted when it is collected', async (t) => {
  const channel = uniqueChannel()
  const { listener } = await openListener(t, { channels: [channel], buffer: { maxMessages: 10 } })
  await listener.startup()
  const abandon = async () => {
    const messages = listener.messages()
    await flood(channel, 1, 50)
    await waitFor(() => listener.stats().received === 50)
    t.like(listener.stats(), { dropped: 40, buffered: 10 })
    return new WeakRef(messages)
  }
  await isCollected('the iterator', await abandon())
  t.like(listener.stats(), { received: 50, dropped: 40, buffered: 0 })
})
