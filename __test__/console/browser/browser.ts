// A real browser for tests of pages: Debian's Chromium, if it is there.

import { existsSync } from 'node:fs'
import type { ExecutionContext } from 'ava'
import { type Browser, type Page, chromium } from 'playwright-core'

const PATHS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']

/** The browser's program: `PGLISTEN_CHROMIUM`, or where Debian and Ubuntu put it; `undefined` when there is none. */
export const browserPath = process.env['PGLISTEN_CHROMIUM'] || PATHS.find((it) => existsSync(it))

let launched: Promise<Browser> | undefined

/** The browser that a file's tests share. */
async function browser(): Promise<Browser> {
  launched ??= chromium.launch({
    executablePath: browserPath!,
    args: ['--no-sandbox', '--disable-dev-shm-usage'],
  })
  return launched
}

export async function closeBrowser(): Promise<void> {
  await (await launched)?.close()
}

export interface Seen {
  page: Page
  /** What went wrong on the page: exceptions, and what its security policy forbade. */
  errors: string[]
}

/** Opens a page in a context of its own. The end of the test closes it. */
export async function openPage(
  t: ExecutionContext,
  url: string,
  { width = 1280, height = 800, isDark = false } = {},
): Promise<Seen> {
  const context = await (
    await browser()
  ).newContext({
    viewport: { width, height },
    colorScheme: isDark ? 'dark' : 'light',
    reducedMotion: 'reduce',
  })
  t.teardown(() => context.close())
  const page = await context.newPage()
  const errors: string[] = []
  page.on('pageerror', (error) => errors.push(error.message))
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(message.text())
  })
  page.on('dialog', (dialog) => {
    errors.push(`dialog: ${dialog.message()}`)
    void dialog.dismiss()
  })
  await page.goto(url)
  return { page, errors }
}
