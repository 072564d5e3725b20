// What the recipes for containers start, tried as processes of this machine: the image's entry point with the manifest's arguments and
// environment, its probes, and the signal that ends a pod.

import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import type { ExecutionContext } from 'ava'
import { jetstreamManager, type StreamConfig } from '@nats-io/jetstream'
import { RelayProcess } from '../../lab/relay/relay-process.js'
import { asRead, counterFaults, readStream } from '../../lab/relay/stream-reading.js'
import { freePort } from '../../lab/server/ports.mjs'
import { waitFor } from '../../lab/wait.js'
import { root } from '../support/code-blocks.js'
import { openScene, test, type Scene } from './scene.js'

const recipes = path.join(root, 'packages/relay-nats/recipes')
const recipe = (name: string) => readFileSync(path.join(recipes, name), 'utf8')

/** The only match of a pattern in a recipe. */
function only(text: string, pattern: RegExp): string {
  const found = [...text.matchAll(new RegExp(pattern.source, `${pattern.flags}g`))]
  if (found.length !== 1) throw new Error(`Expected one ${String(pattern)}, got ${found.length}`)
  return found[0]![1]!
}

const list = (text: string) => JSON.parse(text.replaceAll("'", '"')) as string[]

const dockerfile = recipe('Dockerfile')
const manifest = recipe('kubernetes.yaml')
const image = {
  entryPoint: list(only(dockerfile, /^ENTRYPOINT (.*)$/m)),
  port: Number(only(dockerfile, /^EXPOSE (\d+)$/m)),
}
const pod = {
  args: list(only(manifest, /^ +args: (.*)$/m)),
  env: Object.fromEntries(
    [...manifest.matchAll(/\{ name: (\w+), value: '([^']*)' \}/g)].map(
      ([, name, value]) => [name!, value!] as const,
    ),
  ),
  port: Number(only(manifest, /containerPort: (\d+)/)),
  liveness: only(manifest, /livenessProbe:\s+httpGet: (\{.*\})/),
  readiness: only(manifest, /readinessProbe:\s+httpGet: (\{.*\})/),
  graceMs: Number(only(manifest, /terminationGracePeriodSeconds: (\d+)/)) * 1000,
  replicas: Number(only(manifest, /replicas: (\d+)/)),
}

/** A pod's process, and how a cluster asks whether it lives and works. */
interface Pod {
  relay: RelayProcess
  probe: (probe: string) => Promise<number | undefined>
}

/** The folder of the image, with what its `npm install` puts there. */
function openImage(t: ExecutionContext): { cwd: string; home: string } {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'pglisten-image-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const [cwd, home] = [path.join(folder, 'relay'), path.join(folder, 'home')]
  mkdirSync(path.join(cwd, 'node_modules'), { recursive: true })
  mkdirSync(home)
  const installed = only(dockerfile, /npm install --ignore-scripts (.*)$/m).split(' ')
  for (const name of installed.map((one) => one.split('@')[0]!)) {
    const source = name === 'pglisten' ? root : path.join(root, 'node_modules', name)
    symlinkSync(source, path.join(cwd, 'node_modules', name))
  }
  return { cwd, home }
}

async function startPod(
  t: ExecutionContext,
  scene: Scene,
  { cwd, home }: ReturnType<typeof openImage>,
): Promise<Pod> {
  // Pods have an address each; processes of this machine have a port each.
  const port = await freePort()
  const { PGLISTEN_RELAY_HEALTH: health, ...env } = pod.env
  const relay = new RelayProcess(
    undefined,
    {
      ...env,
      PGLISTEN_RELAY_CHANNELS: scene.writer.channels.join(','),
      PGLISTEN_RELAY_HEALTH: health!.replace(/:\d+$/, `:${port}`),
      DATABASE_URL: scene.dsn,
      NATS_URL: `nats://${scene.nats.url}`,
      ...{ NODE_ENV: 'production', HOME: home, TMPDIR: home },
    },
    { program: [...image.entryPoint, ...pod.args], cwd },
  )
  t.teardown(() => relay.kill())
  return {
    relay,
    probe: async (probe) => {
      const page = only(probe, /path: (\S+),/)
      try {
        return (await fetch(`http://127.0.0.1:${port}${page}`)).status
      } catch {
        return undefined
      }
    },
  }
}

async function openStream(t: ExecutionContext): Promise<Scene> {
  const scene = await openScene(t)
  const { streams } = await jetstreamManager(scene.nc)
  await streams.add(JSON.parse(recipe('stream.json')) as StreamConfig)
  return scene
}

test('image and manifest name the same port, and the relay ends within the time that a pod has', (t) => {
  const ofHealth = Number(only(pod.env['PGLISTEN_RELAY_HEALTH']!, /:(\d+)$/))
  const ofProbes = [pod.liveness, pod.readiness].map((probe) => Number(only(probe, /port: (\d+)/)))
  t.deepEqual([image.port, pod.port, ofHealth, ...ofProbes], Array<number>(5).fill(8080))
  // `graceMs` of the relay is 5 s.
  t.true(pod.graceMs > 5000)
  t.is(pod.replicas, 2)
})

test('pods are ready, are replaced one by one under load, and lose nothing outside of gaps', async (t) => {
  const scene = await openStream(t)
  const folder = openImage(t)
  const pods: Pod[] = []
  const start = async () => {
    const one = await startPod(t, scene, folder)
    pods.push(one)
    await waitFor(async () => (await one.probe(pod.readiness)) === 200, { what: 'a ready pod' })
    t.is(await one.probe(pod.liveness), 200)
    return one
  }
  for (let count = 0; count < pod.replicas; count += 1) await start()
  const leader = () => waitFor(() => pods.find(({ relay }) => relay.role === 'leading'))
  await leader()
  const over = new AbortController()
  const writing = (async () => {
    while (!over.signal.aborted) {
      await scene.writer.write(20)
      await scene.writer.write(300, { together: true })
    }
  })()
  // A rolling update with `maxUnavailable: 1, maxSurge: 0`: each pod ends, and another one comes.
  for (let count = 0; count < 2 * pod.replicas; count += 1) {
    const ending = await leader()
    const endedAt = performance.now()
    await ending.relay.kill('SIGTERM')
    t.is(ending.relay.ended, 0, ending.relay.errors)
    t.true(performance.now() - endedAt < pod.graceMs)
    t.is(await ending.probe(pod.liveness), undefined)
    pods.splice(pods.indexOf(ending), 1)
    await leader()
    t.log(`another one leads after ${Math.round(performance.now() - endedAt)} ms`)
    await start()
  }
  over.abort()
  await writing
  await scene.writer.write(1)
  const { last } = scene.writer
  const messages = await waitFor(async () => {
    const all = await readStream(scene.nc, 'PG')
    return all.some(({ payload }) => payload === `${last}:`) && all
  })
  t.deepEqual(counterFaults(messages), [])
  const verdict = scene.writer.judge(asRead(messages))
  t.like(verdict, { lost: [], doubled: [], reordered: [], alien: [] })
  t.log(`${verdict.delivered} of ${verdict.written} delivered, the others in gaps`)
  // The root file system is read-only.
  t.deepEqual(readdirSync(folder.home), [])
  t.deepEqual(readdirSync(folder.cwd), ['node_modules'])
})

test('a pod that cannot reach NATS or PostgreSQL is alive and not ready, until it can', async (t) => {
  const scene = await openStream(t)
  const one = await startPod(t, scene, openImage(t))
  await waitFor(async () => (await one.probe(pod.readiness)) === 200)
  await scene.nats.kill()
  await waitFor(async () => (await one.probe(pod.readiness)) === 503)
  t.is(await one.probe(pod.liveness), 200)
  // A pod may be ended then too.
  const other = await startPod(t, scene, openImage(t))
  await waitFor(async () => (await other.probe(pod.liveness)) === 200)
  t.is(await other.probe(pod.readiness), 503)
  await other.relay.kill('SIGTERM')
  t.is(other.relay.ended, 0, other.relay.errors)
  await scene.nats.start()
  await waitFor(async () => (await one.probe(pod.readiness)) === 200)
})
