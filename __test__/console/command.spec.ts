// The command: its arguments, what it prints, and how it ends; and how messages are chosen.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { serverDsn } from '../../lab/server/test-server.js'
import { waitFor, within } from '../../lab/wait.js'
import { UsageError, parseOptions } from '../../packages/console/src/options.js'
import { Sampler } from '../../packages/console/src/sampler.js'
import { root } from '../support/code-blocks.js'
import { notify, uniqueChannel } from '../support/listener.js'

const BIN = path.join(root, 'packages/console/bin/pglisten-console.js')
const TOKEN = 'A-token.that_is~long+enough/of-32='

/** Addresses of servers, as one might put them into the place of a channel. */
const ADDRESSES = [
  'postgres://a:hunter2@b/c',
  'PostgreSQL://b/hunter2',
  'postgress://a:hunter2@b/c',
  'host=b password=hunter2',
  'host=b dbname=hunter2',
]

interface Ran {
  out: string
  err: string
  code: number | null
  hasEnded: boolean
  kill: (signal?: NodeJS.Signals) => void
}

function start(t: ExecutionContext, args: string[], env: Record<string, string> = {}): Ran {
  const child = spawn(process.execPath, [BIN, ...args], {
    env: { ...process.env, NODE_OPTIONS: '', ...env },
  })
  t.teardown(() => child.kill('SIGKILL'))
  const ran: Ran = {
    ...{ out: '', err: '', code: null, hasEnded: false },
    kill: (signal = 'SIGTERM') => child.kill(signal),
  }
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (ran.out += chunk))
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (ran.err += chunk))
  void within(once(child, 'close'), { timeoutMs: 60_000 }).then(([code]) => {
    ran.code = code as number | null
    ran.hasEnded = true
  })
  return ran
}

test('what a server answers drives no terminal', async (t) => {
  // Each connection is refused with a text that would clear the screen.
  const text = 'no \u001b[2J\u009b2J\u202e'
  const fields = `SFATAL\0VFATAL\0C28000\0M${text}\0\0`
  const refusal = Buffer.concat([Buffer.from('E\0\0\0\0'), Buffer.from(fields)])
  refusal.writeInt32BE(refusal.length - 1, 1)
  const server = createServer((socket) => {
    socket.on('error', () => {}).once('data', () => socket.end(refusal))
  })
  t.teardown(() => server.close())
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  const DATABASE_URL = `postgres://a@127.0.0.1:${port}/a?sslmode=disable`
  const ran = start(t, [uniqueChannel(), '--port', '0'], { DATABASE_URL })
  await waitFor(() => /still trying to connect: .*no/.test(ran.out), { what: 'the refusal' })
  // oxlint-disable-next-line no-control-regex
  t.notRegex(ran.out, /[\u001b\u009b\u202e]/)
})

for (const signal of ['SIGINT', 'SIGHUP'] as const)
  test(`${signal} ends the command as SIGTERM does`, async (t) => {
    const ran = start(t, [uniqueChannel(), '--port', '0'], { DATABASE_URL: await serverDsn() })
    await waitFor(() => ran.out.includes('listening'), { what: 'the command to listen' })
    ran.kill(signal)
    await waitFor(() => ran.hasEnded, { what: 'the command to end' })
    t.is(ran.code, 0)
  })

test('the command prints one address, no payload, and ends with a signal', async (t) => {
  const channel = uniqueChannel()
  const ran = start(t, [channel, '--port', '0'], { DATABASE_URL: await serverDsn() })
  await waitFor(() => ran.out.includes('listening'), { what: 'the command to listen' })
  const [address] = ran.out.split('\n')
  t.regex(address!, /^http:\/\/127\.0\.0\.1:\d+\/#[\w-]{43}$/)
  t.is((await fetch(address!)).status, 200)
  await notify(channel, 'a payload')
  ran.kill()
  await waitFor(() => ran.code !== null, { what: 'the command to end' })
  t.is(ran.code, 0)
  t.false(`${ran.out}${ran.err}`.includes('a payload'))
})

test('the command serves its page while the server is away, and says why', async (t) => {
  const ran = start(t, ['--port', '0'], {
    DATABASE_URL: 'postgres://nobody:secret@127.0.0.1:1/nothing',
  })
  await waitFor(() => ran.out.includes('still trying to connect'), { what: 'a failed attempt' })
  const [address] = ran.out.split('\n')
  t.is((await fetch(address!)).status, 200)
  ran.kill()
  await waitFor(() => ran.code !== null, { what: 'the command to end' })
  t.is(ran.code, 0)
  t.false(ran.out.includes('secret'))
})

test('wrong arguments end the command with 2, and say what was expected', async (t) => {
  const ran = start(t, ['--port', 'x'])
  await waitFor(() => ran.code !== null)
  t.is(ran.code, 2)
  t.is(ran.err, 'pglisten-console: Expected --port to be a number from 0 to 65535, got `x`\n')
  const wrong: Array<[string[], RegExp, Record<string, string>?]> = [
    [['--rate', '0'], /--rate to be a number from 1 to 1000, got `0`/],
    [['--host', 'example.com'], /--host to be an IP address, got `example.com`/],
    [['--host', '0.0.0.0'], /--origin beside --host 0\.0\.0\.0/],
    [['--host', '::'], /--origin beside --host ::/],
    [['--origin', 'https://a.example/path'], /--origin to be a URL such as/],
    [['--origin', 'a.example'], /--origin to be a URL such as/],
    [['--what'], /--what/],
    [[], /at least 32 characters, got 5/, { PGLISTEN_CONSOLE_TOKEN: 'short' }],
    [['x'.repeat(64)], /name of 1 to 63 bytes, got 64 bytes/],
    [['é'.repeat(32)], /name of 1 to 63 bytes, got 64 bytes/],
    [['a', ''], /name of 1 to 63 bytes, got 0 bytes/],
    [Array.from({ length: 101 }, (_, n) => `c${n}`), /at most 100 channels, got 101/],
  ]
  // A browser would write these in another way into the address, or cut it there.
  for (const strange of [' ', '"', '#', '<', '`', 'é', '\n', '%41'])
    wrong.push([
      [],
      /PGLISTEN_CONSOLE_TOKEN to have letters, digits and .* only$/,
      { PGLISTEN_CONSOLE_TOKEN: `${TOKEN}${strange}` },
    ])
  for (const [args, message, env = {}] of wrong) {
    t.throws(() => parseOptions(args, env), { instanceOf: UsageError, message })
  }
  const late = start(t, ['--port', '0', '--', 'x'.repeat(64)])
  await waitFor(() => late.code !== null)
  t.is(late.code, 2)
})

test('the address of a server is no channel, and not shown', async (t) => {
  for (const address of ADDRESSES) {
    const error = t.throws(() => parseOptions(['orders', address], {}), {
      instanceOf: UsageError,
      message: /^Expected names of channels, got the address of a server .* DATABASE_URL/,
    })
    t.false(error.message.includes('hunter2'))
    for (const option of ['--host', '--origin', '--port', '--rate']) {
      const wrong = t.throws(() => parseOptions([option, address], {}), { instanceOf: UsageError })
      t.false(wrong.message.includes('hunter2'))
    }
  }
  const ran = start(t, ['orders', '--', ADDRESSES[0]!], { DATABASE_URL: await serverDsn() })
  await waitFor(() => ran.code !== null)
  t.is(ran.code, 2)
  t.is(ran.out, '')
  t.false(ran.err.includes('hunter2'))
  const names = ['a://b', 'user=7', 'a@b', 'password', 'postgres']
  const parsed = parseOptions(names, {}) as Extract<
    ReturnType<typeof parseOptions>,
    { options: unknown }
  >
  t.deepEqual(parsed.options.channels, names)
})

test('by default the page is on the loopback interface, and cannot send', (t) => {
  const parsed = parseOptions(['a', 'b', 'a'], { DATABASE_URL: '', PGLISTEN_CONSOLE_TOKEN: TOKEN })
  t.deepEqual(parsed, {
    options: {
      channels: ['a', 'b'],
      dsn: undefined,
      host: '127.0.0.1',
      port: 7433,
      origins: [],
      allowSend: false,
      rate: 50,
      token: TOKEN,
    },
  })
  const open = ['--host', '0.0.0.0', '--origin', 'https://console.example.com', '--allow-send']
  const { options } = parseOptions(open, {}) as Extract<
    ReturnType<typeof parseOptions>,
    { options: unknown }
  >
  t.deepEqual(options.origins, ['https://console.example.com'])
  t.true(options.allowSend)
})

test('a sample has the newest of each channel, and saves up what was not used', (t) => {
  const sampler = new Sampler({ perSecond: 10, now: 0 })
  for (let number = 1; number <= 1000; number += 1) sampler.add('busy', `${number}`, 1, 0)
  sampler.add('quiet', 'q', 1, 0)
  const { messages, seen } = sampler.take(0)
  t.is(seen, 1001)
  t.deepEqual(
    messages.map(({ payload }) => payload),
    ['992', '993', '994', '995', '996', '997', '998', '999', '1000', 'q'],
  )
  sampler.add('busy', 'too soon', 1, 0)
  t.deepEqual(sampler.take(50), { messages: [], seen: 1 })
  sampler.add('busy', 'in time', 1, 0)
  t.is(sampler.take(100).messages.length, 1)
  for (let number = 0; number < 100; number += 1) sampler.add('busy', 'x', 1, 0)
  t.is(sampler.take(60_000).messages.length, 10)
})

test('of more channels than a sample has room for, some are shown', (t) => {
  const sampler = new Sampler({ perSecond: 3, now: 0 })
  for (const channel of ['a', 'b', 'c', 'd', 'e']) sampler.add(channel, channel, 1, 0)
  const { messages, seen } = sampler.take(0)
  t.is(messages.length, 3)
  t.is(seen, 5)
})
