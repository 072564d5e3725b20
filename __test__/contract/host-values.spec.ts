// The delivery contract, "the host lives": whatever value a user passes anywhere, the call gives an error or a result. A
// value that aborts the process ends this file.

import test from 'ava'
import { ConnectionPool } from 'pglisten'
import { openListener, uniqueChannel } from '../support/listener.js'
import { within } from '../../lab/wait.js'

const boom = (): never => {
  throw new Error('boom')
}

function revoked<Target extends object>(target: Target): Target {
  const { proxy, revoke } = Proxy.revocable(target, {})
  revoke()
  return proxy
}

function detached(): Uint8Array {
  const bytes = new Uint8Array(8)
  structuredClone(bytes, { transfer: [bytes.buffer] })
  return bytes
}

function endless(): unknown[] {
  const array: unknown[] = []
  array.push(array)
  return array
}

const VALUES: Record<string, unknown> = {
  'a revoked proxy': revoked({}),
  'a revoked proxy of an array': revoked([]),
  'a revoked proxy of a function': revoked(() => {}),
  'a proxy that throws': new Proxy(
    {},
    { get: boom, has: boom, ownKeys: boom, getPrototypeOf: boom },
  ),
  'an array that throws': new Proxy([], { get: (_, key) => (key === 'length' ? 2 ** 31 : boom()) }),
  'an array that holds itself': endless(),
  'an object without a prototype': Object.create(null),
  'an object that throws': {
    toString: boom,
    valueOf: boom,
    toJSON: boom,
    [Symbol.toPrimitive]: boom,
  },
  'an object whose constructor throws': Object.defineProperty({}, 'constructor', { get: boom }),
  // oxlint-disable-next-line no-thenable
  'an object whose then() throws': Object.defineProperty({}, 'then', { get: boom }),
  'an object that is no JSON': { toJSON: () => undefined },
  'a date that is none': new Date(Number.NaN),
  'a date that throws': Object.assign(new Date(), { getTime: boom, valueOf: boom, toJSON: boom }),
  'detached bytes': detached(),
  'shared bytes': new Uint8Array(new SharedArrayBuffer(8)),
  'a symbol': Symbol('value'),
  'a function': () => 1,
  'a huge bigint': 10n ** 5000n,
  'no number': Number.NaN,
  'half a character': '\ud800',
  'a NUL': '\0',
  nothing: undefined,
}

test('no value of a user’s ends the process', async (t) => {
  const channel = uniqueChannel()
  const { listener, pool } = await openListener(t, { channels: [channel] })
  listener.on('error', () => {})
  await listener.startup()
  await using connection = await pool.connection()
  const listenerOptions = ['channels', 'buffer', 'reconnect', 'concurrency', 'signal', 'parse']
  const types = ['text', 'jsonb', 'bytea', 'timestamptz', 'int4[]', 'numeric', 'text[]']
  // Arguments of any type, as JavaScript passes them.
  const any = (value: unknown) => value as never
  const calls: ((value: unknown) => unknown)[] = [
    (value) => new ConnectionPool(any(value)),
    ...['dsn', 'password', 'hosts', 'ports'].map(
      (name) => (value: unknown) => new ConnectionPool({ [name]: value }),
    ),
    (value) => new ConnectionPool({ hosts: [any(value)] }),
    (value) => pool.listener(any(value)),
    ...listenerOptions.map((name) => (value: unknown) => pool.listener({ [name]: value })),
    (value) => pool.notify(any(value)),
    (value) => pool.notify(channel, any(value)),
    (value) => pool.resize(any(value)),
    (value) => connection.execute(any(value)),
    (value) => connection.execute('SELECT $1::text', any(value)),
    ...types.map(
      (type) => (value: unknown) => connection.execute(`SELECT $1::${type}`, [any(value)]),
    ),
    (value) => connection.execute('SELECT $1::text[]', [[any(value)]]),
    (value) => connection.executeMany('SELECT $1::int4', any(value)),
    (value) => connection.executeMany('SELECT $1::int4', [any(value)]),
    (value) => connection.executeBatch(any(value)),
    (value) => connection.transaction(any(value)),
    (value) => connection.transaction(() => any(value)),
    (value) => listener.addCallback(channel, any(value)),
    (value) => listener.addCallback(any(value), () => {}),
    (value) => listener.removeCallback(channel, any(value)),
    (value) => listener.addChannel(any(value)),
    (value) => listener.addGapCallback(any(value)),
    (value) => void listener.messages(any(value)).return(),
    (value) => void listener.batches({ channels: any(value) }).return(),
    (value) => listener.sync(any(value)),
  ]
  let failures = 0
  for (const [what, value] of Object.entries(VALUES)) {
    for (const call of calls) {
      try {
        // oxlint-disable-next-line typescript/await-thenable -- some are synchronous
        await within(Promise.resolve(call(value)), { what: `${String(call)} with ${what}` })
      } catch (error) {
        failures += 1
        t.false(String(error).includes('panicked'), `${String(call)} with ${what}`)
        t.notRegex(String(error), /Waited/, what)
      }
    }
  }
  t.true(failures > (calls.length * Object.keys(VALUES).length) / 2)
  t.is(await connection.fetchVal('SELECT 1'), 1)
})
