// The page in a browser. Skipped, and counted as such, where there is no Chromium.

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import anyTest, { type ExecutionContext, type TestFn } from 'ava'
import type { Page } from 'playwright-core'
import { FaultProxy } from '../../../lab/network/fault-proxy.js'
import { serverDsn } from '../../../lab/server/test-server.js'
import { timely } from '../../../lab/stalls.js'
import { waitFor } from '../../../lab/wait.js'
import { ConsoleService } from '../../../packages/console/src/service.js'
import { ConsoleWeb } from '../../../packages/console/src/web.js'
import { notify, run, uniqueChannel } from '../../support/listener.js'
import { browserPath, closeBrowser, openPage } from './browser.js'
import { openConsole } from '../console.js'

const test: Pick<TestFn, 'serial'> =
  browserPath === undefined
    ? { serial: anyTest.serial.skip as unknown as TestFn['serial'] }
    : anyTest

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

anyTest.after.always(closeBrowser)

const text = (page: Page, selector: string) => page.locator(selector).innerText()

/** The texts of the visible rows of the list, from the top. */
const rows = (page: Page) => page.locator('#list .row:not([hidden])').allInnerTexts()

async function until(
  page: Page,
  selector: string,
  wanted: RegExp,
  timeoutMs = 15_000,
): Promise<void> {
  await waitFor(async () => wanted.test(await text(page, selector)), {
    what: `${selector} to be ${wanted}`,
    timeoutMs,
  })
}

/** What axe-core finds wrong. It is run beside the page's scripts, past the page's policy, which forbids it as it should. */
async function violations(page: Page): Promise<string[]> {
  await page.evaluate(AXE)
  return page.evaluate(async () => {
    interface Result {
      violations: Array<{ id: string; nodes: Array<{ html: string }> }>
    }
    const { axe } = globalThis as unknown as { axe: { run: () => Promise<Result> } }
    const result = await axe.run()
    return result.violations.map(({ id, nodes }) => `${id}: ${nodes[0]?.html}`)
  })
}

async function open(t: ExecutionContext, view = {}, options = {}) {
  const channels = [uniqueChannel(), uniqueChannel()] as const
  const opened = await openConsole(t, { channels: [...channels], ...options })
  const seen = await openPage(t, opened.url.href, view)
  await until(seen.page, '#state', /Listening/)
  return { ...seen, opened, channels, channel: channels[0] }
}

for (const [name, view] of Object.entries({
  'a desktop, light': {},
  'a desktop, dark': { isDark: true },
  'a phone, light': { width: 390, height: 844 },
  'a small phone, dark': { width: 360, height: 640, isDark: true },
})) {
  test.serial(`on ${name}, everything fits and axe finds nothing wrong`, async (t) => {
    const { page, errors, channel } = await open(t, view, { allowSend: true })
    await notify(channel, '{"id": 1, "name": "a value that needs more room than a phone has"}')
    await until(page, '#channel-rows', /\b1\b/)
    t.deepEqual(await violations(page), [])
    await page.locator('#send summary').click()
    await page.locator('#list .row').first().click()
    await until(page, '#detail-payload', /"id": 1/)
    t.deepEqual(await violations(page), [])
    const overflow = await page.evaluate(
      () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
    )
    t.is(overflow, 0)
    t.deepEqual(errors, [])
  })
}

test.serial('the token leaves the address, and a page without it asks for it', async (t) => {
  const { page, opened } = await open(t)
  t.is(page.url(), `${opened.url.origin}/`)
  await page.reload()
  await until(page, '#state', /Listening/)
  const other = await openPage(t, opened.url.origin)
  t.true(await other.page.locator('#login').isVisible())
  t.deepEqual(await violations(other.page), [])
  await other.page.locator('#login-token').fill('wrong')
  await other.page.keyboard.press('Enter')
  await until(other.page, '#login-error', /not the token/)
  await other.page.locator('#login-token').fill(opened.url.href)
  await other.page.keyboard.press('Enter')
  await until(other.page, '#state', /Listening/)
})

test.serial('the link to the messages leads there, and is no token', async (t) => {
  const { page, errors } = await open(t)
  const isThere = () => page.evaluate(() => document.activeElement?.id === 'messages')
  await page.keyboard.press('Tab')
  await page.keyboard.press('Enter')
  await waitFor(isThere, { what: 'the messages to be reached' })
  t.true(page.url().endsWith('/#messages'))
  await page.reload()
  await until(page, '#state', /Listening/)
  t.false(await page.locator('#login').isVisible())
  t.deepEqual(errors, [])
})

test.serial('a hostile payload is shown and does not run', async (t) => {
  const { page, errors, channel, opened } = await open(t)
  const hostile = [
    '<img src=x onerror="alert(1)">',
    '</script><script>alert(1)</script>',
    '{"a": "<svg onload=alert(1)>", "__proto__": {"x": 1}}',
    `javascript:alert(1)`,
  ]
  for (const payload of hostile) await notify(channel, payload)
  await waitFor(async () => (await rows(page)).length === hostile.length)
  const shown = (await rows(page)).toReversed()
  for (const [index, payload] of hostile.entries()) t.true(shown[index]!.includes(payload))
  for (let index = 0; index < hostile.length; index += 1) {
    await page.locator('#list .row:not([hidden])').nth(index).click()
  }
  const nasty = '"><img src=x onerror=alert(1)>'
  t.is((await opened.act('/channels/add', { channel: nasty })).status, 200)
  await until(page, '#channel-rows', /onerror/)
  t.is(await page.locator('main img, main svg, main script').count(), 0)
  t.deepEqual(errors, [])
})

test.serial('numbers of any length are shown as they were sent', async (t) => {
  const { page, channel } = await open(t)
  await notify(channel, '{"id":12345678901234567890,"price":1.10,"id":2,"none":[],"deep":[{}]}')
  await page.locator('#list .row').first().click()
  t.is(
    await page.locator('#detail-payload').textContent(),
    '{\n  "id": 12345678901234567890,\n  "price": 1.10,\n  "id": 2,\n  "none": [],\n  "deep": [\n    {}\n  ]\n}',
  )
})

test.serial('5,000 messages a second: counts are exact, and the page answers', async (t) => {
  const { page, errors, channel } = await open(t)
  for (let second = 0; second < 5; second += 1) {
    const started = performance.now()
    await run(`SELECT pg_notify('${channel}', i::text) FROM generate_series(1, 5000) AS i`)
    // A page that is frozen answers late.
    await timely(t, 'a frame', 1000, () =>
      page.evaluate(
        () =>
          new Promise((resolve) => {
            requestAnimationFrame(resolve)
          }),
      ),
    )
    await waitFor(() => performance.now() - started >= 1000)
    if (second === 2) await until(page, '#sampling', /^Showing \d+ of [\d,]+ a second/)
  }
  await until(page, '#channel-rows', /25,000/)
  t.true((await page.locator('#list .row').count()) < 60)
  t.deepEqual(errors, [])
})

test.serial('search, pause and keyboard', async (t) => {
  const { page, channel } = await open(t)
  for (let number = 1; number <= 40; number += 1) await notify(channel, `message ${number};`)
  await waitFor(async () => (await rows(page))[0]?.includes('message 40;'))
  await page.locator('#search').fill('MESSAGE 7')
  await waitFor(async () => (await rows(page)).length === 1)
  await page.locator('#search').fill('nothing like it')
  await until(page, '#no-messages', /matches/)
  await page.locator('#search').fill('')
  await waitFor(async () => (await rows(page)).length > 10)

  await page.keyboard.press('Tab')
  t.is(await page.evaluate(() => document.activeElement?.id), 'pause')
  await page.keyboard.press('Enter')
  await notify(channel, 'unseen')
  await until(page, '#pause', /Resume \(1 newer\)/)
  t.true((await rows(page))[0]!.includes('message 40;'))
  await page.keyboard.press('Enter')
  await waitFor(async () => (await rows(page))[0]?.includes('unseen'))

  await page.keyboard.press('Tab')
  t.is(await page.evaluate(() => document.activeElement?.id), 'list')
  await page.keyboard.press('ArrowDown')
  await page.keyboard.press('ArrowDown')
  await until(page, '#detail-payload', /^message 40;$/)
  // What is read stands still.
  await notify(channel, 'newer')
  await until(page, '#pause', /1 newer/)
  await page.keyboard.press('End')
  await until(page, '#detail-payload', /^message 1;$/)
  const chosen = await page.locator('#list').getAttribute('aria-activedescendant')
  t.true(await page.locator(`#${chosen}`).isVisible())
  await page.keyboard.press('Home')
  await until(page, '#detail-payload', /^unseen$/)
  await page.keyboard.press('Escape')
  t.false(await page.locator('#detail').isVisible())
  await page.keyboard.press(' ')
  await waitFor(async () => (await rows(page))[0]?.includes('newer'))
})

test.serial('channels can be added and removed, and a wrong name says why', async (t) => {
  const { page, channels } = await open(t)
  await page.locator('#channel-name').fill('ä'.repeat(32))
  await page.keyboard.press('Enter')
  await until(page, '#channel-error', /63/)
  const added = uniqueChannel()
  await page.locator('#channel-name').fill(added)
  await page.keyboard.press('Enter')
  await until(page, '#channel-rows', new RegExp(added))
  await page.getByRole('button', { name: `Stop listening to ${channels[0]}` }).click()
  await waitFor(async () => !(await text(page, '#channel-rows')).includes(channels[0]))
  t.is(await page.locator('#channel-rows tr').count(), 2)
})

test.serial('what the page sends is what arrives', async (t) => {
  const { page, channel } = await open(t, {}, { allowSend: true })
  await page.locator('#send summary').click()
  await page.locator('#send-channel').fill(channel)
  await page.locator('#send-payload').fill('{"from": "the page"}')
  await page.getByRole('button', { name: 'Notify' }).click()
  await until(page, '#send-result', /Sent 20 bytes/)
  await waitFor(async () => (await rows(page)).length === 1)
  t.true((await rows(page))[0]!.includes('{"from": "the page"}'))
})

test.serial('the server goes and comes back: since when, why, and the gap', async (t) => {
  const direct = await serverDsn()
  const proxy = await FaultProxy.start(Number(new URL(direct).port))
  t.teardown(() => proxy.stop())
  const { page, channel } = await open(t, {}, { dsn: proxy.dsn(direct) })
  await notify(channel, 'before')
  await waitFor(async () => (await rows(page)).length === 1)
  proxy.set({ refuse: true })
  proxy.reset()
  await until(page, '#state', /^Server away since \d\d:\d\d:\d\d \(/)
  t.regex(await text(page, '#announcements'), /^Server away since/)
  proxy.clear()
  await until(page, '#state', /^Listening$/)
  await until(page, '#gap-rows', /Gap: messages of [\d.]+ s may be missing/)
  await notify(channel, 'after')
  await waitFor(async () => (await rows(page))[0]?.includes('after'))
  const [after, gap, before] = await rows(page)
  t.regex(after!, /after/)
  t.regex(gap!, /Gap: /)
  t.regex(before!, /before/)
})

test.serial('the console goes and comes back, with its token or with another', async (t) => {
  const channel = uniqueChannel()
  const token = 'x'.repeat(32)
  const dsn = await serverDsn()
  const start = async (port: number, token: string) => {
    const options = { channels: [channel], dsn, host: '127.0.0.1', port, origins: [], token }
    const service = new ConsoleService({ ...options, allowSend: false, rate: 50 }, () => {})
    const web = new ConsoleWeb(service)
    const url = new URL(await web.listen(options))
    const running = service.run()
    const stop = async () => {
      web.close()
      await service.close()
      await running
    }
    return { url, stop }
  }
  const first = await start(0, token)
  const port = Number(first.url.port)
  const { page } = await openPage(t, first.url.href)
  await until(page, '#state', /Listening/)
  await notify(channel, 'one')
  await waitFor(async () => (await rows(page)).length === 1)
  await first.stop()
  await until(page, '#state', /^Console unreachable since/)
  const second = await start(port, token)
  await until(page, '#state', /Listening/, 30_000)
  await notify(channel, 'two')
  await waitFor(async () => (await rows(page))[0]?.includes('two'))
  t.true((await rows(page)).some((row) => /This page had no connection for/.test(row)))
  t.true((await rows(page)).some((row) => /The console was started again/.test(row)))
  await second.stop()
  await until(page, '#state', /^Console unreachable since/)
  const third = await start(port, 'y'.repeat(32))
  t.teardown(third.stop)
  await until(page, '#login-error', /started again/, 30_000)
})
