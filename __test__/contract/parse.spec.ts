// The delivery contract, "isolation": a `parse` that returns a promise is reported like one that throws, and nothing of
// the promise reaches a consumer or the process.

import test from 'ava'
import {
  ArgumentTypeError,
  ListenerCallbackError,
  type ListenerOptions,
  type PglistenError,
} from 'pglisten'
import { notify, openListener, uniqueChannel } from '../support/listener.js'
import { collect } from '../../lab/wait.js'

type Parse = NonNullable<ListenerOptions<string>['parse']>

const then = (resolve: (value: string) => void) => resolve('later')

const PROMISES: [how: string, got: string, make: () => unknown][] = [
  // An unhandled rejection fails the tests of this file.
  ['a promise that rejects', 'an instance of Promise', () => Promise.reject(new Error('no'))],
  ['a promise', 'an instance of Promise', () => Promise.resolve('later')],
  // oxlint-disable-next-line no-thenable
  ['an object with a then()', 'an object', () => ({ then })],
  // oxlint-disable-next-line no-thenable
  ['a function with a then()', 'a function', () => Object.assign(() => {}, { then })],
  [
    'a promise whose own then() throws',
    'an instance of Promise',
    () =>
      Object.assign(Promise.resolve('later'), {
        // oxlint-disable-next-line no-thenable
        then: () => {
          throw new Error('no')
        },
      }),
  ],
  [
    'a promise that rejects and whose own then() calls nobody',
    'an instance of Promise',
    // oxlint-disable-next-line no-thenable
    () => Object.assign(Promise.reject(new Error('no')), { then: () => {} }),
  ],
  [
    'a promise whose constructor throws',
    'an object',
    () =>
      Object.defineProperty(Promise.resolve('later'), 'constructor', {
        get: () => {
          throw new Error('no')
        },
      }),
  ],
  [
    'an object whose then() throws',
    'an object',
    () => ({
      // oxlint-disable-next-line no-thenable
      then: () => {
        throw new Error('no')
      },
    }),
  ],
]

for (const [how, got, make] of PROMISES) {
  test(`a parse that returns ${how} is reported, for callbacks, messages and batches`, async (t) => {
    const channel = uniqueChannel()
    const parse = ((text) => (text === 'bad' ? make() : text)) as Parse
    const { listener } = await openListener(t, { channels: [channel], parse })
    const errors: PglistenError[] = []
    listener.on('error', (error) => errors.push(error))
    const called: unknown[] = []
    await listener.addCallback(channel, (_, payload) => called.push(payload))
    await listener.startup()
    const messages = listener.messages()
    const batches = listener.batches()
    listener.listen()
    await notify(channel, 'bad')
    await notify(channel, 'good')
    const [message] = await collect(messages, 1)
    t.is(message!.payload, 'good')
    const [batch] = await collect(batches, 1)
    t.deepEqual(
      batch!.map(({ payload }) => payload),
      ['good'],
    )
    await Promise.all([messages.return(), batches.return()])
    await listener.sync()
    t.deepEqual(called, ['good'])
    t.is(errors.length, 3)
    for (const error of errors) {
      t.true(error instanceof ListenerCallbackError)
      t.is(error.message, `\`parse\` must be synchronous, but it returned ${got}`)
      t.like(error, { channel, payload: 'bad', cause: undefined })
    }
    t.is(listener.stats().callbackErrors, 3)
  })
}

test('an async function is refused as parse', async (t) => {
  const parse = (async (text: string) => text) as unknown as Parse
  await t.throwsAsync(() => openListener(t, { parse }), {
    instanceOf: ArgumentTypeError,
    message:
      'Expected `parse` to be a function that returns the payload itself, got an async function',
  })
})

test('an empty payload goes to parse like any other, and a failure says that it was empty', async (t) => {
  const channel = uniqueChannel()
  const { listener } = await openListener(t, { channels: [channel], parse: JSON.parse })
  const errors: PglistenError[] = []
  listener.on('error', (error) => errors.push(error))
  await listener.startup()
  const messages = listener.messages()
  await notify(channel, '')
  await notify(channel, '7')
  const [message] = await collect(messages, 1)
  t.is<unknown, unknown>(message!.payload, 7)
  await messages.return()
  t.is(errors.length, 1)
  t.true(errors[0] instanceof ListenerCallbackError)
  t.is(errors[0]!.message, '`parse` failed: the payload is empty')
  t.like(errors[0]!, { channel, payload: '' })
})
