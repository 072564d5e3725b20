// `pglisten watch`: as lines, and on a terminal, which it gives back as it was.

import test, { type ExecutionContext } from 'ava'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { Client } from 'pg'
import { FaultProxy } from '../../lab/network/fault-proxy.js'
import { startProxy } from '../../lab/network/proxy.js'
import { startServer } from '../../lab/server/dev-server.mjs'
import { serverDsn } from '../../lab/server/test-server.js'
import { uniqueName } from '../../lab/unique-name.js'
import { waitFor, within } from '../../lab/wait.js'
import { ServerWitness } from '../../lab/witness.js'
import { COMMAND, pglisten } from './command.js'
import { notify, sessionCount, uniqueChannel, witness } from '../support/listener.js'

/** util-linux's `script` gives a program a terminal. Tests that need one are to be skipped without it. */
const HAS_SCRIPT = spawnSync('script', ['-qec', 'true', '/dev/null']).status === 0
const onTerminal = HAS_SCRIPT ? test : test.skip
const onLinux = process.platform === 'linux' ? onTerminal : test.skip

test('without a terminal it prints lines: the whole, and each channel that something came over', async (t) => {
  const channel = uniqueChannel()
  const env = { PGAPPNAME: uniqueName('watch') }
  const command = await pglisten(t, ['watch', channel, '--interval', '0.2'], { env })
  // The first lines may come before the server has answered about its queue.
  const line = await waitFor(() => command.lines.find((one) => /queue \d/.test(one)))
  t.regex(
    line,
    /^\S+Z {2}connected {2}0\.0\/s {2}received 0 {2}gaps 0 {2}queue \S+ % {2}sessions \d+$/,
  )
  await (await witness()).flood(channel, 1, 30)
  await waitFor(() => command.out.includes(`  ${channel}  `) && /received 30 /.test(command.out))
  t.regex(command.out, new RegExp(`  ${channel}  \\d+(\\.\\d)?/s  total 30\n`))
  command.child.kill('SIGTERM')
  t.is(await command.ended(), 0)
  t.is(await sessionCount(env.PGAPPNAME), 0)
  // oxlint-disable-next-line no-control-regex
  t.notRegex(command.out, /\u001b/)
})

test('an outage is told of: the loss, the state, the return and the gap', async (t) => {
  const proxy = await startProxy(t)
  const channel = uniqueChannel()
  const args = ['watch', channel, '--interval', '0.2']
  const command = await pglisten(t, args, { dsn: proxy.dsn })
  await command.printed(1)
  proxy.cut()
  await command.says(/connection lost/)
  await waitFor(() => /reconnecting .* queue unknown {2}sessions unknown\n/.test(command.out))
  proxy.open()
  await command.says(/connected again/)
  await command.says(/gap: notifications that were sent between/)
  await waitFor(() => /connected .* gaps 1 {2}queue \d/.test(command.out))
  command.child.kill('SIGINT')
  t.is(await command.ended(), 0)
})

test('a hole in the network keeps nothing from being shown, and nothing is claimed of the server', async (t) => {
  const proxy = await FaultProxy.start(Number(new URL(await serverDsn()).port))
  t.teardown(() => proxy.stop())
  const args = ['watch', uniqueChannel(), '--interval', '0.2']
  const command = await pglisten(t, args, { dsn: proxy.dsn(await serverDsn()) })
  await waitFor(() => /queue \d/.test(command.out))
  // Nothing may be known of the server before its first answer either.
  const before = command.out.length
  proxy.swallow('both')
  await waitFor(() =>
    /connected .* queue unknown {2}sessions unknown\n/.test(command.out.slice(before)),
  )
  const { length } = command.lines
  await command.printed(length + 5)
  t.true(
    command.lines.slice(length).every((line) => / queue unknown {2}sessions unknown$/.test(line)),
  )
  t.notRegex(command.err, /connection lost|cannot ask/)
  proxy.clear()
  command.child.kill('SIGTERM')
  t.is(await command.ended(), 0)
})

test('all sessions that listen are counted, however many there are', async (t) => {
  const server = await startServer({ settings: { max_connections: 230 } })
  const clients = Array.from({ length: 205 }, () => new Client({ connectionString: server.dsn }))
  t.teardown(async () => {
    await Promise.all(clients.map((client) => client.end()))
    await server.stop('immediate')
  })
  await Promise.all(
    clients.map(async (client) => {
      await client.connect()
      await client.query('LISTEN x')
    }),
  )
  const command = await pglisten(t, ['watch', 'x', '--interval', '0.2'], { dsn: server.dsn })
  // Its own session is the last one.
  await waitFor(() => /sessions 206\n/.test(command.out)).catch(() => t.fail(command.out))
  command.child.kill('SIGTERM')
  t.is(await command.ended(), 0)
})

test('--timeout ends it with 0, and without a server it ends with 1', async (t) => {
  const command = await pglisten(t, ['watch', 'x', '--timeout', '1'])
  t.is(await command.ended(), 0)
  const nowhere = await pglisten(t, ['watch'], { dsn: 'postgres://postgres@127.0.0.1:1/postgres' })
  t.is(await nowhere.ended(), 1)
})

interface Terminal {
  output: () => string
  /** What it drew last, without styles. */
  screen: () => string[]
  press: (keys: string) => void
  closed: Promise<unknown>
}

async function terminal(
  t: ExecutionContext,
  args: string[],
  { columns, rows, dsn }: { columns: number; rows: number; dsn?: string },
): Promise<Terminal> {
  const quoted = [process.execPath, COMMAND, ...args].map((one) => `'${one}'`).join(' ')
  // The shell gets Ctrl-C too.
  const line = `trap : INT; stty cols ${columns} rows ${rows}; sh -c 'echo "watching $$"; exec "$@"' sh ${quoted}; echo "exit $?"`
  const child = spawn('script', ['-qefc', line, '/dev/null'], {
    env: {
      ...process.env,
      NODE_OPTIONS: '',
      TERM: 'xterm',
      SHELL: '/bin/sh',
      DATABASE_URL: dsn ?? (await serverDsn()),
    },
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (output += chunk))
  return {
    output: () => output,
    screen: () =>
      (output.split('\u001b[H').at(-1) ?? '')
        // oxlint-disable-next-line no-control-regex
        .replaceAll(/\u001b\[[\d;?]*[A-Za-z]/g, '')
        .split('\r\n'),
    press: (keys) => void child.stdin.write(keys),
    closed: once(child, 'close'),
  }
}

onTerminal('on a terminal it draws a screen, in its size, and Ctrl-C gives it back', async (t) => {
  const channel = uniqueName('漢字漢字漢字')
  const { output, screen, press, closed } = await terminal(
    t,
    ['watch', channel, '--interval', '0.2'],
    {
      columns: 60,
      rows: 9,
    },
  )
  await waitFor(() => output().includes('CHANNEL'))
  const payload = `\u001b]0;title\u0007\u001b[2J${'漢'.repeat(100)}`
  await notify(channel, payload)
  const isShown = () => screen().some((line) => /^漢字.* 1 +\d s {2}\\u001b\]/.test(line))
  await waitFor(isShown).catch(() => t.fail(JSON.stringify(screen())))
  t.false(output().includes('\u001b]0;'))
  t.false(output().includes('\u001b[2J'))
  const lines = screen()
  t.true(lines.length <= 9, lines.join('\n'))
  const width = (text: string) =>
    Array.from(text).reduce((sum, one) => sum + (/[\u3000-\u9fff]/.test(one) ? 2 : 1), 0)
  for (const line of lines) t.true(width(line) <= 60, line)
  t.regex(lines[0]!, /^connected/)
  press('\u0003')
  await within(closed)
  // Hides the cursor on another screen, and shows it on the first one.
  t.regex(
    output(),
    // oxlint-disable-next-line no-control-regex
    /\u001b\[\?1049h\u001b\[\?25l[^]*\u001b\[\?25h\u001b\[\?1049l[^\u001b]*exit 0\r\n$/,
  )
})

onTerminal('an outage is on the screen, and so is the return', async (t) => {
  const server = await startServer()
  t.teardown(() => server.stop('immediate'))
  const { output, screen, press, closed } = await terminal(t, ['watch', 'x', '--interval', '0.2'], {
    columns: 100,
    rows: 20,
    dsn: server.dsn,
  })
  await waitFor(() => screen()[0]!.startsWith('connected'))
  await server.kill()
  await waitFor(
    () =>
      screen()[0]!.startsWith('reconnecting') &&
      screen().some((line) => /still trying|connection lost/.test(line)),
  )
  await server.start()
  await waitFor(() => screen()[0]!.startsWith('connected'))
  await waitFor(() => screen().some((line) => /gaps 1 /.test(line)))
  const outside = new ServerWitness(server.dsn)
  t.teardown(() => outside.close())
  await outside.notify('x', 'after')
  await waitFor(() => screen().some((line) => /^x .* after/.test(line)))
  press('\u0003')
  await within(closed)
  t.regex(output(), /exit 0\r\n$/)
})

onLinux('suspended and continued many times it takes the screen as often, once each', async (t) => {
  const { output, press, closed } = await terminal(t, ['watch', 'x', '--interval', '0.2'], {
    columns: 60,
    rows: 9,
  })
  await waitFor(() => output().includes('CHANNEL'))
  const watching = Number(/watching (\d+)\r\n/.exec(output())![1])
  const times = (text: string) => output().split(text).length - 1
  const isStopped = () => /^State:\s+T/m.test(readFileSync(`/proc/${watching}/status`, 'utf8'))
  for (let round = 1; round <= 12; round += 1) {
    process.kill(watching, 'SIGTSTP')
    await waitFor(isStopped)
    process.kill(watching, 'SIGCONT')
    await waitFor(() => times('\u001b[?1049h') === round + 1)
  }
  press('\u0003')
  await within(closed)
  t.is(times('\u001b[?1049h'), 13)
  t.is(times('\u001b[?1049l'), 13)
  t.notRegex(output(), /MaxListeners/)
})
