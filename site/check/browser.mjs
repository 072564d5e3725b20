// Looks at the built site in Chromium: what axe says of it, whether it fits its window, and whether the search finds things.

import fs from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { chromium } from 'playwright-core'
import { serve } from './serve.mjs'

const PATHS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']
const AXE = fs.readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** A page of each kind, and those with the widest tables: looked at in each size and scheme. The others are looked at in one. */
const PAGES = [
  'index',
  'start',
  'guide',
  'guide/delivery',
  'troubleshooting',
  'poolers-and-managed',
  'about/comparison',
  'durable',
  'relay',
  'examples',
  'examples/with/next',
  'api/pglisten/classes/Listener',
].map((name) => `${name}.html`)
const SIZES = { desktop: { width: 1440, height: 900 }, phone: { width: 390, height: 844 } }
const SCHEMES = /** @type {const} */ (['light', 'dark'])
const WORDS = {
  reconnect: /reliability|guide|faq|start/,
  restart: /start\.html#survive-a-restart/,
  gap: /gap|start|delivery/,
  PgBouncer: /poolers/,
  IAM: /configuration|poolers|faq/,
  Prisma: /recipes|faq|configuration/,
  'Next.js': /bundlers-and-frameworks\.html#nextjs/,
  Jest: /bundlers|testing/,
  Kubernetes: /recipes\.html#kubernetes|examples\/container/,
  NestJS: /examples\/with\/nestjs/,
  Drizzle: /examples\/with\/drizzle/,
  'graphile-worker': /examples\/with\/graphile-worker/,
  'nothing arrives': /troubleshooting\.html#nothing-arrives/,
}

/**
 * @param {object} options
 * @param {string} options.folder The built site.
 * @param {string} options.base
 * @param {string} options.pictures Where the pictures of the pages go.
 * @param {string[]} options.codes The error codes, each of which the search has to find in Troubleshooting.
 * @returns {Promise<string[]>} What is wrong.
 */
async function checkInBrowser({ folder, base, pictures, codes }) {
  const program = process.env['PGLISTEN_CHROMIUM'] || PATHS.find((it) => fs.existsSync(it))
  if (program === undefined) {
    return [`Expected Chromium at PGLISTEN_CHROMIUM or one of ${PATHS.join(', ')}, got none`]
  }
  fs.rmSync(pictures, { recursive: true, force: true })
  const site = await serve(folder, base)
  try {
    const browser = await chromium.launch({
      executablePath: program,
      args: ['--no-sandbox', '--disable-dev-shm-usage'],
    })
    try {
      const problems = []
      for (const [size, viewport] of Object.entries(SIZES)) {
        for (const colorScheme of SCHEMES) {
          const context = await browser.newContext({
            viewport,
            colorScheme,
            reducedMotion: 'reduce',
          })
          const name = `${size}-${colorScheme}`
          problems.push(...(await look(context, site.url, path.join(pictures, name), name)))
          await context.close()
        }
      }
      const all = /** @type {string[]} */ (fs.readdirSync(folder, { recursive: true }))
        .map((file) => file.replaceAll(path.sep, '/'))
        .filter(
          (file) =>
            file.endsWith('.html') && !/^(api\/|404|v\d)/.test(file) && !PAGES.includes(file),
        )
      const wide = await browser.newContext({ viewport: SIZES.desktop, reducedMotion: 'reduce' })
      problems.push(...(await look(wide, site.url, path.join(pictures, 'others'), 'others', all)))
      problems.push(...(await search(await browser.newPage(), site.url, codes)))
      return problems
    } finally {
      await browser.close()
    }
  } finally {
    await site.stop()
  }
}

/**
 * @param {import('playwright-core').BrowserContext} context
 * @param {string} url
 * @param {string} pictures
 * @param {string} name
 * @param {string[]} [files]
 */
async function look(context, url, pictures, name, files = PAGES) {
  const problems = []
  const page = await context.newPage()
  page.on('pageerror', (error) => problems.push(`${page.url()} ${name}: ${error.message}`))
  for (const file of files) {
    await page.goto(url + file, { waitUntil: 'networkidle' })
    await page.screenshot({ path: path.join(pictures, `${file.replaceAll('/', '-')}.png`) })
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)
    if (wide > 0) problems.push(`${file} ${name}: ${wide} px wider than its window`)
    await page.evaluate(AXE)
    const found = await page.evaluate(async () => {
      // @ts-expect-error -- defined by the script above
      const { violations } = await window.axe.run()
      return violations.map(
        (/** @type {any} */ { id, nodes }) =>
          `${id}: ${nodes.length} × ${nodes[0].html.slice(0, 160)}`,
      )
    })
    problems.push(...found.map((/** @type {string} */ it) => `${file} ${name}: ${it}`))
  }
  return problems
}

/**
 * @param {import('playwright-core').Page} page
 * @param {string} url
 * @param {string[]} codes
 */
async function search(page, url, codes) {
  /** @type {string[]} */
  const problems = []
  await page.goto(`${url}start.html`, { waitUntil: 'networkidle' })
  await page.locator('#local-search button, .VPNavBarSearch button').first().click()
  const input = page.locator('.VPLocalSearchBox input')
  const results = page.locator('.VPLocalSearchBox .result')
  const wanted = [
    ...Object.entries(WORDS),
    ...codes.map(
      (code) =>
        /** @type {const} */ ([
          code,
          new RegExp(`troubleshooting\\.html#(${code.toLowerCase()}|families)$`),
        ]),
    ),
  ]
  for (const [word, where] of wanted) {
    await input.fill(word)
    const hrefs = await resultsFor(page, results, where)
    if (!hrefs.some((href) => where.test(href)))
      problems.push(
        `the search for ${word} has ${hrefs.length} results, none of them ${where}: ${hrefs.slice(0, 5).join(' ')}`,
      )
  }
  return problems
}

/**
 * The first results, once one of them is where it should be, or after five seconds.
 * @param {import('playwright-core').Page} page
 * @param {import('playwright-core').Locator} results
 * @param {RegExp} where
 */
async function resultsFor(page, results, where) {
  const end = Date.now() + 5_000
  for (;;) {
    const hrefs = await results.evaluateAll((all) =>
      all.slice(0, 8).map((it) => /** @type {HTMLAnchorElement} */ (it).href),
    )
    if (hrefs.some((href) => where.test(href)) || Date.now() > end) return hrefs
    await page.waitForTimeout(100)
  }
}

const work = path.join(import.meta.dirname, '../../target/site')
const troubleshooting = fs.readFileSync(
  path.join(import.meta.dirname, '../../docs/troubleshooting.md'),
  'utf8',
)
const codes = [...troubleshooting.matchAll(/^(?:### |\| )`(ERR_PGLISTEN_\w+)`/gm)].map((match) =>
  String(match[1]),
)
const problems = await checkInBrowser({
  folder: path.join(work, 'html'),
  base: process.env['SITE_BASE'] || '/',
  pictures: path.join(work, 'pictures'),
  codes,
})
for (const problem of problems) console.error(problem)
process.exitCode = problems.length > 0 ? 1 : 0
