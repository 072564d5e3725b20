// The examples of web frameworks: browsers share one session, hear what is notified, are told of gaps, and leave nothing behind.

import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { appendFile, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { Browser, root, runBeside, start, startExample } from './support.js'
import { nodeOfExamples } from '../../scripts/lib/examples.mjs'
import { openDatabase } from '../support/example.js'
import { waitFor } from '../../lab/wait.js'

/** How each says that it is there, and how it ends. */
const FRAMEWORKS = {
  express: { address: /^(http:\S+)$/m, codes: [0] },
  fastify: { address: /^(http:\S+)$/m, codes: [0] },
  // Nest sends itself the signal again once its hooks are through.
  nestjs: { address: /^(http:\S+)$/m, codes: [0, 143, 'SIGTERM'] },
  next: { address: /(http:\/\/127\.0\.0\.1:\d+)/, codes: [0, 143, 'SIGTERM'] },
}

async function open(t: ExecutionContext, name: keyof typeof FRAMEWORKS, env = {}) {
  const { address, codes } = FRAMEWORKS[name]
  const example = await startExample(t, name, { env })
  const [, url] = await example.program.says(address)
  // Some serve before they listen, and say so. The streams of Next.js wait for the listener.
  if (name !== 'next') {
    await waitFor(async () => (await fetch(`${url}/ready`)).status === 200, { what: 'to be ready' })
  }
  return {
    ...example,
    url: url!,
    browse: () => Browser.open(t, `${url}/orders/events`),
    change: (id: string) =>
      name === 'next'
        ? fetch(`${url}/orders/events`, { method: 'POST', body: id })
        : fetch(`${url}/orders/${id}`, { method: 'POST' }),
    endsWell: async () => {
      const code = await example.program.end()
      t.true((codes as unknown[]).includes(code), `${code}\n${example.program.output()}`)
      await example.isGone()
    },
  }
}

const sessions = `SELECT count(*)::int FROM pg_stat_activity
  WHERE datname = current_database() AND application_name <> 'the test'`

for (const name of Object.keys(FRAMEWORKS) as (keyof typeof FRAMEWORKS)[]) {
  test.serial(
    `${name}: browsers share one session, and are told where something may be missing`,
    async (t) => {
      const { browse, change, ask, severAll, run, endsWell } = await open(t, name)
      const browsers = []
      for (let index = 0; index < 10; index += 1) browsers.push(await browse())
      for (const browser of browsers) await browser.until('event: again')
      t.is((await change('42')).status, 204)
      for (const browser of browsers) await browser.until('data: 42')
      // One listens, and one is of the pool.
      t.true((await ask<number>(sessions)) <= 2)

      await run("SELECT pg_notify('orders', E'lines\\nevent: forged\\r\\rdata: 0')")
      await browsers[0]!.until('data: data: 0\n\n')
      t.false(/^event: forged/m.test(browsers[0]!.text))

      await severAll()
      await run("SELECT pg_notify('orders', '43')")
      for (const browser of browsers) {
        await waitFor(
          () => browser.count('event: again') === 2 || browser.text.includes('data: 43'),
        )
      }
      await waitFor(() => change('44').then(({ status }) => status === 204))
      for (const browser of browsers) {
        await browser.until('data: 44')
        t.is(browser.count('event: again'), 2)
        t.is(browser.count('data: 42'), 1)
      }

      for (const browser of browsers) browser.leave()
      await waitFor(
        () =>
          ask<boolean>(`SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'UNLISTEN "orders"%'
        AND datname = current_database())`),
        { what: 'the channel to be given up' },
      )
      const last = await browse()
      await last.until('event: again')
      await endsWell()
    },
  )
}

test.serial('nestjs: what a browser does not read is not kept without a bound', async (t) => {
  const heap = { NODE_OPTIONS: '--max-old-space-size=64' }
  const { url, browse, run, program, endsWell } = await open(t, 'nestjs', heap)
  const resting = request(`${url}/orders/events`).end()
  t.teardown(() => resting.destroy())
  const [response] = (await once(resting, 'response')) as [IncomingMessage]
  response.pause()
  const reading = await browse()
  await reading.until('event: again')
  for (let from = 1; from <= 20_000; from += 1000)
    await run(`SELECT pg_notify('orders', lpad(n::text, 7000, 'x'))
      FROM generate_series(${from}, ${from + 999}) AS n`)
  await run("SELECT pg_notify('orders', 'last')")
  await reading.until('data: last\n')
  t.notRegex(program.output(), /heap/)
  resting.destroy()
  await endsWell()
})

test.serial('next: a module that is loaded anew makes no further listener', async (t) => {
  const { browse, change, ask, program, endsWell } = await open(t, 'next')
  const browser = await browse()
  await browser.until('event: again')
  const file = path.join(root, 'examples/with/next/lib/listener.js')
  const before = await readFile(file)
  t.teardown(() => writeFile(file, before))
  for (const time of [1, 2]) {
    await appendFile(file, `console.log('loaded again: ${time}')\n`)
    await waitFor(async () => {
      await change(`${time}`)
      return program.output().includes(`loaded again: ${time}`)
    })
    const another = await browse()
    await another.until('event: again')
  }
  await change('43')
  await browser.until('data: 43')
  t.true((await ask<number>(sessions)) <= 2)
  await endsWell()
})

test.serial('next: what is built without a database serves with one', async (t) => {
  const { dsn } = await openDatabase(t)
  const program = 'examples/with/node_modules/next/dist/bin/next'
  const env = { NEXT_TELEMETRY_DISABLED: '1', DATABASE_URL: 'postgres://127.0.0.1:1/none' }
  await runBeside(t, [program, 'build', 'examples/with/next'], env)
  const args = ['start', 'examples/with/next', '--hostname', '127.0.0.1', '--port', '0']
  const server = start(t, nodeOfExamples(), [program, ...args], { ...env, DATABASE_URL: dsn })
  const [, url] = await server.says(FRAMEWORKS.next.address)
  const browser = await Browser.open(t, `${url}/orders/events`)
  await browser.until('event: again')
  await fetch(`${url}/orders/events`, { method: 'POST', body: '42' })
  await browser.until('data: 42')
  t.is(browser.count('event: again'), 1)
})
