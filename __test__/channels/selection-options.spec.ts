// The options `coalesce` and `filter` are checked where they are given, with what was expected and what came.

import test from 'ava'
import { ArgumentRangeError, ArgumentTypeError } from 'pglisten'
import { openListener } from '../support/listener.js'

const WRONG: [unknown, typeof ArgumentTypeError | typeof ArgumentRangeError, RegExp][] = [
  [
    { coalesce: true },
    ArgumentTypeError,
    /^Expected `coalesce` to be one of `payload`, `channel`, or `false`, got `true`/,
  ],
  [{ coalesce: null }, ArgumentTypeError, /`coalesce` .* got `null`/],
  [{ coalesce: 'key' }, ArgumentTypeError, /`coalesce` .* got `key` \(string\)/],
  [
    { filter: true },
    ArgumentTypeError,
    /^Expected `filter` to be an object of options, got `true`/,
  ],
  [
    { filter: null },
    ArgumentTypeError,
    /^Expected `filter` to be an object of options, got `null`/,
  ],
  [
    { filter: '' },
    ArgumentTypeError,
    /^Expected `filter` to be an object of options, got `` \(string\)/,
  ],
  [{ filter: 0 }, ArgumentTypeError, /^Expected `filter` to be an object of options, got `0`/],
  [
    { filter: ['a'] },
    ArgumentTypeError,
    /^Expected `filter` to be an object of options, got an array/,
  ],
  [
    { filter: { channel: ['a'] } },
    ArgumentTypeError,
    /^Unknown option `channel` in `filter`: did you mean `channels`/,
  ],
  [
    { filter: { channels: 'a*' } },
    ArgumentTypeError,
    /`filter.channels` to be an array .* got `a\*`/,
  ],
  [
    { filter: { channels: [] } },
    ArgumentRangeError,
    /`filter.channels` .* at least one .* empty array/,
  ],
  [
    { filter: { channels: ['a', 1] } },
    ArgumentTypeError,
    /`filter.channels\[1\]` to be a string, got `1`/,
  ],
  [
    { filter: { channels: [''] } },
    ArgumentRangeError,
    /`filter.channels\[0\]` to be a pattern .* got ``/,
  ],
  [{ filter: { channels: ['a[b'] } }, ArgumentRangeError, /each `\[` .* got `a\[b`/],
  [{ filter: { channels: ['a[]b'] } }, ArgumentRangeError, /each `\[`/],
  [{ filter: { channels: ['a[^]b'] } }, ArgumentRangeError, /each `\[`/],
  [{ filter: { channels: ['a\\'] } }, ArgumentRangeError, /each `\\`/],
  [{ filter: { channels: ['\ud800'] } }, ArgumentRangeError, /surrogate/],
  [{ filter: { prefix: 1 } }, ArgumentTypeError, /`filter.prefix` to be a string .* got `1`/],
  [{ filter: { prefix: 'a\0' } }, ArgumentRangeError, /`filter.prefix` .* NUL/],
  [{ filter: { prefix: 'a'.repeat(8000) } }, ArgumentRangeError, /`filter.prefix` .* 8000 bytes/],
  [
    { filter: { json: 'a' } },
    ArgumentTypeError,
    /^Expected `filter.json` to be an object of options/,
  ],
  [
    { filter: { json: { equals: 1 } } },
    ArgumentTypeError,
    /`filter.json.path` to be an array of names, got `undefined`/,
  ],
  [
    { filter: { json: { path: 'a', equals: 1 } } },
    ArgumentTypeError,
    /`filter.json.path` .* got `a`/,
  ],
  [
    { filter: { json: { path: ['a', 0], equals: 1 } } },
    ArgumentTypeError,
    /`filter.json.path\[1\]` to be a string, got `0`/,
  ],
  [
    { filter: { json: { path: ['\udc00'], equals: 1 } } },
    ArgumentRangeError,
    /path\[0\].* surrogate/,
  ],
  [
    { filter: { json: { path: ['a'] } } },
    ArgumentTypeError,
    /`filter.json.equals` .* got `undefined`/,
  ],
  [
    { filter: { json: { path: ['a'], equals: 1n } } },
    ArgumentTypeError,
    /`filter.json.equals` .* got `1` \(bigint\)/,
  ],
  [
    { filter: { json: { path: ['a'], equals: {} } } },
    ArgumentTypeError,
    /`filter.json.equals` .* got an object/,
  ],
  [{ filter: { json: { path: ['a'], equals: NaN } } }, ArgumentRangeError, /finite .* got `NaN`/],
  [
    { filter: { json: { path: ['a'], equals: Infinity } } },
    ArgumentRangeError,
    /finite .* got `Infinity`/,
  ],
  [{ filter: { json: { path: ['a'], equals: '\ud83d' } } }, ArgumentRangeError, /surrogate/],
  [
    { filter: { json: { path: ['a'], equal: 1 } } },
    ArgumentTypeError,
    /^Unknown option `equal` in `filter.json`/,
  ],
]

test('a wrong selection is refused wherever it is given', async (t) => {
  const { listener, pool } = await openListener(t, { channels: ['a'] })
  await listener.startup()
  for (const [options, instanceOf, message] of WRONG) {
    const label = JSON.stringify(options, (_, value: unknown) =>
      typeof value === 'bigint' ? String(value) : value,
    )
    const expectation = { instanceOf, message }
    t.throws(() => pool.listener(options as object), expectation, label)
    t.throws(() => listener.messages(options as object), expectation, label)
    t.throws(() => listener.batches(options as object), expectation, label)
    await t.throwsAsync(listener.subscribe('a', options as object), expectation, label)
  }
})

test('every right selection is taken', async (t) => {
  const { listener, pool } = await openListener(t, { channels: ['a'] })
  await listener.startup()
  for (const options of [
    { coalesce: false, filter: false },
    { coalesce: 'payload', filter: {} },
    { coalesce: 'channel', filter: { channels: undefined, prefix: undefined, json: undefined } },
    { coalesce: undefined, filter: undefined },
    {
      filter: { channels: ['*', '?', 'a]', '[a]', '[^a-c\\]]', '\\[', '[a-]', 'ä😀'], prefix: '' },
    },
    { filter: { prefix: 'a'.repeat(7999), json: { path: [], equals: null } } },
    { filter: { json: { path: ['a\0', '😀'], equals: '\0' } } },
  ] as const) {
    t.notThrows(() => pool.listener(options))
    await listener.messages(options).return()
    await listener.batches(options).return()
    await (await listener.subscribe('b', options)).return()
  }
})
