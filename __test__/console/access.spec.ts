// Who gets in: the token, the cookie, the addresses that requests name, and the limits.

import type { IncomingMessage } from 'node:http'
import test from 'ava'
import { waitFor } from '../../lab/wait.js'
import { Access } from '../../packages/console/src/access.js'
import { uniqueChannel } from '../support/listener.js'
import { openConsole } from './console.js'

test('without the cookie nothing is told and nothing can be done', async (t) => {
  const opened = await openConsole(t, { allowSend: true })
  const headers = { cookie: undefined }
  for (const [method, path] of [
    ['GET', '/events'],
    ['POST', '/channels/add'],
    ['POST', '/send'],
  ] as const) {
    const { status } = await opened.send(method, `${opened.base}${path}`, { headers })
    t.is(status, 401, path)
  }
  const wrong = { cookie: `${opened.cookie.slice(0, -1)}~` }
  const { status } = await opened.send('GET', `${opened.base}/events`, { headers: wrong })
  t.is(status, 401)
})

test('the token is exchanged for a cookie that scripts, other sites and other paths do not get', async (t) => {
  const opened = await openConsole(t)
  for (const token of ['', `${opened.token}x`, opened.token.slice(1), 7, null]) {
    const { status, headers } = await opened.send('POST', '/login', { body: { token } })
    t.is(status, 401)
    t.is(headers['set-cookie'], undefined)
  }
  const { status, headers } = await opened.logIn()
  t.is(status, 200)
  const [cookie] = headers['set-cookie']!
  t.regex(cookie!, /; HttpOnly; SameSite=Strict$/)
  t.true(cookie!.includes(`; Path=${opened.base}/;`))
  t.false(cookie!.includes(opened.token))
  // The path is as hard to guess as the token.
  t.regex(opened.base, /^\/s\/[\w-]{32}$/)
  t.is((await opened.send('GET', '/s/other/events')).status, 401)
})

test('behind a proxy that encrypts, the cookie is for encrypted connections only', (t) => {
  const origin = 'https://console.example.com'
  const access = new Access({ origins: [origin, 'http://127.0.0.1:7433'] })
  const request = (given: string) => ({ headers: { origin: given } }) as IncomingMessage
  t.regex(access.cookie(request(origin)), /; Secure$/)
  t.regex(access.cookie(request('http://127.0.0.1:7433')), /; SameSite=Strict$/)
})

test('a request by another name of this machine is refused, whatever it asks for', async (t) => {
  const opened = await openConsole(t)
  for (const host of ['evil.example', `evil.example:${opened.url.port}`, '127.0.0.1', undefined]) {
    const headers = { host: host ?? 'localhost:1' }
    t.is((await opened.send('GET', '/', { headers })).status, 421)
    t.is((await opened.send('GET', `${opened.base}/events`, { headers })).status, 421)
  }
  const headers = { host: `localhost:${opened.url.port}` }
  t.is((await opened.send('GET', '/', { headers })).status, 200)
})

test('the files of the page are the same for whoever asks, and only what is known by its address is answered', async (t) => {
  const opened = await openConsole(t)
  const own = await opened.send('GET', '/main.js', { headers: { cookie: undefined } })
  t.is(own.status, 200)
  for (const origin of ['https://evil.example', 'null']) {
    for (const path of ['/', '/main.js', '/style.css', '/uplot.js']) {
      const headers = { origin, cookie: undefined, 'sec-fetch-site': 'cross-site' }
      t.is((await opened.send('GET', path, { headers })).status, 200, path)
      t.is((await opened.send('GET', path, { headers: { ...headers, host: 'a.b' } })).status, 421)
    }
    t.is((await opened.send('GET', '/none', { headers: { origin } })).status, 403)
  }
})

test('a page of another site gets nothing, though the browser would send the cookie', async (t) => {
  const opened = await openConsole(t, { allowSend: true })
  const foreign: Array<Record<string, string | undefined>> = [
    { origin: 'https://evil.example' },
    { origin: 'null' },
    { origin: `http://127.0.0.1:${Number(opened.url.port) + 1}` },
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'same-site' },
  ]
  for (const headers of foreign) {
    const what = JSON.stringify(headers)
    const events = await opened.send('GET', `${opened.base}/events`, { headers })
    t.is(events.status, 403, what)
    t.is(events.headers['access-control-allow-origin'], undefined)
    const body = { token: opened.token }
    t.is((await opened.send('POST', '/login', { headers, body })).status, 403, what)
    const sent = await opened.send('POST', `${opened.base}/send`, { headers, body })
    t.is(sent.status, 403, what)
  }
  // What a form can send has no origin in old browsers, and never this type.
  const url = `${opened.base}/send`
  const headers = { origin: undefined }
  t.is((await opened.send('POST', url, { headers, body: '{}' })).status, 403)
  const form = { 'content-type': 'text/plain' }
  t.is((await opened.send('POST', url, { headers: form, body: '{}' })).status, 415)
})

test('every answer forbids scripts, frames and addresses of others', async (t) => {
  const opened = await openConsole(t)
  const missing = await opened.send('GET', '/nothing')
  t.is(missing.status, 401)
  for (const { headers } of [await opened.send('GET', '/'), missing, await opened.logIn()]) {
    const policy = headers['content-security-policy'] as string
    t.true(policy.startsWith("default-src 'none'; script-src 'self';"))
    t.true(policy.includes("frame-ancestors 'none'"))
    t.false(/unsafe|https?:|\*/.test(policy))
    t.is(headers['referrer-policy'], 'no-referrer')
    t.is(headers['x-content-type-options'], 'nosniff')
    t.is(headers['cache-control'], 'no-store')
  }
  const { text } = await opened.send('GET', '/')
  const urls = [...text.matchAll(/(?:src|href)="([^"]*)"/g)].map((match) => match[1]!)
  t.true(urls.length >= 4)
  for (const url of urls.filter((it) => !it.startsWith('#'))) {
    t.is((await opened.send('GET', url)).status, 200, url)
  }
  t.notRegex(text, / style=| on\w+=|<style|<script(?! type="module" src=)/)
})

test('files beside those of the page cannot be had', async (t) => {
  const opened = await openConsole(t)
  for (const path of ['/../package.json', '/%2e%2e/package.json', '/tsconfig.json', '/x']) {
    t.is((await opened.send('GET', path)).status, 401, path)
  }
})

test('bodies, pages and channels have limits', async (t) => {
  const opened = await openConsole(t)
  const large = await opened.act('/channels/add', { channel: 'x'.repeat(70_000) })
  t.is(large.status, 413)
  for (const body of ['', '{', '7', 'null']) {
    t.is((await opened.act('/channels/add', body)).status, 400, body)
  }
  const pages = []
  for (let count = 0; count < 20; count += 1) pages.push(await opened.page(t))
  const { status, text } = await opened.send('GET', `${opened.base}/events`)
  t.is(status, 503)
  t.regex(text, /at most 20 open pages/)
  pages[0]!.close()
  await waitFor(async () => {
    const page = await opened.page(t).catch(() => undefined)
    return page !== undefined
  })
})

test('a page can add and remove channels, and their names are checked', async (t) => {
  const opened = await openConsole(t)
  const page = await opened.page(t)
  for (const channel of ['', 'ä'.repeat(32), 'a\0b', 7, null]) {
    const { status, text } = await opened.act('/channels/add', { channel })
    t.is(status, 400, String(channel))
    t.regex(text, /channel/i)
  }
  const channel = uniqueChannel()
  t.is((await opened.act('/channels/add', { channel })).status, 200)
  t.is((await opened.act('/channels/add', { channel })).status, 200)
  t.deepEqual(
    page.snapshots.at(-1)?.channels.map(({ name }) => name),
    [channel],
  )
  t.is((await opened.act('/channels/remove', { channel })).status, 200)
  await waitFor(() => page.snapshots.at(-1)?.channels.length === 0)
})
