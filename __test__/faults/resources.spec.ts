// The host lives when the operating system has no descriptor or no thread left: calls fail, and work again afterwards.

import test from 'ava'
import { canLimit, runLimited } from '../support/limited.js'

const limited = canLimit ? test : test.skip

const RESOURCES = [
  ['descriptor', 'nofile', 'Too many open files (os error 24)'],
  ['thread', 'nproc', 'Resource temporarily unavailable (os error 11)'],
] as const

for (const [what, resource, reason] of RESOURCES) {
  limited(
    `without a ${what} at first use every call rejects, and the next one works`,
    async (t) => {
      const failure = `ConnectionFailedError: the thread \`pglisten-query\` cannot be started: ${reason}`
      t.deepEqual(await runLimited('without-resources.mjs', [resource, 'first']), {
        connection: failure,
        notify: failure,
        startup: failure,
        state: 'idle',
        close: 'closed',
        connectionAfter: 1,
        message: 'here',
      })
    },
  )

  limited(`without a ${what} later, dialling fails and a listener goes on trying`, async (t) => {
    const { connection, reconnect, ...rest } = (await runLimited('without-resources.mjs', [
      resource,
      'later',
    ])) as Record<string, string>
    for (const failure of [connection, reconnect]) {
      t.true(failure!.startsWith('ConnectionFailedError: could not connect to '), failure)
      t.true(failure!.endsWith(`: ${reason}`), failure)
    }
    t.deepEqual(rest, { state: 'reconnecting', connectionAfter: 1, message: 'here' })
  })

  limited(
    `without a ${what} the connections of a pool that are in use go on, and its size stays`,
    async (t) => {
      const { asked, timedOut, ...rest } = (await runLimited('without-resources.mjs', [
        resource,
        'in use',
      ])) as { asked: string[]; timedOut: string }
      t.is(asked.length, 3)
      for (const failure of asked) {
        t.true(failure.startsWith('ConnectionFailedError: could not connect to '), failure)
        t.true(failure.endsWith(`: ${reason}`), failure)
      }
      t.true(timedOut.startsWith('ConnectionTimeoutError: '), timedOut)
      t.deepEqual(rest, {
        running: 'done',
        next: 2,
        all: [3, 3, 3],
        connectionAfter: 1,
        message: 'here',
      })
    },
  )
}
