// `pglisten notify`: what arrives, and what is refused.

import test from 'ava'
import { createRequire } from 'node:module'
import { PassThrough } from 'node:stream'
import { startProxy } from '../../lab/network/proxy.js'
import { uniqueName } from '../../lab/unique-name.js'
import { collect } from '../../lab/wait.js'
import { pglisten } from './command.js'
import { openListener, uniqueChannel } from '../support/listener.js'
import type { ExecutionContext } from 'ava'

const { payloadLines } = createRequire(import.meta.url)('../../bin/lib/lines.js') as {
  payloadLines: (stream: AsyncIterable<Buffer>, most: number) => AsyncIterable<string[]>
}

/** A channel, and what arrives on it. */
async function hearing(t: ExecutionContext, channel = uniqueChannel()) {
  const { listener } = await openListener(t, { channels: [channel] })
  await listener.startup()
  const stream = listener.messages()
  return {
    channel,
    payloads: async (count: number) => (await collect(stream, count)).map(({ payload }) => payload),
  }
}

test('a payload is sent as it is: empty, with quotes, a dash, or a name with capitals', async (t) => {
  const { channel, payloads } = await hearing(t, uniqueName('Ch "x"; é'))
  for (const args of [[], [`it's "$HOME"\n`], ['--', '-7'], ['--', '-']]) {
    const command = await pglisten(t, ['notify', channel, ...args])
    t.is(await command.ended(), 0)
    t.is(command.out + command.err, '')
  }
  t.deepEqual(await payloads(4), ['', `it's "$HOME"\n`, '-7', '-'])
})

test('each line of standard input is a notification, equal ones too, and in order', async (t) => {
  const { channel, payloads } = await hearing(t)
  const lines = ['same', 'same', '', 'x'.repeat(7999), 'é', 'same', 'last']
  const command = await pglisten(t, ['notify', channel, '-'], { input: lines.join('\n') })
  t.is(await command.ended(), 0)
  t.regex(command.err, /^pglisten: sent 7 in \d+\.\d s\n$/)
  t.deepEqual(await payloads(7), lines)
})

test('many lines that come in pieces are all sent', async (t) => {
  const { channel, payloads } = await hearing(t)
  const lines = Array.from({ length: 5000 }, (_, n) => `${n} ${'€'.repeat(n % 50)}`)
  const command = await pglisten(t, ['notify', channel, '-', '--batch', '7'], {
    input: `${lines.join('\n')}\n`,
  })
  t.is(await command.ended(), 0)
  t.deepEqual(await payloads(5000), lines)
})

// Alone, because it keeps this process busy.
test.serial(
  'a long line that comes in many pieces takes no more time than it has bytes',
  async (t) => {
    const piece = Buffer.alloc(1024, 'x')
    const count = 20_000
    async function* pieces() {
      yield Buffer.from('first\n')
      for (let n = 0; n < count; n += 1) yield piece
      yield Buffer.from('\nla')
      yield Buffer.from('st')
    }
    const began = performance.now()
    const lengths: number[] = []
    for await (const lines of payloadLines(pieces(), 2 ** 30))
      lengths.push(...lines.map(({ length }) => length))
    t.deepEqual(lengths, [5, count * piece.length, 4])
    // To copy what there is at each piece would be to copy 200 GB.
    t.true(performance.now() - began < 10_000)
  },
)

test('--rate bounds how many are sent in a second', async (t) => {
  const { channel, payloads } = await hearing(t)
  const began = performance.now()
  const command = await pglisten(t, ['notify', channel, '-', '--rate', '20'], {
    input: '1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n',
  })
  t.is(await command.ended(), 0)
  // The last of eleven is due 10/20 s after the first.
  t.true(performance.now() - began >= 500)
  t.is((await payloads(11)).length, 11)
})

test('--rate does not make good the time of a pause', async (t) => {
  const { channel, payloads } = await hearing(t)
  const input = new PassThrough()
  const command = await pglisten(t, ['notify', channel, '-', '--rate', '20'], { input })
  input.write('first\n')
  await payloads(1)
  await new Promise((resolve) => setTimeout(resolve, 2000))
  const began = performance.now()
  input.end(Array.from({ length: 30 }, (_, n) => `${n}\n`).join(''))
  t.is(await command.ended(), 0)
  // A second at most is made good, so at most 21 of them are due at once.
  const tookMs = performance.now() - began
  t.true(tookMs >= 400, `${tookMs}`)
  t.is((await payloads(30)).length, 30)
})

test('a signal does not hide that a transaction under way has failed', async (t) => {
  const { channel, payloads } = await hearing(t)
  const proxy = await startProxy(t)
  const input = new PassThrough()
  const command = await pglisten(t, ['notify', channel, '-'], { dsn: proxy.dsn, input })
  input.write('first\n')
  await payloads(1)
  // The answer to the first may still be on its way.
  proxy.withhold()
  const underWay = proxy.sent()
  input.write('second\n')
  await underWay
  command.child.kill('SIGTERM')
  proxy.cut()
  t.is(await command.ended(), 1)
  t.regex(command.err, /\(sent \d before it; lines \d to \d may have been sent\)/)
})

for (const [what, input, message] of [
  ['too long', Buffer.from(`a\nb\n${'x'.repeat(8000)}\nc\n`), /line 3 is longer .* 7999 bytes/],
  ['too long, without an end', Buffer.from(`a\nb\n${'x'.repeat(90_000)}`), /line 3 is longer/],
  ['not UTF-8', Buffer.from([97, 10, 98, 10, 0xff, 10, 99]), /line 3 is not UTF-8/],
  ['a zero byte', Buffer.from('a\nb\nc\0\n'), /line 3 has a zero byte/],
] as const) {
  test(`a line that is no payload ends it, after those before it were sent: ${what}`, async (t) => {
    const { channel, payloads } = await hearing(t)
    const command = await pglisten(t, ['notify', channel, '-'], { input })
    t.is(await command.ended(), 1)
    t.regex(command.err, message)
    t.regex(command.err, /\(sent 2 before it\)\n$/)
    t.deepEqual(await payloads(2), ['a', 'b'])
  })
}

test('a connection that is lost ends it, with how many were sent and which may have been', async (t) => {
  const { channel, payloads } = await hearing(t)
  const proxy = await startProxy(t)
  const input = Array.from({ length: 1000 }, (_, n) => n).join('\n')
  const args = ['notify', channel, '-', '--rate', '20', '--batch', '1']
  const command = await pglisten(t, args, { dsn: proxy.dsn, input })
  await payloads(2)
  proxy.cut()
  t.is(await command.ended(), 1)
  t.regex(command.err, /\(sent \d+ before it; lines (\d+) to \1 may have been sent\)/)
})

test('a signal ends it at once, and the exit code is that of the signal', async (t) => {
  const { channel, payloads } = await hearing(t)
  const command = await pglisten(t, ['notify', channel, '-', '--rate', '0.02'], {
    input: '1\n2\n3\n4',
  })
  await payloads(1)
  command.child.kill('SIGTERM')
  t.is(await command.ended(), 143)
  t.regex(command.err, /sent 1 in/)
})

for (const [args, message] of [
  [[], /Expected a channel/],
  [['c', 'a', 'b'], /Expected one payload/],
  [['', 'a'], /name of 1 to 63 bytes, got 0/],
  [['é'.repeat(32)], /name of 1 to 63 bytes, got 64/],
  [['c', 'é'.repeat(4000)], /payload of at most 7999 bytes, got 8000/],
  [['c', 'a', '--rate', '5'], /are about lines/],
  [['c', '-', '--rate', 'fast'], /`--rate` to be a number from 0.001 to 1000000, got `fast`/],
  [['c', '-', '--batch', '0'], /`--batch` to be an integer from 1/],
] as const) {
  test(`refused: notify ${args.join(' ').slice(0, 40)}`, async (t) => {
    const command = await pglisten(t, ['notify', ...args])
    t.is(await command.ended(), 2)
    t.is(command.out, '')
    t.regex(command.err, message)
  })
}
