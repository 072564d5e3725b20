// The disposable server keeps its promise: it leaves nothing behind, however its owner ends.

import test from 'ava'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { startServer } from '../../lab/server/dev-server.mjs'

const OWNER = fileURLToPath(new URL('../fixtures/server-owner.mjs', import.meta.url))

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

async function answers(port: number): Promise<boolean> {
  const socket = net.connect(port, '127.0.0.1')
  return new Promise((resolve) => {
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

async function within(ms: number, condition: () => boolean): Promise<boolean> {
  const deadline = Date.now() + ms
  while (!condition()) {
    if (Date.now() > deadline) return false
    await sleep(20)
  }
  return true
}

test('a started server takes connections, a stopped one is gone with its folder', async (t) => {
  const server = await startServer()
  const { folder, pid, port } = server
  t.true(await answers(port))
  t.true(fs.existsSync(path.join(folder, 'data', 'PG_VERSION')))
  t.regex(server.dsn, /^postgres:\/\/postgres:\w+@127\.0\.0\.1:\d+\/postgres$/)

  await server.stop()
  await server.stop()
  t.false(await answers(port))
  t.false(fs.existsSync(folder))
  t.false(isAlive(pid!))
})

test('a killed server comes back on the same port with its data', async (t) => {
  const server = await startServer({ settings: { max_connections: 20 } })
  const { port } = server
  await server.kill()
  t.false(await answers(port))
  await server.start()
  t.is(server.port, port)
  t.true(await answers(port))
  await server.restart('immediate')
  t.true(await answers(port))
  await server.stop('immediate')
})

test('a setting the server refuses fails the start with the reason', async (t) => {
  await t.throwsAsync(startServer({ settings: { no_such_setting: 1 } }), {
    message: /no_such_setting/,
  })
})

for (const [how, ending] of [
  ['interrupted', 'SIGINT'],
  ['terminated', 'SIGTERM'],
  ['hung up', 'SIGHUP'],
  ['killed', 'SIGKILL'],
  ['ended by an uncaught exception', 'throw'],
  ['at its end without stopping the server', 'end'],
] as const) {
  test(`an owner that is ${how} leaves no server and no folder`, async (t) => {
    const owner = spawn(process.execPath, [OWNER, ending], { stdio: ['ignore', 'pipe', 'ignore'] })
    const exited = once(owner, 'exit')
    const [line] = (await once(createInterface(owner.stdout), 'line')) as [string]
    const { pid, folder } = JSON.parse(line) as { pid: number; folder: string }
    if (ending.startsWith('SIG')) {
      t.true(isAlive(pid))
      owner.kill(ending as NodeJS.Signals)
    }
    await exited
    t.true(await within(10_000, () => !isAlive(pid) && !fs.existsSync(folder)))
  })
}
