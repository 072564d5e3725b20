// The pool's `logger`: pino's way of calling, which suits `console` too.

import test from 'ava'
import { once } from 'node:events'
import { Console } from 'node:console'
import { Writable } from 'node:stream'
import type { Logger } from 'pglisten'
import { uniqueName } from '../../lab/unique-name.js'
import { waitFor, within } from '../../lab/wait.js'
import { notify, openListener, terminate, uniqueChannel } from '../support/listener.js'

const FAST = { reconnect: { initialDelayMs: 1, maxDelayMs: 10 } }
const LEVELS = ['debug', 'info', 'warn', 'error'] as const

/** A logger that keeps what it gets, and needs its `this` as loggers do. */
class Kept {
  readonly lines: [level: string, fields: Record<string, unknown>, message: string][] = []
  debug(fields: object, message: string) {
    this.#keep('debug', fields, message)
  }
  info(fields: object, message: string) {
    this.#keep('info', fields, message)
  }
  warn(fields: object, message: string) {
    this.#keep('warn', fields, message)
  }
  error(fields: object, message: string) {
    this.#keep('error', fields, message)
  }
  #keep(level: string, fields: object, message: string) {
    this.lines.push([level, fields as Record<string, unknown>, message])
  }
}

/** A listener's life with a loss and a callback that fails. */
async function live(t: Parameters<typeof openListener>[0], logger: Logger, diagnostics = {}) {
  const channel = uniqueChannel()
  const { listener } = await openListener(t, { ...FAST, name: 'logged' }, { logger, diagnostics })
  listener.on('error', () => {})
  const heard: string[] = []
  await listener.addCallback(channel, (_connection, payload) => {
    heard.push(payload)
    throw new Error(`failed with ${payload}`)
  })
  await listener.startup()
  listener.listen()
  const payload = uniqueName('payload')
  await notify(channel, payload)
  await waitFor(() => heard.length === 1)
  const back = once(listener, 'reconnected')
  await terminate(listener.stats().session!.processId)
  await within(back)
  await notify(channel, payload)
  await waitFor(() => heard.length === 2)
  await listener.shutdown()
  return { channel, payload }
}

test('a logger gets fields first and words behind them, at the level that fits', async (t) => {
  const logger = new Kept()
  const { channel, payload } = await live(t, logger)
  const [, { listenerId }] = logger.lines[0]!
  const who = `listener ${String(listenerId)} logged: `
  t.deepEqual(
    logger.lines.map(([level, { event }]) => [level, event]),
    [
      ['debug', 'connecting'],
      ['info', 'connected'],
      ['error', undefined],
      ['warn', 'lost'],
      ['debug', 'reconnecting'],
      ['info', 'connected'],
      ['warn', undefined],
      ['error', undefined],
      ['info', 'closed'],
    ],
  )
  for (const [, fields, message] of logger.lines) {
    t.true(message.startsWith(who), message)
    t.like(fields, { listenerId, listener: 'logged' })
  }
  const [, fields, message] = logger.lines[2]!
  t.deepEqual(fields, {
    listenerId,
    listener: 'logged',
    code: 'ERR_PGLISTEN_LISTENER_CALLBACK',
    sqlState: undefined,
    channel,
  })
  t.is(message, `${who}error [ERR_PGLISTEN_LISTENER_CALLBACK]: a callback threw`)
  t.regex(logger.lines[3]![2], /lost session \d+ \[ERR_PGLISTEN_DATABASE 57P01\]: \S/)
  t.false(JSON.stringify(logger.lines).includes(payload))
})

test('with payloads allowed a logger gets the errors too', async (t) => {
  const logger = new Kept()
  const { payload } = await live(t, logger, { payloads: true })
  const [, { err, payload: told }] = logger.lines.find(([level]) => level === 'error')!
  t.like(err, { code: 'ERR_PGLISTEN_LISTENER_CALLBACK', payload })
  t.is(told, payload)
  t.is((err as Error & { cause: Error }).cause.message, `failed with ${payload}`)
})

test('a console is a logger', async (t) => {
  let output = ''
  const stdout = new Writable({
    write(chunk, _encoding, done) {
      output += String(chunk)
      done()
    },
  })
  await live(t, new Console({ stdout, stderr: stdout }))
  t.regex(output, /event: 'connected'/)
  t.regex(output, /listener \d+ logged: connected: session \d+/)
})

test('a logger that throws or rejects harms nothing', async (t) => {
  const unhandled: unknown[] = []
  const keep = (reason: unknown) => unhandled.push(reason)
  process.on('unhandledRejection', keep)
  t.teardown(() => process.off('unhandledRejection', keep))
  let calls = 0
  const throwing = Object.fromEntries(
    LEVELS.map((level) => [
      level,
      () => {
        calls += 1
        throw new Error('of the logger')
      },
    ]),
  )
  await live(t, throwing)
  t.true(calls >= 9)
  const rejecting = Object.fromEntries(
    LEVELS.map((level) => [level, () => Promise.reject(new Error('of the logger'))]),
  )
  await live(t, rejecting)
  // A promise whose own `then()` tells nobody.
  const silent = Object.fromEntries(
    LEVELS.map((level) => [
      level,
      () =>
        // oxlint-disable-next-line no-thenable
        Object.assign(Promise.reject(new Error('of the logger')), { then: () => {} }),
    ]),
  )
  await live(t, silent)
  await new Promise((resolve) => setImmediate(resolve))
  t.deepEqual(unhandled, [])
})

test('a logger without a level is not asked for it, and what is no logger is refused', async (t) => {
  const lines: string[] = []
  await live(t, { warn: (_fields, message) => lines.push(message) })
  t.is(lines.length, 2)
  for (const logger of [7, 'console', null, { warn: 'yes' }]) {
    const error = await t.throwsAsync(openListener(t, {}, { logger: logger as never }))
    t.is((error as Error & { code: string }).code, 'ERR_PGLISTEN_POOL_CONFIGURATION')
    t.regex(error.message, /^Expected `logger(\.warn)?` to be /)
  }
  for (const diagnostics of [7, { payload: true }, { payloads: 'yes' }, { statements: 1 }]) {
    const error = await t.throwsAsync(openListener(t, {}, { diagnostics: diagnostics as never }))
    t.is((error as Error & { code: string }).code, 'ERR_PGLISTEN_POOL_CONFIGURATION')
  }
})

test('a log has nothing of what a schema says of a payload', async (t) => {
  const logger = new Kept()
  const channel = uniqueChannel()
  const secret = uniqueName('secret')
  const schema = {
    '~standard': {
      version: 1 as const,
      vendor: 'test',
      validate: (value: unknown) => ({
        issues: [{ message: `${JSON.stringify(value)} is no order`, path: [String(value)] }],
      }),
    },
  }
  const { listener } = await openListener(t, {}, { logger, schemas: { [channel]: schema } })
  const errors: Error[] = []
  listener.on('error', (error) => errors.push(error))
  await listener.addCallback(channel, () => {})
  await listener.startup()
  listener.listen()
  await notify(channel, JSON.stringify(secret))
  await waitFor(() => errors.length === 1)
  // Who handles errors is told all of it.
  t.true(errors[0]!.message.includes(secret))
  const told = logger.lines.filter(([level]) => level === 'error')
  t.is(told.length, 1)
  t.regex(told[0]![2], /the payload does not fit the schema of channel/)
  t.false(JSON.stringify(logger.lines).includes(secret))
})
