// The delivery contract, "sizes": what is too long, or no text for the server, is refused before anything is sent.

import * as fc from 'fast-check'
import test from 'ava'
import { ArgumentRangeError, ArgumentTypeError, PglistenError } from 'pglisten'
import { notify, openListener, serverChannels, uniqueChannel } from '../support/listener.js'
import { bytes, unit, wellFormed } from '../support/names.js'
import { isPending, occupy } from '../support/occupy.js'
import { collect } from '../../lab/wait.js'

test('a name has up to 63 bytes, whatever its characters', async (t) => {
  const { listener, pool } = await openListener(t)
  const tag = uniqueChannel().slice(-8)
  const whole = [
    ...[
      tag + 'a'.repeat(55),
      `${tag}${'a'.repeat(51)}😀`,
      `${tag}${'a'.repeat(52)}漢`,
      `${tag}a${'é'.repeat(27)}`,
    ],
    ...[`😀${tag}${'a'.repeat(51)}`, `${tag}"${'"'.repeat(54)}`],
  ]
  t.true(whole.every((name) => bytes(name) === 63))
  const tooLong = [
    ...[
      tag + 'a'.repeat(56),
      `${tag}${'a'.repeat(52)}😀`,
      `${tag}${'a'.repeat(53)}漢`,
      `${tag}${'é'.repeat(28)}`,
    ],
    ...['😀'.repeat(16), tag.repeat(1000)],
  ]
  t.true(tooLong.every((name) => bytes(name) > 63))
  await listener.startup()
  const messages = listener.messages()
  for (const name of whole) {
    await listener.addChannel(name)
    await notify(name, name)
  }
  t.deepEqual(
    (await collect(messages, whole.length)).map(({ channel }) => channel),
    whole,
  )
  const release = await occupy(listener.connection)
  // The session cannot be asked: the refusal is our own.
  for (const name of tooLong) {
    const error = await t.throwsAsync(listener.addChannel(name), { instanceOf: ArgumentRangeError })
    t.regex(error.message, new RegExp(`63 bytes.* got ${bytes(name)} bytes`))
    await t.throwsAsync(pool.notify(name), { instanceOf: ArgumentRangeError })
  }
  await release()
  t.deepEqual(listener.channels, whole)
  t.deepEqual((await serverChannels(listener)).toSorted(), whole.toSorted())
})

test('what cannot be a name is refused before anything is sent, by every method', async (t) => {
  const { listener, pool } = await openListener(t)
  await listener.startup()
  const release = await occupy(listener.connection)
  const callback = () => {}
  const methods: Record<string, (name: never) => unknown> = {
    addCallback: (name) => listener.addCallback(name, callback),
    removeCallback: (name) => listener.removeCallback(name, callback),
    clearChannelCallbacks: (name) => listener.clearChannelCallbacks(name),
    addChannel: (name) => listener.addChannel(name),
    removeChannel: (name) => listener.removeChannel(name),
    notify: (name) => pool.notify(name),
    messages: async (name) => listener.messages({ channels: [name] }),
    batches: async (name) => listener.batches({ channels: [name] }),
    listener: async (name) => pool.listener({ channels: [name] }),
  }
  for (const [method, call] of Object.entries(methods)) {
    for (const [name, kind] of [
      ['', ArgumentRangeError],
      ['a\0b', ArgumentRangeError],
      ['\0', ArgumentRangeError],
      ['a\ud83d', ArgumentRangeError],
      ['\udc00a', ArgumentRangeError],
      [undefined, ArgumentTypeError],
      [null, ArgumentTypeError],
      [7, ArgumentTypeError],
      [['a'], ArgumentTypeError],
      [{ toString: () => 'a' }, ArgumentTypeError],
    ] as const) {
      const error = await t.throwsAsync(
        async () => call(name as never),
        { instanceOf: kind },
        method,
      )
      t.true(error instanceof PglistenError)
      t.regex(error.message, /1 to 63 bytes/)
    }
  }
  t.is(pool.status().size, 0)
  t.deepEqual(listener.channels, [])
  await release()
})

test('a payload has up to 7999 bytes, and arrives as it was sent', async (t) => {
  const { listener, pool } = await openListener(t)
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  const messages = listener.messages()
  const whole = [
    '',
    'a'.repeat(7999),
    '😀'.repeat(1999),
    `${'漢'.repeat(2666)}x`,
    '"\'\\$$;\n\r\t\u0001',
  ]
  for (const payload of whole) await pool.notify(channel, payload)
  t.deepEqual(
    (await collect(messages, whole.length)).map(({ payload }) => payload),
    whole,
  )
  for (const payload of ['a'.repeat(8000), '😀'.repeat(2000), '漢'.repeat(2667), 'a\0', '\ud83d']) {
    await t.throwsAsync(pool.notify(channel, payload), { instanceOf: ArgumentRangeError })
  }
  for (const payload of [null, 7, Buffer.from('a'), {}]) {
    await t.throwsAsync(pool.notify(channel, payload as never), { instanceOf: ArgumentTypeError })
  }
  const texts = fc
    .array(fc.oneof(unit, fc.string({ unit: 'binary', maxLength: 200 })), { maxLength: 30 })
    .map((units) => units.filter(wellFormed).join(''))
    .filter((text) => bytes(text) <= 7999)
  const property = fc.asyncProperty(texts, async (payload) => {
    await pool.notify(channel, payload)
    t.is((await collect(messages, 1))[0]?.payload, payload)
  })
  await fc.assert(property, { numRuns: 300 })
})

test('a call that is refused does not wait for the session', async (t) => {
  const { listener } = await openListener(t)
  await listener.startup()
  const release = await occupy(listener.connection)
  const channel = uniqueChannel()
  const accepted = listener.addChannel(channel)
  await t.throwsAsync(listener.addChannel(''), { instanceOf: ArgumentRangeError })
  t.true(await isPending(accepted))
  await release()
  await accepted
})
