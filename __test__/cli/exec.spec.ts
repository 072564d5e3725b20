// `pglisten listen --exec`: what a program gets, that no shell is between, and what becomes of its failure.

import test from 'ava'
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { waitFor } from '../../lab/wait.js'
import { pglisten } from './command.js'
import { canLimit } from '../support/limited.js'
import { notify, run, sessionCount, uniqueChannel, witness } from '../support/listener.js'
import { uniqueName } from '../../lab/unique-name.js'

const LISTENING = /listening to/

/** A program of Node that prints what it was given, on a line of JSON. */
const SHOW = `
  const input = require('node:fs').readFileSync(0, 'utf8')
  const given = Object.entries(process.env).filter(([name]) => name.startsWith('PGLISTEN_'))
  console.log(JSON.stringify({ input, args: process.argv.slice(1), ...Object.fromEntries(given) }))`

const node = (program: string, ...args: string[]) => [
  ...['--exec', process.execPath, '--', '-e', program, ...args],
]

test('a program gets the payload, the channel and its arguments, and no shell reads them', async (t) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'pglisten-exec-'))
  t.teardown(() => fs.rmSync(folder, { recursive: true }))
  const mark = path.join(folder, 'mark')
  const payload = `$(touch ${mark}) \`touch ${mark}\`; touch ${mark}\n'"$HOME" | ü`
  const channel = `; touch ${mark}`.slice(0, 63)
  const args = ['listen', channel, '--count', '1', ...node(SHOW, '$(id)', '; id', '*')]
  const command = await pglisten(t, args)
  await command.says(LISTENING)
  await notify(channel, payload)
  t.is(await command.ended(), 0)
  const [{ PGLISTEN_PROCESS_ID, PGLISTEN_RECEIVED_AT, ...rest }] = command.records as [
    Record<string, string>,
  ]
  t.deepEqual(rest, {
    input: payload,
    args: ['$(id)', '; id', '*'],
    PGLISTEN_EVENT: 'notification',
    PGLISTEN_CHANNEL: channel,
  })
  t.regex(PGLISTEN_PROCESS_ID!, /^\d+$/)
  t.false(Number.isNaN(Date.parse(PGLISTEN_RECEIVED_AT!)))
  t.deepEqual(fs.readdirSync(folder), [])
})

/** A program that says when it begins and ends; in between it waits for a file of the name of its payload. */
const WAIT = `
  const fs = require('node:fs')
  const name = fs.readFileSync(0, 'utf8')
  console.log('begin ' + name)
  const timer = setInterval(() => {
    if (!fs.existsSync(process.argv[1])) process.exit()
    if (!fs.existsSync(process.argv[1] + '/' + name)) return
    clearInterval(timer)
    console.log('end ' + name)
  }, 5)`

test('programs run in order, one at a time, and --parallel bounds how many at once', async (t) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'pglisten-exec-'))
  t.teardown(() => fs.rmSync(folder, { recursive: true }))
  const channel = uniqueChannel()
  const letGo = (name: string) => fs.writeFileSync(path.join(folder, name), '')
  const one = await pglisten(t, ['listen', channel, '--count', '2', ...node(WAIT, folder)])
  const two = await pglisten(t, [
    ...['listen', channel, '--count', '3', '--parallel', '2'],
    ...node(WAIT, folder),
  ])
  await one.says(LISTENING)
  await two.says(LISTENING)
  for (const name of ['a', 'b', 'c']) await notify(channel, name)
  await two.printed(2)
  t.deepEqual([...two.lines].sort(), ['begin a', 'begin b'])
  letGo('b')
  await two.printed(4)
  t.deepEqual(two.lines.slice(2), ['end b', 'begin c'])
  await one.printed(1)
  t.deepEqual(one.lines, ['begin a'])
  letGo('a')
  letGo('c')
  t.is(await one.ended(), 0)
  t.is(await two.ended(), 0)
  t.deepEqual(one.lines, ['begin a', 'end a', 'begin b', 'end b'])
})

test('a program that fails is told of, the next one runs, and the exit code is 3', async (t) => {
  const channel = uniqueChannel()
  const program = `const n = require('node:fs').readFileSync(0, 'utf8'); console.log(n); process.exit(+n)`
  const command = await pglisten(t, ['listen', channel, '--count', '3', ...node(program)])
  await command.says(LISTENING)
  for (const code of ['0', '7', '0']) await notify(channel, code)
  t.is(await command.ended(), 3)
  const other = uniqueChannel()
  const quiet = await pglisten(t, ['listen', other, '--count', '1', '--quiet', ...node(program)])
  // It does not say when it listens.
  await waitFor(async () => {
    await notify(other, '7')
    return quiet.child.exitCode !== null
  })
  t.is(await quiet.ended(), 3)
  t.regex(quiet.err, /^pglisten: \S+ ended with exit code 7, for a notification of \S+\n$/)
  t.deepEqual(command.lines, ['0', '7', '0'])
  t.is(command.err.match(/ended with/g)?.length, 1)
  t.regex(command.err, new RegExp(`ended with exit code 7, for a notification of ${channel}`))
})

test('a program that reads nothing of a long payload does no harm', async (t) => {
  const channel = uniqueChannel()
  const args = ['listen', channel, '--count', '2', '--exec', 'true']
  const command = await pglisten(t, args)
  await command.says(LISTENING)
  for (const letter of ['a', 'b']) await notify(channel, letter.repeat(7999))
  t.is(await command.ended(), 0)
})

test('a program that cannot be started ends it', async (t) => {
  const channel = uniqueChannel()
  const command = await pglisten(t, ['listen', channel, '--exec', '/no/such/program'])
  await command.says(LISTENING)
  await notify(channel, 'x')
  t.is(await command.ended(), 1)
  t.regex(command.err, /\/no\/such\/program could not be started .*ENOENT/)
})

test('with --gaps a program is run for a gap too', async (t) => {
  const channel = uniqueChannel()
  const env = { PGAPPNAME: uniqueName('exec') }
  const command = await pglisten(t, ['listen', channel, '--gaps', ...node(SHOW)], { env })
  await command.says(LISTENING)
  await run(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '${env.PGAPPNAME}'`,
  )
  await command.printed(1)
  const [{ input, ...rest }] = command.records as [Record<string, string>]
  t.like(rest, { PGLISTEN_EVENT: 'gap', PGLISTEN_CHANNEL: undefined })
  t.like(JSON.parse(input!), { type: 'gap', reason: 'disconnect', sqlState: '57P01' })
})

test('a signal waits for the program that runs, and a second one ends that too', async (t) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'pglisten-exec-'))
  t.teardown(() => fs.rmSync(folder, { recursive: true }))
  const env = { PGAPPNAME: uniqueName('exec') }
  for (const isPatient of [true, false]) {
    const channel = uniqueChannel()
    const command = await pglisten(t, ['listen', channel, ...node(WAIT, folder)], { env })
    await command.says(LISTENING)
    await notify(channel, `${isPatient}`)
    await command.printed(1)
    command.child.kill('SIGTERM')
    await waitFor(async () => (await sessionCount(env.PGAPPNAME)) === 0)
    t.is(command.child.exitCode, null)
    if (isPatient) fs.writeFileSync(path.join(folder, 'true'), '')
    else command.child.kill('SIGTERM')
    // The streams are closed once the program has ended too.
    t.is(await command.ended(), isPatient ? 0 : 143)
    t.deepEqual(command.lines, isPatient ? ['begin true', 'end true'] : ['begin false'])
  }
})

const posix = process.platform === 'win32' ? test.skip : test

posix(
  'Ctrl-C in a terminal waits for the program too, and a second one ends all of it',
  async (t) => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'pglisten-exec-'))
    t.teardown(() => fs.rmSync(folder, { recursive: true }))
    const env = { PGAPPNAME: uniqueName('exec') }
    // It starts another program, which holds the same streams.
    const parent = `require('node:child_process')
    .spawn(process.execPath, ['-e', ...process.argv.slice(1)], { stdio: 'inherit' })
    .on('exit', (code) => process.exit(code ?? 1))`
    for (const [signal, code] of [
      ['SIGINT', 130],
      ['SIGHUP', 129],
    ] as const) {
      for (const isPatient of [true, false]) {
        const [channel, name] = [uniqueChannel(), `${signal}${isPatient}`]
        const args = ['listen', channel, ...node(parent, WAIT, folder)]
        const command = await pglisten(t, args, { env, isForeground: true })
        await command.says(LISTENING)
        await notify(channel, name)
        await command.printed(1)
        command.interrupt(signal)
        await waitFor(async () => (await sessionCount(env.PGAPPNAME)) === 0)
        t.is(command.child.exitCode, null)
        if (isPatient) fs.writeFileSync(path.join(folder, name), '')
        else command.interrupt(signal)
        t.is(await command.ended(), isPatient ? 0 : code)
        t.deepEqual(command.lines, isPatient ? [`begin ${name}`, `end ${name}`] : [`begin ${name}`])
      }
    }
  },
)

const limited = canLimit ? test : test.skip

limited(
  'without a descriptor for a program it ends with an error, once those that run have ended',
  async (t) => {
    const channel = uniqueChannel()
    const args = ['listen', channel, '--exec', 'sleep', '--parallel', '200', '--', '2']
    const command = await pglisten(t, args)
    await command.says(LISTENING)
    const pid = String(command.child.pid)
    const open = fs.readdirSync(`/proc/${pid}/fd`).length
    execFileSync('prlimit', ['--pid', pid, `--nofile=${open + 8}:${open + 8}`])
    await (await witness()).flood(channel, 1, 100)
    t.is(await command.ended(20_000), 1)
    t.regex(command.err, /sleep could not be started \(.*(EMFILE|EAGAIN)/)
    t.notRegex(command.err, /TypeError|unhandled/i)
  },
)
