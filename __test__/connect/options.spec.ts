// Wrong options and arguments: each is an error of the right class that says what was expected, before anything is sent.

import test from 'ava'
import {
  ArgumentRangeError,
  ArgumentTypeError,
  ConnectionPool,
  ConnectionPoolConfigurationError,
  ConnectionPoolError,
  PglistenError,
} from 'pglisten'
import { notify, openListener, uniqueChannel } from '../support/listener.js'
import { collect } from '../../lab/wait.js'

type Wrong = [options: object, message: RegExp, option?: string]

/** The error of a call, which must be one of ours, with a code of its class. */
function errorOf(call: () => unknown): PglistenError {
  try {
    call()
  } catch (error) {
    if (error instanceof PglistenError) return error
    throw error
  }
  throw new Error('Expected an error')
}

const POOL: Wrong[] = [
  [{ pasword: 'x' }, /Unknown option `pasword`.*`password`/],
  [{ dbname: 'x' }, /Unknown option `dbname`.*`dbName`/],
  [{ connectTimeoutNanosec: 1 }, /Unknown option `connectTimeoutNanosec`.*`connectTimeoutSec`/],
  [{ dsn: 5 }, /`dsn` to be a string.*number/],
  [{ dsn: '' }, /`dsn` to be a string that is not empty/],
  [{ username: 5 }, /`username` to be a string, got `5` \(number\)/],
  [{ username: '' }, /`username` to be a string that is not empty/],
  [{ username: 'a\0b' }, /`username` to be a string .* no NUL/],
  [
    { password: 5 },
    /`password` to be a string without NUL, or a function, got a value of type number/,
  ],
  [{ password: 'a\0b' }, /`password` to be a string without NUL/],
  [{ host: [] }, /`host` to be a string, got an array/],
  [{ host: 'a,b' }, /`host` to be one name or address, got several with commas.*`hosts`/],
  [{ host: 'localhost:5433' }, /`host` to be one name or address, got one with a port.*`port`/],
  [{ hosts: ['a', '[::1]:5433'] }, /got one with a port/, 'host'],
  [{ listenDsn: 'hunter2' }, /`listenDsn`/],
  [{ listenDsn: 'port=x' }, /`port` in `listenDsn`/],
  [{ listenDsn: 5 }, /`listenDsn` to be a string/],
  [{ host: 'a', hosts: ['b'] }, /`host` or `hosts`, got both/],
  [{ hosts: 'a' }, /`hosts` to be an array that is not empty, got a string \(not shown\)/],
  [{ hosts: [] }, /`hosts` to be an array that is not empty/],
  [{ hosts: ['a', 5] }, /`hosts\[1\]` to be a string/, 'hosts'],
  [{ port: '5432' }, /`port` to be an integer between 1 and 65535, got `5432` \(string\)/],
  [{ port: 0 }, /`port` to be an integer between 1 and 65535, got `0`/],
  [{ port: 65_536 }, /`port` to be an integer between 1 and 65535/],
  [{ port: 1.5 }, /`port` to be an integer/],
  [{ port: Number.NaN }, /`port` to be an integer/],
  [{ port: 1, ports: [2] }, /`port` or `ports`, got both/],
  [{ ports: [1, 99_999] }, /`ports\[1\]` to be an integer between 1 and 65535/, 'ports'],
  [{ hosts: ['a', 'b', 'c'], ports: [1, 2] }, /one port, or as many ports as hosts \(3\)/, 'ports'],
  [{ dbName: false }, /`dbName` to be a string/],
  [{ options: 7 }, /`options` to be a string/],
  [{ applicationName: '' }, /`applicationName` to be a string that is not empty/],
  [{ targetSessionAttrs: 'master' }, /`targetSessionAttrs` to be one of `any`, `read-write`/],
  [{ loadBalanceHosts: true }, /`loadBalanceHosts` to be one of `disable`, `random`/],
  [{ primaryCheckSec: 0 }, /`primaryCheckSec` to be a number between 0\.001 .* or `false`/],
  [{ connectTimeoutSec: 0 }, /`connectTimeoutSec` to be a number between 0\.001/],
  [{ connectTimeoutSec: '1' }, /`connectTimeoutSec` to be a number/],
  [{ tcpUserTimeoutSec: -1 }, /`tcpUserTimeoutSec` to be a number/],
  [{ keepalives: 'yes' }, /`keepalives` to be a boolean, got `yes` \(string\)/],
  [{ keepalivesIdleSec: Infinity }, /`keepalivesIdleSec` to be a number/],
  [{ keepalivesIntervalSec: null }, /`keepalivesIntervalSec` to be a number.*got `null`/],
  [{ keepalivesRetries: 1.5 }, /`keepalivesRetries` to be an integer/],
  [{ maxDbPoolSize: 0 }, /`maxDbPoolSize` to be an integer between 1/],
  [{ connRecyclingMethod: 'Fast' }, /`connRecyclingMethod` to be one of `fast`/],
  [{ sslMode: 'on' }, /`sslMode` to be one of `disable`/],
  [{ sslNegotiation: 'tls' }, /`sslNegotiation` to be one of `postgres`, `direct`, got `tls`/],
  [{ channelBinding: true }, /`channelBinding` to be one of `disable`, `prefer`, `require`/],
  [{ caFile: '' }, /`caFile` to be a string that is not empty/],
  [{ certFile: 5 }, /`certFile` to be a string, got `5` \(number\)/],
  [{ keyFile: 'a\0b' }, /`keyFile` to be a string .* no NUL/],
  [{ keyFile: 'pkcs11:key' }, /names a key of an OpenSSL engine, which is not supported/],
  [{ dsn: 'sslrootcert=system sslmode=require' }, /`sslMode` to be `verify-full`/, 'sslMode'],
]

for (const [options, message, named = Object.keys(options)[0]!] of POOL) {
  test(`a pool refuses ${JSON.stringify(options)}`, (t) => {
    const error = errorOf(() => new ConnectionPool(options))
    t.true(error instanceof ConnectionPoolConfigurationError, String(error))
    t.true(error instanceof ConnectionPoolError)
    t.is(error.code, 'ERR_PGLISTEN_POOL_CONFIGURATION')
    t.is(error.name, 'ConnectionPoolConfigurationError')
    t.regex(error.message, message)
    const unknown = error.message.startsWith('Unknown')
    t.is((error as ConnectionPoolConfigurationError).option, unknown ? 'options' : named)
  })
}

test('a pool refuses options that are no object and no DSN', (t) => {
  for (const wrong of [5, true, null, ['postgres://localhost'], () => {}]) {
    t.throws(() => new ConnectionPool(wrong as never), {
      instanceOf: ConnectionPoolConfigurationError,
      message: /`options` to be an object/,
    })
  }
})

const LISTENER: [options: unknown, message: RegExp, range?: true][] = [
  [5, /`options` to be an object of options, got `5`/],
  [[], /`options` to be an object of options, got an array/],
  [{ chanels: [] }, /Unknown option `chanels`.*`channels`/],
  [{ channel: ['a'] }, /Unknown option `channel` in `options`: did you mean `channels`\?$/],
  [{ ignore_own: true }, /did you mean `ignoreOwn`\?$/],
  [{ channels: 'a' }, /`channels` to be an array of names/],
  [{ channels: ['a', 5] }, /`channels\[1\]` to be the name of a channel.*`5` \(number\)/],
  [{ channels: [''] }, /`channels\[0\]` to be the name of a channel.*got an empty string/, true],
  [{ concurrency: 0 }, /`concurrency` to be an integer >= 1 or Infinity, got `0`/, true],
  [{ concurrency: '2' }, /`concurrency` to be an integer/],
  [{ concurrency: 1.5 }, /`concurrency` to be an integer/, true],
  [{ ordered: 1 }, /`ordered` to be a boolean/],
  [{ ignoreOwn: 'true' }, /`ignoreOwn` to be a boolean/],
  [{ parse: 'JSON' }, /`parse` to be a function/],
  [{ signal: {} }, /`signal` to be an AbortSignal, got an object/],
  [{ buffer: 100 }, /`buffer` to be an object/],
  [{ buffer: { maxMessage: 1 } }, /in `buffer`: did you mean `maxMessages`\?$/],
  [{ buffer: { max: 1 } }, /Unknown option `max` in `buffer`.*`maxMessages`/],
  [{ buffer: { maxMessages: 0 } }, /`buffer\.maxMessages` to be an integer/, true],
  [{ buffer: { maxMessages: '5' } }, /`buffer\.maxMessages` to be an integer/],
  [{ buffer: { maxBytes: 100 } }, /`buffer\.maxBytes` to be an integer >= 16384/, true],
  [{ buffer: { overflow: 'drop' } }, /`buffer\.overflow` to be one of `dropOldest`/],
  [{ buffer: { maxPauseMs: -1 } }, /`buffer\.maxPauseMs` to be a number/, true],
  [{ reconnect: true }, /`reconnect` to be an object/],
  [{ reconnect: { delay: 1 } }, /Unknown option `delay` in `reconnect`/],
  [{ reconnect: { maxAttempts: 0 } }, /`reconnect\.maxAttempts` to be an integer/, true],
  [{ reconnect: { stableAfterMs: 0 } }, /`reconnect\.stableAfterMs` to be a number/, true],
  [{ reconnect: { stableAfterMs: '1 s' } }, /`reconnect\.stableAfterMs` to be a number/],
  [{ reconnect: { initialDelayMs: 20, maxDelayMs: 10 } }, /to be at most/, true],
  [{ heartbeat: { intervalMs: 0 } }, /`heartbeat\.intervalMs` to be a number/, true],
  [{ heartbeat: { timeoutMs: Infinity } }, /`heartbeat\.timeoutMs` to be a number/, true],
  [{ heartbeat: { probeIntervalMs: 0 } }, /`heartbeat\.probeIntervalMs` to be a number/, true],
  [{ heartbeat: { probeIntervalMs: true } }, /`heartbeat\.probeIntervalMs` to be a number/],
  [{ heartbeat: 1000 }, /`heartbeat` to be an object/],
]

for (const [options, message, range] of LISTENER) {
  test(`a listener refuses ${JSON.stringify(options)} (${message.source})`, async (t) => {
    const { pool } = await openListener(t)
    t.throws(() => pool.listener(options as never), {
      instanceOf: range ? ArgumentRangeError : ArgumentTypeError,
      code: range ? 'ERR_PGLISTEN_ARGUMENT_RANGE' : 'ERR_PGLISTEN_ARGUMENT_TYPE',
      message,
    })
  })
}

test('an option that is undefined counts as not given', async (t) => {
  const { pool } = await openListener(t, undefined, {
    password: undefined,
    maxDbPoolSize: undefined,
  })
  const listener = pool.listener({
    channels: undefined,
    buffer: { maxMessages: undefined },
    reconnect: { maxAttempts: undefined },
  })
  await listener.startup()
  t.is(pool.status().maxSize, 10)
})

const CHANNELS: [
  channel: unknown,
  error: typeof ArgumentTypeError | typeof ArgumentRangeError,
  message: RegExp,
][] = [
  ['', ArgumentRangeError, /1 to 63 bytes.*got an empty string/],
  ['x'.repeat(64), ArgumentRangeError, /1 to 63 bytes.*got 64 bytes/],
  ['ü'.repeat(32), ArgumentRangeError, /got 64 bytes/],
  ['a\0b', ArgumentRangeError, /without NUL, got one with a NUL/],
  ['\ud800', ArgumentRangeError, /half of a surrogate pair/],
  [undefined, ArgumentTypeError, /name of a channel.*got `undefined`/],
  [null, ArgumentTypeError, /got `null`/],
  [5, ArgumentTypeError, /got `5` \(number\)/],
  [['a'], ArgumentTypeError, /got an array/],
]

test('a wrong channel is refused everywhere, before anything is sent or remembered', async (t) => {
  const { listener, pool } = await openListener(t)
  for (const started of [false, true]) {
    if (started) await listener.startup()
    for (const [wrong, instanceOf, message] of CHANNELS) {
      const channel = wrong as string
      const calls = [
        () => listener.addCallback(channel, () => {}),
        () => listener.removeCallback(channel, () => {}),
        () => listener.clearChannelCallbacks(channel),
        () => listener.addChannel(channel),
        () => listener.removeChannel(channel),
        () => pool.notify(channel, 'x'),
      ]
      for (const call of calls) await t.throwsAsync(call(), { instanceOf, message })
      if (started) {
        t.throws(() => listener.messages({ channels: [channel] }), { instanceOf, message })
      }
    }
  }
  t.deepEqual(listener.channels, [])
  t.is(pool.status().size, 0)
})

test('the longest channel and the longest payload arrive whole', async (t) => {
  const unique = uniqueChannel()
  const channel = unique + 'x'.repeat(63 - unique.length)
  const { listener } = await openListener(t, { channels: [channel] })
  await listener.startup()
  const payloads = ['x'.repeat(7999), `${'ü'.repeat(3999)}x`, '']
  for (const payload of payloads) await notify(channel, payload)
  const messages = await collect(listener, payloads.length)
  t.deepEqual(
    messages.map(({ payload }) => payload),
    payloads,
  )
})

test('a payload that PostgreSQL cannot send is refused before anything is sent', async (t) => {
  const { pool } = await openListener(t)
  for (const [payload, instanceOf, message] of [
    ['x'.repeat(8000), ArgumentRangeError, /at most 7999 bytes.*got 8000 bytes/],
    ['ü'.repeat(4000), ArgumentRangeError, /got 8000 bytes/],
    ['a\0b', ArgumentRangeError, /without NUL/],
    ['\udc00', ArgumentRangeError, /half of a surrogate pair/],
    [5, ArgumentTypeError, /`payload` to be a string.*`5` \(number\)/],
    [null, ArgumentTypeError, /got `null`/],
    [{}, ArgumentTypeError, /got an object/],
  ] as const) {
    await t.throwsAsync(pool.notify('channel', payload as string), { instanceOf, message })
  }
  t.is(pool.status().size, 0)
})

test('wrong options of methods are refused', async (t) => {
  const { listener, pool } = await openListener(t)
  await listener.startup()
  const type = { instanceOf: ArgumentTypeError }
  const range = { instanceOf: ArgumentRangeError }
  t.throws(() => listener.messages({ gap: 'skip' } as never), type)
  t.throws(() => listener.messages({ maxSize: 5 } as never), type)
  t.throws(() => listener.messages({ gaps: 'ignore' } as never), type)
  t.throws(() => listener.messages({ channels: 'a' } as never), type)
  t.throws(() => listener.messages({ channels: [] }), range)
  t.throws(() => listener.batches({ channels: [] }), range)
  t.throws(() => listener.messages({ signal: 'a' } as never), type)
  t.throws(() => listener.batches({ maxSize: 0 }), range)
  t.throws(() => listener.batches({ maxSize: '5' } as never), type)
  t.throws(() => listener.batches({ maxWaitMs: -1 }), range)
  await t.throwsAsync(listener.sync({ timeoutMs: -1 }), range)
  await t.throwsAsync(listener.sync({ signal: 5 } as never), type)
  await t.throwsAsync(listener.shutdown({ drain: 1 } as never), type)
  await t.throwsAsync(listener.shutdown({ timeout: 1 } as never), type)
  await t.throwsAsync(listener.shutdown({ timeoutMs: -1 }), range)
  t.throws(() => pool.resize(0), range)
  t.throws(() => pool.resize('5' as never), type)
  t.true(listener.isStarted)
})
