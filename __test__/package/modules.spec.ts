// Both module systems get the same package: one copy of each class, whoever loads it first.

import test from 'ava'
import { execFileSync } from 'node:child_process'
import { createRequire } from 'node:module'
import * as esm from 'pglisten'

const require = createRequire(import.meta.url)
const cjs = require('pglisten') as typeof esm

/** What users rely on to be there; a name that goes is a breaking change. */
const NAMES = [
  'ArgumentRangeError',
  'ArgumentTypeError',
  'BoundedArray',
  'Connection',
  'ConnectionClosedError',
  'ConnectionError',
  'ConnectionExecuteError',
  'ConnectionFailedError',
  'ConnectionPool',
  'ConnectionPoolConfigurationError',
  'ConnectionPoolError',
  'ConnectionPoolExecuteError',
  'ConnectionTimeoutError',
  'ConnectionTlsError',
  'CopyStream',
  'Cursor',
  'DatabaseError',
  'Durable',
  'DurableError',
  'Gap',
  'Interval',
  'Listener',
  'ListenerCallbackError',
  'ListenerClosedError',
  'ListenerError',
  'ListenerGapError',
  'ListenerNotificationMsg',
  'ListenerOverflowError',
  'ListenerStartError',
  'ListenerTimeoutError',
  'Notifier',
  'PglistenError',
  'PreparedStatement',
  'QueryResult',
  'Queryable',
  'Range',
  'Subscription',
  'SubscriptionStoppedError',
  'SubscriptionStream',
  'Transaction',
  'TransactionBeginError',
  'TransactionClosedError',
  'TransactionCommitError',
  'TransactionError',
  'connect',
] as const

test('import and require give the same names and the same classes', (t) => {
  const ofTheSystem = new Set(['default', 'module.exports', '__esModule'])
  const named = Object.keys(esm).filter((name) => !ofTheSystem.has(name))
  t.deepEqual(named.sort(), [...NAMES])
  t.deepEqual(Object.keys(cjs).sort(), [...NAMES])
  for (const name of NAMES) t.is(esm[name], cjs[name], name)
})

for (const [system, source] of [
  ['module', "import { ConnectionPool, ListenerStartError } from 'pglisten'"],
  ['commonjs', "const { ConnectionPool, ListenerStartError } = require('pglisten')"],
] as const) {
  test(`a program of the system ${system} can use the package by name`, (t) => {
    const output = execFileSync(
      process.execPath,
      [
        `--input-type=${system}`,
        '--eval',
        `${source}
        try {
          new ConnectionPool('host=localhost').listener().listen()
        } catch (error) {
          console.log(error instanceof ListenerStartError, error.code)
        }`,
      ],
      { encoding: 'utf8', cwd: new URL('.', import.meta.url) },
    )
    t.is(output.trim(), 'true ERR_PGLISTEN_LISTENER_START')
  })
}

test('every error is a PglistenError with a code of its own, and a name that is its class', (t) => {
  const codes = new Map<string, string>()
  const server = { severity: 'ERROR', sqlState: '42601', message: 'wrong' }
  for (const name of NAMES.filter((one) => one.endsWith('Error'))) {
    const Class = esm[name] as unknown as new (message: unknown, more?: object) => esm.PglistenError
    const error = new Class(name === 'DatabaseError' ? server : 'wrong', { cause: 'why' })
    t.true(error instanceof esm.PglistenError)
    t.true(error instanceof Error)
    t.is(error.name, name)
    t.is(error.message, 'wrong')
    t.regex(error.code, /^ERR_PGLISTEN_[A-Z_]+$/)
    t.false(codes.has(error.code), `${name} has the code of ${codes.get(error.code)}`)
    codes.set(error.code, name)
    if (name !== 'ListenerGapError') t.is(error.cause, 'why')
  }
})

test('a listener’s and a pool’s errors have their base classes', (t) => {
  for (const [derived, base] of [
    ['ListenerStartError', 'ListenerError'],
    ['ListenerClosedError', 'ListenerError'],
    ['ListenerCallbackError', 'ListenerError'],
    ['ListenerOverflowError', 'ListenerError'],
    ['ListenerGapError', 'ListenerError'],
    ['ConnectionPoolConfigurationError', 'ConnectionPoolError'],
    ['ConnectionPoolExecuteError', 'ConnectionPoolError'],
    ['ConnectionClosedError', 'ConnectionError'],
    ['ConnectionExecuteError', 'ConnectionError'],
    ['ConnectionFailedError', 'ConnectionError'],
    ['ConnectionTimeoutError', 'ConnectionError'],
    ['ConnectionTlsError', 'ConnectionError'],
    ['TransactionBeginError', 'TransactionError'],
    ['TransactionCommitError', 'TransactionError'],
    ['TransactionClosedError', 'TransactionError'],
  ] as const) {
    t.true(esm[derived].prototype instanceof esm[base], `${derived} of ${base}`)
  }
})
