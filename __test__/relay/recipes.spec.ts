// The consumers in other languages: they see what the consumer for JavaScript sees. Each runs where its tools are.

import { execFile, execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import type { ExecutionContext } from 'ava'
import { AckPolicy, jetstreamManager, type StreamConfig } from '@nats-io/jetstream'
import { checkRelay } from 'pglisten-relay-nats'
import { root } from '../support/code-blocks.js'
import { leading, openDurable, openScene, startRelay, stored, test } from './scene.js'

const recipes = path.join(root, 'packages/relay-nats/recipes')
const GO_CLIENT = 'github.com/nats-io/nats.go@v1.55.0'

/** What a program prints, or `undefined` where it cannot run. */
function output(file: string, args: readonly string[]): string | undefined {
  try {
    return execFileSync(file, args, {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim()
  } catch {
    return undefined
  }
}

/** A Python that has nats-py: that of `PGLISTEN_NATS_PYTHON`, of `target/tools/nats-py`, or of the PATH. */
const python = [
  process.env['PGLISTEN_NATS_PYTHON'],
  path.join(root, 'target/tools/nats-py/bin/python'),
  'python3',
].find((one) => one !== undefined && output(one, ['-c', 'import nats']) !== undefined)

const modules = output('go', ['env', 'GOMODCACHE'])
const hasGo = modules !== undefined && existsSync(path.join(modules, GO_CLIENT))

/** Runs a recipe with an environment. */
type Run = (env: NodeJS.ProcessEnv) => Promise<{ stdout: string }>

/** Reads a stream in which row 5 was deleted with a recipe. */
async function judge(t: ExecutionContext, run: Run): Promise<void> {
  const scene = await openScene(t)
  const running = startRelay(t, scene.options)
  await leading(running)
  await scene.writer.write(12)
  await stored(scene, 13)
  const [even, odd] = scene.writer.channels
  const jsm = await jetstreamManager(scene.nc)
  // Row 5 has the sequence 6, behind the gap of the start.
  await jsm.streams.deleteMessage(scene.stream, 6)
  await jsm.consumers.add(scene.stream, {
    durable_name: 'recipe',
    ack_policy: AckPolicy.Explicit,
    filter_subjects: [`pg.${scene.stream}.${odd!.replace('.', '%2E')}`, `pg.${scene.stream}.%gap`],
  })
  const { stdout } = await run({
    ...process.env,
    NATS_URL: `nats://${scene.nats.url}`,
    STREAM: scene.stream,
    DURABLE: 'recipe',
    LIMIT: '6',
  })
  t.false(stdout.includes(even!))
  t.deepEqual(stdout.trim().split('\n'), [
    'gap relay-start unknown',
    ...[1, 3].map((row) => `${odd} ${row}:`),
    'gap retention 1',
    ...[7, 9, 11].map((row) => `${odd} ${row}:`),
  ])
}

/** Reads a stream of a durable source in which the events of a channel at the end of an epoch were deleted with a recipe. */
async function judgeEnd(t: ExecutionContext, run: Run): Promise<void> {
  const scene = await openDurable(t)
  const first = startRelay(t, scene.options)
  await scene.pool.publish('orders', '1')
  await scene.pool.publish('jobs', '2')
  await scene.pool.publish('jobs', '3')
  await stored(scene, 4)
  await first.stop()
  startRelay(t, scene.options)
  await scene.pool.publish('jobs', '4')
  await stored(scene, 6)
  const jsm = await jetstreamManager(scene.nc)
  for (const sequence of [2, 3, 4]) await jsm.streams.deleteMessage(scene.stream, sequence)
  await jsm.consumers.add(scene.stream, {
    durable_name: 'recipe',
    ack_policy: AckPolicy.Explicit,
    filter_subjects: [`pg.${scene.stream}.jobs`, `pg.${scene.stream}.%gap`],
  })
  const { stdout } = await run({
    ...process.env,
    NATS_URL: `nats://${scene.nats.url}`,
    STREAM: scene.stream,
    DURABLE: 'recipe',
    LIMIT: '3',
  })
  t.deepEqual(stdout.trim().split('\n'), ['gap retention 2', 'jobs 4'])
}

const withPython = python === undefined ? test.skip : test
const inPython: Run = (env) =>
  promisify(execFile)(python!, [path.join(recipes, 'consumer.py')], { env, timeout: 60_000 })

withPython('the consumer in Python tells messages, gaps and losses', async (t) => {
  await judge(t, inPython)
})

withPython('the consumer in Python tells losses at the end of an epoch', async (t) => {
  await judgeEnd(t, inPython)
})

/** Runs the consumer in Go in a module of its own. */
const inGo =
  (t: ExecutionContext): Run =>
  (env) => {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'pglisten-go-'))
    t.teardown(() => rmSync(folder, { recursive: true, force: true }))
    cpSync(path.join(recipes, 'consumer.go'), path.join(folder, 'consumer.go'))
    const [name, version] = GO_CLIENT.split('@')
    writeFileSync(
      path.join(folder, 'go.mod'),
      `module consumer\n\ngo 1.24\n\nrequire ${name} ${version}\n`,
    )
    // Nothing is downloaded: what is not in the cache of modules is an error.
    const offline = { GOPROXY: 'off', GOSUMDB: 'off', GOFLAGS: '-mod=mod' }
    return promisify(execFile)('go', ['run', '.'], {
      cwd: folder,
      env: { ...env, ...offline },
      timeout: 160_000,
    })
  }

const withGo = hasGo ? test : test.skip
withGo('the consumer in Go tells messages, gaps and losses', async (t) => {
  t.timeout(170_000)
  await judge(t, inGo(t))
})

withGo('the consumer in Go tells losses at the end of an epoch', async (t) => {
  t.timeout(170_000)
  await judgeEnd(t, inGo(t))
})

test('the stream of the recipe is made as it stands, and the check finds nothing wrong with it', async (t) => {
  const config = JSON.parse(readFileSync(path.join(recipes, 'stream.json'), 'utf8')) as StreamConfig
  const scene = await openScene(t)
  const { streams } = await jetstreamManager(scene.nc)
  await streams.add(config)
  const found = await checkRelay({ ...scene.options, stream: config.name, database: 'shop' })
  t.deepEqual(
    found.filter(({ level }) => level !== 'ok'),
    [],
  )
})
