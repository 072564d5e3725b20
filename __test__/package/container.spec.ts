// The example of a container: its probes follow the listener, and what Kubernetes is told is what the program does.

import { readFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { openDatabase, startExample } from '../support/example.js'
import * as server from '../support/listener.js'
import { root } from '../support/code-blocks.js'
import { waitFor } from '../../lab/wait.js'

const read = (file: string) => readFileSync(path.join(root, 'examples/container', file), 'utf8')
const manifest = read('kubernetes.yaml')

test('the probes of the manifest follow the listener, and the process lives while its database is away', async (t) => {
  const { dsn, run, severAll } = await openDatabase(t)
  const name = new URL(dsn).pathname.slice(1)
  // The tests are let in all the same, since their connection is there.
  await run('SELECT 1')
  const open = (isOpen: boolean) => server.run(`ALTER DATABASE ${name} ALLOW_CONNECTIONS ${isOpen}`)
  await open(false)
  const service = startExample(t, 'container', dsn, { PORT: '0' })
  const [, url] = await service.says(/^(http:\S+)$/m)
  const paths = [...manifest.matchAll(/httpGet: \{ path: (\S+), port: (\d+) \}/g)]
  t.deepEqual(
    paths.map((match) => match[1]),
    ['/live', '/ready'],
  )
  const probe = async () =>
    await Promise.all(paths.map(async (match) => (await fetch(url + match[1]!)).status))
  t.deepEqual(await probe(), [200, 503])
  await open(true)
  await waitFor(async () => (await probe()).join() === '200,200')

  await run("SELECT pg_notify('orders', '1')")
  await service.says(/^order 1 at /m)
  await open(false)
  await severAll()
  await waitFor(async () => (await probe()).join() === '200,503')
  await open(true)
  await waitFor(async () => (await probe()).join() === '200,200')

  // What was received before the signal is handled.
  await run("SELECT pg_notify('orders', n::text) FROM generate_series(2, 50) AS n")
  await service.says(/^order 2 at /m)
  t.is(await service.end(), 0)
  t.is(service.lines().filter((line) => line.startsWith('order ')).length, 50)
})

test('the manifest, the image and the program agree', (t) => {
  const [, deadline] = /DEADLINE_MS = ([\d_]+)/.exec(read('main.mjs'))!
  const [, grace] = /terminationGracePeriodSeconds: (\d+)/.exec(manifest)!
  t.true(Number(grace) * 1000 > Number(deadline!.replaceAll('_', '')))
  const [, port] = /PORT=(\d+)/.exec(read('Dockerfile'))!
  const ports = [...manifest.matchAll(/[pP]ort: (\d+)/g)].map((match) => match[1])
  t.deepEqual([...new Set(ports)], [port])
  const { version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))
  t.is(JSON.parse(read('package.json')).dependencies.pglisten, `^${version}`)
})
