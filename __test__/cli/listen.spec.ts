// `pglisten listen` as its users see it: what it prints, how it bears outages and slow readers, and how it ends.

import test from 'ava'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { startServer } from '../../lab/server/dev-server.mjs'
import { serverDsn, useOwnServer } from '../../lab/server/test-server.js'
import { uniqueName } from '../../lab/unique-name.js'
import { ServerWitness } from '../../lab/witness.js'
import { startProxy } from '../../lab/network/proxy.js'
import { waitFor, within } from '../../lab/wait.js'
import { COMMAND, pglisten } from './command.js'
import { ask, notify, run, sessionCount, uniqueChannel, witness } from '../support/listener.js'

// The queue of a common server may be held by others.
useOwnServer()

const LISTENING = /listening to/

test('a notification is a line, and --count ends it', async (t) => {
  const [a, b] = [uniqueChannel(), uniqueChannel()]
  const command = await pglisten(t, ['listen', a, b, '--count', '2'])
  await command.says(LISTENING)
  await notify(a, 'one')
  await notify(b, 'two')
  t.is(await command.ended(), 0)
  t.regex(command.lines[0]!, new RegExp(String.raw`^\d\d:\d\d:\d\d\.\d{3}  ${a}  \d+  one$`))
  t.regex(command.lines[1]!, new RegExp(`  ${b}  .*  two$`))
  t.is(command.lines.length, 2)
  t.is(command.err, `pglisten: listening to ${a}, ${b}\n`)
})

test('--count prints no more than that of a transaction with more', async (t) => {
  const channel = uniqueChannel()
  const command = await pglisten(t, ['listen', channel, '--raw', '--count', '3'])
  await command.says(LISTENING)
  await (await witness()).flood(channel, 1, 100)
  t.is(await command.ended(), 0)
  t.is(command.out, '1\n2\n3\n')
})

test('a payload that would drive a terminal is shown with escapes, and is whole in JSON', async (t) => {
  const channel = uniqueChannel()
  const payload = 'a\u001b]0;title\u0007\r\nforged\u009b31m\u202egnp.exe \\ "quoted" ü'
  const outputs = []
  for (const option of ['--gaps', '--json', '--raw']) {
    const command = await pglisten(t, ['listen', channel, option, '--count', '1'])
    await command.says(LISTENING)
    await notify(channel, payload)
    t.is(await command.ended(), 0)
    outputs.push(command.out)
  }
  const [text, json, raw] = outputs as [string, string, string]
  t.true(
    text.endsWith(
      String.raw`  a\u001b]0;title\u0007\r\nforged\u009b31m\u202egnp.exe \ "quoted" ü` + '\n',
    ),
    text,
  )
  // oxlint-disable-next-line no-control-regex
  t.notRegex(json.trimEnd(), /[\u0000-\u001f\u007f-\u009f\u202e]/)
  const { receivedAt, processId, ...rest } = JSON.parse(json)
  t.deepEqual(rest, { type: 'notification', channel, payload })
  t.true(Math.abs(Date.parse(receivedAt) - Date.now()) < 60_000)
  t.is(typeof processId, 'number')
  t.is(raw, `${payload}\n`)
})

test('a lost session is told of, and so are the return and the gap at its place', async (t) => {
  const channel = uniqueChannel()
  const env = { PGAPPNAME: uniqueName('listen') }
  const command = await pglisten(t, ['listen', channel, '--json'], { env })
  await command.says(LISTENING)
  await notify(channel, 'before')
  await command.printed(1)
  await run(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '${env.PGAPPNAME}'`,
  )
  await command.says(/connection lost: terminating connection .*57P01.*; reconnecting/)
  await command.says(/connected again after \d+\.\d s/)
  await command.says(/gap: notifications that were sent between .* may be missing here/)
  await notify(channel, 'after')
  await command.printed(3)
  t.like(command.records[0]!, { payload: 'before' })
  t.like(command.records[1]!, {
    type: 'gap',
    reason: 'disconnect',
    sqlState: '57P01',
    dropped: null,
  })
  t.like(command.records[2]!, { payload: 'after' })
  command.child.kill('SIGTERM')
  t.is(await command.ended(), 0)
})

test('--gaps prints a gap as JSON among the lines, and without it a gap is told of alone', async (t) => {
  const channel = uniqueChannel()
  const env = { PGAPPNAME: uniqueName('listen') }
  const all = [
    await pglisten(t, ['listen', channel, '--gaps'], { env }),
    await pglisten(t, ['listen', channel, '--raw', '--gaps'], { env }),
    await pglisten(t, ['listen', channel, '--raw'], { env }),
  ] as const
  await Promise.all(all.map((command) => command.says(LISTENING)))
  await run(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '${env.PGAPPNAME}'`,
  )
  await Promise.all(all.map((command) => command.says(/gap: notifications that were sent between/)))
  await notify(channel, 'after')
  const [lines, raw, without] = all
  await Promise.all([lines.printed(2), raw.printed(2), without.printed(1)])
  for (const { lines: printed } of [lines, raw])
    t.like(JSON.parse(printed[0]!), { type: 'gap', reason: 'disconnect', sqlState: '57P01' })
  t.is(raw.lines[1], 'after')
  t.deepEqual(without.lines, ['after'])
})

test('a server that crashes and comes back is waited for', async (t) => {
  const server = await startServer()
  t.teardown(() => server.stop('immediate'))
  const command = await pglisten(t, ['listen', 'crash', '--raw', '--count', '1'], {
    dsn: server.dsn,
  })
  await command.says(LISTENING)
  await server.kill()
  await command.says(/connection lost/)
  await command.says(/still trying: could not connect/)
  t.notRegex(command.err, new RegExp(server.password))
  await server.start()
  await command.says(/connected again/)
  const outside = new ServerWitness(server.dsn)
  t.teardown(() => outside.close())
  await outside.notify('crash', 'back')
  t.is(await command.ended(), 0)
  t.is(command.out, 'back\n')
})

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  test(`${signal} ends it, and its sessions with it`, async (t) => {
    const env = { PGAPPNAME: uniqueName('listen') }
    const command = await pglisten(t, ['listen', uniqueChannel()], { env })
    await command.says(LISTENING)
    t.is(await sessionCount(env.PGAPPNAME), 1)
    command.child.kill(signal)
    t.is(await command.ended(), 0)
    t.is(await sessionCount(env.PGAPPNAME), 0)
  })
}

test('a signal that comes before --count is reached gives the exit code of that signal', async (t) => {
  const command = await pglisten(t, ['listen', uniqueChannel(), '--count', '1'])
  await command.says(LISTENING)
  command.child.kill('SIGINT')
  t.is(await command.ended(), 130)
})

test('--timeout gives 124 when --count was not reached, and 0 without --count', async (t) => {
  const channel = uniqueChannel()
  const counting = await pglisten(t, ['listen', channel, '--timeout', '0.5', '--count', '1'])
  t.is(await counting.ended(), 124)
  const looking = await pglisten(t, ['listen', channel, '--timeout', '0.5'])
  t.is(await looking.ended(), 0)
})

test('a reader that goes away ends it quietly', async (t) => {
  const channel = uniqueChannel()
  const shell = spawn(
    'sh',
    ['-c', `"$0" "$1" listen ${channel} --raw | head -1`, process.execPath, COMMAND],
    {
      env: { ...process.env, NODE_OPTIONS: '', DATABASE_URL: await serverDsn() },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  )
  t.teardown(() => shell.kill('SIGKILL'))
  let out = ''
  let err = ''
  shell.stdout.setEncoding('utf8').on('data', (chunk: string) => (out += chunk))
  shell.stderr.setEncoding('utf8').on('data', (chunk: string) => (err += chunk))
  const closed = once(shell, 'close')
  await waitFor(() => LISTENING.test(err))
  await notify(channel, 'first')
  await waitFor(() => out !== '')
  // Only a write after `head` has ended says that nobody reads any more.
  let isClosed = false
  void closed.then(() => (isClosed = true))
  await waitFor(async () => {
    await notify(channel, 'more')
    return isClosed
  })
  t.deepEqual(await within(closed), [0, null])
  t.is(out, 'first\n')
  t.is(err, `pglisten: listening to ${channel}\n`)
})

/** The memory that a process has, where the system tells. */
const residentMiB = (processId: number) =>
  process.platform === 'linux'
    ? Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${processId}/status`, 'utf8'))![1]) / 1024
    : 0

test('a reader that is slow makes a gap with the exact number, and no growth', async (t) => {
  const channel = uniqueChannel()
  const total = 80_000
  const args = ['listen', channel, '--json', '--buffer', '500', '--count', '1000000']
  const command = await pglisten(t, args, { unread: true })
  await command.says(LISTENING)
  const outside = await witness()
  const before = residentMiB(command.child.pid!)
  // One transaction each, or all of them would be read as one batch.
  for (let from = 1; from < total; from += 1000)
    await outside.flood(channel, from, from + 999, { width: 1000 })
  // The server has handed over everything once its queue is empty.
  await waitFor(async () => (await ask<number>('SELECT pg_notification_queue_usage()')) === 0)
  const grown = residentMiB(command.child.pid!) - before
  command.read()
  await waitFor(() => /"payload":"0*80000"/.test(command.out))
  const { records } = command
  const gaps = records.filter(({ type }) => type === 'gap')
  t.true(gaps.length > 0)
  t.true(gaps.every(({ reason }) => reason === 'overflow'))
  const dropped = gaps.reduce((sum, { dropped }) => sum + (dropped as number), 0)
  t.is(records.length - gaps.length + dropped, total)
  t.true(dropped > total / 2, `${dropped}`)
  // 80 MB were sent.
  t.true(grown < 40, `${grown} MiB`)
  await command.says(/gap: \d+ notifications were dropped here/)
  command.child.kill('SIGINT')
  t.is(await command.ended(), 130)
})

test('a reader that takes nothing does not keep a signal from ending it', async (t) => {
  const channel = uniqueChannel()
  const command = await pglisten(t, ['listen', channel], { unread: true })
  await command.says(LISTENING)
  await (await witness()).flood(channel, 1, 1000, { width: 7000 })
  await waitFor(async () => (await ask<number>('SELECT pg_notification_queue_usage()')) === 0)
  command.child.kill('SIGINT')
  t.is(await command.ended(10_000), 0)
})

const withFullDevice = existsSync('/dev/full') ? test : test.skip

withFullDevice('output that cannot be written is an error', async (t) => {
  const channel = uniqueChannel()
  const shell = spawn(
    'sh',
    ['-c', `exec "$0" "$1" listen ${channel} > /dev/full`, process.execPath, COMMAND],
    {
      env: { ...process.env, NODE_OPTIONS: '', DATABASE_URL: await serverDsn() },
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  )
  t.teardown(() => shell.kill('SIGKILL'))
  let err = ''
  shell.stderr.setEncoding('utf8').on('data', (chunk: string) => (err += chunk))
  const closed = once(shell, 'close')
  await waitFor(() => LISTENING.test(err))
  await notify(channel, 'x')
  t.deepEqual(await within(closed), [1, null])
  t.regex(err, /\npglisten: cannot write to standard output: ENOSPC.*\n$/)
})

for (const channel of ['x', 'x_*']) {
  test(`no server is an error, and --retry waits for one (${channel})`, async (t) => {
    const server = await startServer()
    t.teardown(() => server.stop('immediate'))
    await server.halt()
    const refused = await pglisten(t, ['listen', channel], { dsn: server.dsn })
    t.is(await refused.ended(), 1)
    t.regex(refused.err, /^pglisten: could not connect to .*ERR_PGLISTEN_CONNECTION_FAILED\)\n$/)
    const args = ['listen', channel, '--retry', '--count', '1']
    const waiting = await pglisten(t, args, { dsn: server.dsn })
    await waiting.says(/still trying: could not connect/)
    await server.start()
    await waiting.says(LISTENING)
    waiting.child.kill('SIGINT')
    t.is(await waiting.ended(), 130)
  })
}

for (const command of ['listen', 'watch']) {
  test(`${command} with a pattern ends in time while the server says nothing`, async (t) => {
    const proxy = await startProxy(t)
    proxy.hang()
    const late = await pglisten(t, [command, 'x_*', '--timeout', '1'], { dsn: proxy.dsn })
    t.is(await late.ended(10_000), 0)
    const before = proxy.unanswered
    const stopped = await pglisten(t, [command, 'x_*'], { dsn: proxy.dsn })
    await waitFor(() => proxy.unanswered > before)
    stopped.child.kill('SIGINT')
    t.is(await stopped.ended(10_000), 0)
  })
}

test('no password is shown: not in errors, not on wrong use, not in the list of processes', async (t) => {
  const secret = 'S3cr3t-of-a-test'
  const dsn = `postgres://postgres:${secret}@127.0.0.1:1/postgres`
  const outputs = []
  for (const args of [
    ['listen', 'x', '--dsn', dsn],
    ['listen', 'x', `--dsn=host=127.0.0.1 port=1 password=${secret}`],
    ['listen', dsn],
    [dsn],
    ['listen', 'x', '--dns', dsn],
    ['notify', 'x', '--dsn', dsn],
    ['doctor', '--dsn', `${dsn}?nonsense=1`],
    // Where something else is expected.
    [`host=b password=${secret}`],
    [`dbname=${secret}`],
    ['listen', 'x', '--timeout', dsn],
    ['listen', 'x', '--count', `host=b password=${secret}`],
    ['watch', '--interval', dsn],
    ['notify', 'x', '--rate', dsn],
    ['doctor', '--idle', dsn],
    ['completion', `password=${secret}`],
    ['durable', `dbname=${secret}`],
    ['durable', 'install', '--retention', dsn],
    ['durable', 'trim', '--keep', dsn],
    ['durable', 'tail', 'x', '--from', dsn],
    ['durable', 'retry', 'x', `host=b password=${secret}`],
    ['trigger', 'x', '--', dsn],
    ['trigger', 'x', '--payload', dsn],
  ]) {
    const command = await pglisten(t, args, { dsn: null })
    t.true([1, 2].includes((await command.ended()) as number), args.join(' '))
    outputs.push(command.out + command.err)
  }
  for (const output of outputs) t.false(output.includes(secret), output)
  t.regex(outputs[0]!, /password in --dsn can be seen/)
  t.regex(outputs[1]!, /password in --dsn can be seen/)
  t.regex(outputs[2]!, /address of the server after `--dsn`/)
  if (process.platform !== 'linux') return
  const running = await pglisten(t, ['listen', 'x', '--dsn', dsn, '--retry'], { dsn: null })
  await running.says(/still trying/)
  t.false(readFileSync(`/proc/${running.child.pid}/cmdline`, 'utf8').includes(secret))
})
