// What comes alone is handed over with the wake: as complete, as ordered and as bounded as what is drained.

import test from 'ava'
import { notify, openListener, uniqueChannel } from '../support/listener.js'
import { deferred, waitFor, within } from '../../lab/wait.js'

test('what comes one by one while a callback is pending is delivered in order, and counted meanwhile', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  const got: string[] = []
  const first = deferred()
  await listener.addCallback(channel, async (_, payload) => {
    got.push(payload)
    if (payload === '1') await first.promise
  })
  await listener.startup()
  listener.listen()
  for (let number = 1; number <= 20; number += 1) {
    await notify(channel, `${number}`)
    await waitFor(() => listener.stats().received === number)
  }
  await waitFor(() => listener.stats().buffered === 19)
  t.deepEqual(got, ['1'])
  t.true(listener.stats().oldestBufferedAgeMs! > 0)
  first.resolve()
  await within(listener.sync())
  t.deepEqual(
    got,
    Array.from({ length: 20 }, (_, number) => `${number + 1}`),
  )
  t.is(listener.stats().buffered, 0)
})

test('a consumer that takes nothing is handed a few at most, and the rest stays within the bounds', async (t) => {
  const { listener } = await openListener(t, {
    buffer: { maxMessages: 3, overflow: 'dropOldest' },
  })
  const channel = uniqueChannel()
  const got: string[] = []
  await listener.addCallback(channel, (_, payload) => got.push(payload))
  await listener.startup()
  listener.listen()
  await notify(channel, 'first')
  await waitFor(() => got.length === 1)
  listener.abortListen()
  for (let number = 1; number <= 20; number += 1) {
    await notify(channel, `${number}`)
    await waitFor(() => listener.stats().received === number + 1)
  }
  const { buffered, dropped } = listener.stats()
  t.true(buffered >= 3 && buffered <= 3 + 4, `${buffered}`)
  t.is(buffered + dropped, 20)
  listener.listen()
  await within(listener.sync())
  t.is(got.length, 1 + buffered)
  // Those at the beginning that were handed over, and the last ones.
  const handed = Array.from({ length: buffered - 3 }, (_, number) => `${number + 1}`)
  t.deepEqual(got, ['first', ...handed, '18', '19', '20'])
})

test('an iterator that is not asked keeps what came one by one', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  const messages = listener.messages()
  const batches = listener.batches({ maxSize: 100 })
  const waiting = [messages.next(), batches.next()] as const
  await notify(channel, '0')
  await within(Promise.all(waiting))
  for (let number = 1; number <= 9; number += 1) {
    await notify(channel, `${number}`)
    await waitFor(() => listener.stats().received === number + 1)
  }
  const one: unknown[] = []
  while (one.length < 9) one.push((await within(messages.next())).value?.payload)
  const many: unknown[] = []
  while (many.length < 9)
    many.push(...((await within(batches.next())).value ?? []).map(({ payload }) => payload))
  const all = Array.from({ length: 9 }, (_, number) => `${number + 1}`)
  t.deepEqual([one, many], [all, all])
})

test('of many listeners that are handed what was sent each has what was sent to it', async (t) => {
  const { pool, listener: first } = await openListener(t)
  const all = uniqueChannel()
  const payloads = ['', 'a', 'ä', 'a', 'a', 'aa', '€', 'x'.repeat(7999), 'a']
  const heard: string[][] = []
  const listeners = [first, ...Array.from({ length: 49 }, () => pool.listener())]
  for (const [number, listener] of listeners.entries()) {
    const own: string[] = []
    heard.push(own)
    await listener.addCallback(all, (_, payload, channel) => own.push(`${channel} ${payload}`))
    await listener.addCallback(`${all} ${number}`, (_, payload, channel) =>
      own.push(`${channel} ${payload}`),
    )
  }
  t.teardown(() => Promise.all(listeners.map((listener) => listener.shutdown())))
  await Promise.all(listeners.map((listener) => listener.startup()))
  for (const listener of listeners) listener.listen()
  for (const payload of payloads) {
    await pool.execute('SELECT pg_notify($1, $2), pg_notify($3, $4), pg_notify($5, $2)', [
      all,
      payload,
      `${all} 7`,
      'seven',
      `${all} 8`,
    ])
  }
  await within(Promise.all(listeners.map((listener) => listener.sync())))
  for (const [number, own] of heard.entries()) {
    const expected: string[] = []
    for (const payload of payloads) {
      expected.push(`${all} ${payload}`)
      if (number === 7) expected.push(`${all} 7 seven`)
      if (number === 8) expected.push(`${all} 8 ${payload}`)
    }
    t.deepEqual(own, expected)
  }
})
