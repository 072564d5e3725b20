// What a listener does to the life of its process: it keeps it alive as long as it is wanted, and no longer.

import test from 'ava'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { notify, uniqueChannel } from '../support/listener.js'
import { serverDsn } from '../../lab/server/test-server.js'
import { waitFor, within } from '../../lab/wait.js'

const FIXTURE = fileURLToPath(new URL('../fixtures/listener-process.mjs', import.meta.url))

/** Starts a process; the promise gives what it printed once it has ended by itself. */
async function start(way: string, channel = uniqueChannel()) {
  const child = spawn(process.execPath, [FIXTURE, way, channel], {
    env: { ...process.env, PGLISTEN_TEST_DSN: await serverDsn() },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => (output += chunk))
  }
  const ended = (async () => {
    try {
      const [code, signal] = (await within(once(child, 'close'), { what: `“${way}” to end` })) as [
        number | null,
        string | null,
      ]
      return { code, signal, lines: output.trim().split('\n') }
    } finally {
      child.kill('SIGKILL')
    }
  })()
  return { ended, output: () => output }
}

for (const [way, what, lines] of [
  ['started', 'a started listener keeps its process alive until it is shut down', ['alive']],
  ['unref before startup', 'a listener that was unref’d lets its process end', ['started']],
  ['unref after startup', 'unref() lets go of the process at any time', ['alive']],
  ['ref again', 'ref() takes unref() back', ['alive']],
  ['unref with callbacks', 'callbacks do not keep a process alive either', ['delivered']],
  ['pool closed', 'a pool that was closed lets its process end', ['closed']],
  ['given up', 'a listener that gave up lets its process end', ['closed']],
  [
    'given up while starting',
    'a listener that gave up before its startup was noticed lets its process end',
    ['closed'],
  ],
  [
    'given up in a flood',
    'a process does not end before the loop of a listener that gave up in a flood',
    ['ListenerClosedError'],
  ],
] as const) {
  test(what, async (t) => {
    const { ended } = await start(way)
    t.deepEqual(await ended, { code: 0, signal: null, lines: [...lines] })
  })
}

for (const way of ['callbacks', 'loop']) {
  test(`a process that waits for notifications (${way}) stays until it ends its listener`, async (t) => {
    const channel = uniqueChannel()
    const { ended, output } = await start(way, channel)
    await waitFor(() => output().includes('listening'))
    await notify(channel, 'arrived')
    t.deepEqual(await ended, { code: 0, signal: null, lines: ['listening', 'arrived'] })
  })
}
