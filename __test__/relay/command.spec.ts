// The command, its check, its health pages, and the options of the library.

import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import type { ExecutionContext } from 'ava'
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics'
import { ConnectionPoolConfigurationError } from 'pglisten'
import { Relay, RelayOptionError, checkRelay, type RelayOptions } from 'pglisten-relay-nats'
import { observeRelay } from 'pglisten-relay-nats/opentelemetry'
import { readSettings } from '../../packages/relay-nats/src/command/settings.js'
import { makeStream } from '../../lab/relay/stream-reading.js'
import { RelayProcess } from '../../lab/relay/relay-process.js'
import { serverDsn } from '../../lab/server/test-server.js'
import { waitFor } from '../../lab/wait.js'
import { root } from '../support/code-blocks.js'
import { told } from '../support/told.js'
import { leading, openScene, startRelay, stored, test } from './scene.js'

const BIN = path.join(root, 'packages/relay-nats/bin/pglisten-relay-nats.js')

/** Runs the command to its end. */
async function command(args: string[], env: Record<string, string> = {}) {
  const options = { env: { PATH: process.env['PATH'] ?? '', ...env }, timeout: 30_000 }
  try {
    const ran = await promisify(execFile)(process.execPath, [BIN, ...args], options)
    return { ...ran, code: 0 }
  } catch (error) {
    return error as { stdout: string; stderr: string; code: number }
  }
}

function fileOf(t: ExecutionContext, content: string): string {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'pglisten-relay-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const file = path.join(folder, 'relay.json')
  writeFileSync(file, content)
  return file
}

test('an argument goes before its variable, and that before the file', (t) => {
  const file = fileOf(
    t,
    JSON.stringify({
      stream: 'OF_FILE',
      channels: ['f'],
      nats: { servers: 'file:4222', password: 'p' },
      health: { port: 1 },
      window: 10,
    }),
  )
  const { options, health } = readSettings(['run', 'a', 'b', '--config', file, '--stream', 'S'], {
    PGLISTEN_RELAY_STREAM: 'OF_ENV',
    PGLISTEN_RELAY_CHANNELS: 'c,d',
    NATS_URL: 'n1:4222,n2:4222',
    NATS_USER: 'u',
    DATABASE_URL: 'postgres://db',
    PGLISTEN_RELAY_DURABLE: 'name',
  })
  t.deepEqual<object, object>(options, {
    stream: 'S',
    channels: ['a', 'b'],
    nats: { servers: ['n1:4222', 'n2:4222'], user: 'u', password: 'p' },
    window: 10,
    postgres: 'postgres://db',
    durable: { name: 'name' },
  })
  t.deepEqual(health, { port: 1 })
  const { health: given, command } = readSettings(['check', '--health', '[::1]:8080'], {})
  t.deepEqual(given, { port: 8080, host: '::1' })
  t.is(command, 'check')
})

test('wrong arguments and files end the command with 2, and show nothing that is secret', async (t) => {
  const secret = fileOf(t, '{"nats": {"password": "hunter2" "x": 1}}')
  for (const [args, message] of [
    [[], /Expected `stream` to be the name of a stream/],
    [['--stream', 'a.b', 'c'], /Expected `stream` to be the name of a stream, .* got 'a\.b'/],
    [['--stream', 'S'], /Expected `channels` to be an array of texts, got undefined/],
    [['--stream', 'S', 'x'.repeat(64)], /names of 1 to 63 bytes/],
    [['--what'], /Unknown option '--what'/],
    [
      ['--stream', 'S', 'a', '--batch-from', '1'],
      /`batchFrom` to be an integer from 2 to 1000, got 1/,
    ],
    [['--stream', 'S', 'a', '--health', 'x'], /Expected `--health` to be \[HOST:\]PORT, got `x`/],
    [['--config', '/nowhere'], /a file that can be read, got \/nowhere \(ENOENT\)/],
    [['--config', secret], /to hold JSON, got something else at position \d+/],
    [
      ['--config', fileOf(t, '{"streem": "S"}')],
      /Expected `options` to have stream, .*, got `streem`/,
    ],
  ] as const) {
    const { code, stderr } = await command([...args])
    t.is(code, 2, stderr)
    t.regex(stderr, message)
    t.false(stderr.includes('hunter2'))
  }
  t.throws(() => new Relay({ stream: 'S', channels: ['a'], nats: { password: 1 } } as never), {
    instanceOf: RelayOptionError,
    message: 'Expected `nats.password` to be a text, got number',
  })
  for (const name of ['run', 'check']) {
    const args = [name, '--stream', 'S', 'a']
    const missing = await command([...args, '--nats-creds', '/nowhere'], {
      DATABASE_URL: await serverDsn(),
    })
    t.is(missing.code, 2, name)
    t.regex(
      missing.stderr,
      /`nats.credsFile` to be a file that can be read, got \/nowhere \(ENOENT\)/,
    )
    const wrong = await command([...args, '--dsn', 'nonsense'])
    t.is(wrong.code, 2, name)
    t.regex(
      wrong.stderr,
      /`postgres` is refused: Expected `dsn` to be .* \(ERR_PGLISTEN_RELAY_OPTION\)/,
    )
  }
  const { stdout, code } = await command(['--help'])
  t.is(code, 0)
  t.true(stdout.startsWith('Usage: pglisten-relay-nats'))
})

test('a relay whose options of PostgreSQL are wrong says so each time that it is run', async (t) => {
  const relay = new Relay({ stream: 'S', channels: ['a'], postgres: { port: -1 } })
  for (let times = 0; times < 2; times += 1) {
    const error = await t.throwsAsync(relay.run(), { instanceOf: RelayOptionError })
    t.true(error.cause instanceof ConnectionPoolConfigurationError)
  }
})

test('a relay that was given something else in place of a signal can be run again', async (t) => {
  const nats = { servers: '127.0.0.1:1' }
  const relay = new Relay({ stream: 'S', channels: ['a'], nats })
  const ending = new AbortController()
  await t.throwsAsync(relay.run({ signal: ending as never }), {
    instanceOf: RelayOptionError,
    message: /^Expected `signal` to be an AbortSignal, got AbortController/,
  })
  ending.abort()
  await relay.run({ signal: ending.signal })
  t.is(relay.stats().role, 'stopped')
  const again = new AbortController()
  const run = relay.run({ signal: again.signal })
  t.is(relay.stats().role, 'connecting')
  again.abort()
  await run
})

test('relays that share a signal have Node warn of no leak, and end with it', async (t) => {
  const warnings: Error[] = []
  const onWarning = (warning: Error) => warnings.push(warning)
  process.on('warning', onWarning)
  t.teardown(() => process.off('warning', onWarning))
  const ending = new AbortController()
  const nats = { servers: '127.0.0.1:1' }
  const runs = Array.from({ length: 12 }, () =>
    new Relay({ stream: 'S', channels: ['a'], nats }).run({ signal: ending.signal }),
  )
  setTimeout(() => ending.abort(), 100)
  await Promise.all(runs)
  t.deepEqual(
    warnings.filter(({ name }) => name === 'MaxListenersExceededWarning'),
    [],
  )
})

test('the command tells of its health, and ends with 0 at a signal', async (t) => {
  const scene = await openScene(t)
  const relay = new RelayProcess({ ...scene.options, health: { port: 0 } })
  t.teardown(() => relay.kill())
  await relay.becomes('leading')
  await scene.writer.write(10)
  await stored(scene, 11)
  const { status, stats } = await relay.health()
  t.is(status, 200)
  t.like(stats, {
    role: 'leading',
    stored: 11,
    gaps: 1,
    isNatsConnected: true,
    postgres: 'connected',
  })
  t.is((await relay.health('readyz')).status, 200)
  await scene.nats.kill()
  await waitFor(async () => (await relay.health('readyz')).status === 503)
  t.is((await relay.health()).status, 200)
  await scene.nats.start()
  await waitFor(async () => (await relay.health('readyz')).status === 200)
  await relay.kill('SIGTERM')
  t.is(relay.ended, 0)
  const last = relay.lines.at(-1)!
  t.regex(last.message, /^has stored 11 messages, 1 of them gaps; \d+ attempts had failed$/)
  t.is(relay.errors, '')
})

test('a request whose path is no URL is answered, and the relay goes on', async (t) => {
  const scene = await openScene(t)
  const relay = new RelayProcess({ ...scene.options, health: { port: 0 } })
  t.teardown(() => relay.kill())
  await relay.becomes('leading')
  const { message } = relay.lines.find(({ event }) => event === 'health')!
  const port = Number(/:(\d+)/.exec(message)![1])
  for (const target of ['//', '/\\', '//[', 'http://a:99999/']) {
    const socket = connect(port, '127.0.0.1')
    await once(socket, 'connect')
    socket.write(`GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)
    t.regex(await text(socket), /^HTTP\/1\.1 404 /, target)
  }
  t.is((await relay.health()).status, 200)
})

test('the check finds nothing wrong where all is well, and names what is not', async (t) => {
  const scene = await openScene(t, {
    config: `
      accounts { A { jetstream: enabled, users: [
        { user: blind, password: b, permissions: { publish: ["pg.>"], subscribe: ["_INBOX_relay.>"] } },
        { user: mute, password: m, permissions: { publish: ["$JS.API.STREAM.INFO.*", "$JS.API.STREAM.MSG.GET.*"], subscribe: ["_INBOX_relay.>"] } },
        { user: admin, password: a } ] } }
      no_auth_user: admin`,
    stream: { max_age: 3600e9, duplicate_window: 1e9 },
  })
  const well = await checkRelay(scene.options)
  t.deepEqual(
    well.filter(({ level }) => level !== 'ok'),
    [],
  )
  t.is((await scene.read()).length, 0)
  const problems = async (options: RelayOptions) =>
    (await checkRelay(options)).filter(({ level }) => level !== 'ok').map(({ what }) => what)
  const as = (user: string) => ({
    ...scene.options,
    nats: { servers: scene.nats.url, user, password: user[0]! },
  })
  t.regex((await problems(as('blind')))[0]!, /^stream \w+ cannot be read: .*Permissions Violation/i)
  t.regex((await problems(as('mute')))[0]!, /^the account cannot publish: .*Permissions Violation/i)
  t.regex(
    (await problems({ ...scene.options, database: 'other' }))[0]!,
    /^the stream does not take pg\.other\./,
  )
  t.regex(
    (await problems({ ...scene.options, stream: 'None' }))[0]!,
    /^stream None cannot be read: stream not found/,
  )
  t.regex(
    (await problems({ ...scene.options, postgres: 'postgres://nobody:hunter2@127.0.0.1:1/x' }))[0]!,
    /^PostgreSQL cannot be used: /,
  )
  t.deepEqual(await problems({ ...scene.options, durable: { name: 'd' } }), [
    'durable subscriptions are not installed',
  ])
  // What a relay of a durable source reads of its end has holes there, and what was in them would be stored again.
  const holey = `${scene.stream}_holey`
  const settings = { max_age: 3600e9, duplicate_window: 1e9 } as const
  await makeStream(scene.nats.url, holey, {
    ...settings,
    retention: 'interest',
    max_msgs_per_subject: 1,
  })
  const ofHoley = { ...scene.options, stream: holey, database: holey }
  for (const [level, options] of [
    ['warning', ofHoley],
    ['problem', { ...ofHoley, durable: { name: 'd' } }],
  ] as const) {
    const found = (await checkRelay(options)).filter(({ what }) =>
      /stream keeps|retention/.test(what),
    )
    t.deepEqual(
      found.map((finding) => [finding.level, finding.what]),
      [
        [level, 'retention is interest: messages go when they are read'],
        [level, 'the stream keeps only so many messages of a subject (max_msgs_per_subject): 1'],
      ],
    )
  }
  const ran = await command(
    ['check', ...scene.writer.channels, '--stream', scene.stream, '--json'],
    {
      DATABASE_URL: scene.dsn,
      NATS_URL: scene.nats.url,
      PGLISTEN_RELAY_DATABASE: scene.stream,
    },
  )
  t.is(ran.code, 0, ran.stdout)
  for (const line of ran.stdout.trim().split('\n')) t.notThrows(() => JSON.parse(line) as unknown)
})

test('metrics and diagnostics channels tell what the relay does', async (t) => {
  const scene = await openScene(t)
  const roles = told<{ stream: string; role: string }>(t, 'pglisten-relay-nats:role')
  const gaps = told<{ stream: string; reason: string }>(t, 'pglisten-relay-nats:gap')
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 })
  const meterProvider = new MeterProvider({ readers: [reader] })
  t.teardown(() => meterProvider.shutdown())
  const running = startRelay(t, scene.options)
  const end = observeRelay(running.relay, { stream: scene.stream, meterProvider })
  // The events of a durable source wait elsewhere: what would always be 0 is not told.
  const durable = new Relay({ ...scene.options, durable: { name: 'd' } })
  t.teardown(observeRelay(durable, { stream: 'of a durable source', meterProvider }))
  await leading(running)
  await scene.writer.write(5)
  await stored(scene, 6)
  await waitFor(() => running.relay.stats().stored === 6)
  const { resourceMetrics } = await reader.collect()
  const points = resourceMetrics.scopeMetrics
    .flatMap(({ metrics }) => metrics)
    .flatMap(({ descriptor: { name }, dataPoints }) =>
      dataPoints.map(({ value, attributes }) => ({
        stream: attributes['messaging.destination.name'],
        name: [name, attributes['pglisten.relay.role'] ?? []].flat().join(' '),
        value,
      })),
    )
  const of = (stream: string) => points.filter((point) => point.stream === stream)
  const byName = Object.fromEntries(of(scene.stream).map(({ name, value }) => [name, value]))
  const names = new Set(of('of a durable source').map(({ name }) => name))
  t.deepEqual(
    Object.keys(byName).filter((name) => !names.has(name)),
    ['pglisten.relay.backlog', 'pglisten.relay.oldest_age'],
  )
  t.like(byName, {
    'messaging.client.sent.messages': 6,
    'pglisten.relay.gaps': 1,
    'pglisten.relay.role leading': 1,
    'pglisten.relay.role standby': 0,
    'pglisten.relay.backlog': 0,
  })
  end()
  await running.stop()
  const own = roles.filter(({ stream }) => stream === scene.stream)
  t.deepEqual(
    own.map(({ role }) => role),
    ['leading', 'stopped'],
  )
  t.deepEqual(
    gaps.filter(({ stream }) => stream === scene.stream).map(({ reason }) => reason),
    ['relay-start'],
  )
})
