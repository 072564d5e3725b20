// `npm run site`: builds the documentation site from docs/ and the sources' documentation, and checks its links.
//
//   npm run site              builds it, and says where it is
//   npm run site -- --serve   also serves it until Ctrl-C
//   npm run site -- --versions  also builds that of each release that has one, below it as `v1.2/`, and lists them in its menu
//   npm run site -- --llms    only writes llms.txt anew
//   npm run site -- --check   also opens it in Chromium: search, accessibility, screenshots, at two widths, light and dark
//
// SITE_BASE is the path below which it will be served ("/" by default), SITE_REPOSITORY the address of the repository, to which
// "Edit this page" and links to sources lead; without it there is neither. SITE_ADDRESS is where the site is read, to which an older
// version leads back. SITE_OLD names a version that is built as an older one.

import fs from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { onInterrupt, root, run } from './lib/run.mjs'
import { SetupError, installPackages, requireNode, runMain } from './lib/setup.mjs'
import { checkLinks } from '../site/anchors.mjs'
import { llms } from '../site/llms.mjs'
import { prepare } from '../site/prepare.mjs'
import { pageOf } from '../site/structure.mjs'
import { buildVersions, releasesWithSite } from '../site/versions.mjs'

const site = path.join(root, 'site')
const work = path.join(root, 'target', 'site')
const base = process.env['SITE_BASE'] || '/'
const repository = process.env['SITE_REPOSITORY'] || undefined

await runMain(async () => {
  const { serve, check, versions: withVersions, llms: isLlms } = wanted()
  if (!/^\/(.+\/)?$/.test(base)) {
    throw new SetupError(`Expected SITE_BASE to begin and end with a slash, got ${base}`)
  }
  if (!serve) onInterrupt(() => {})
  fs.writeFileSync(path.join(root, 'llms.txt'), llms(root))
  if (isLlms) return
  requireNode()
  await installPackages()
  await install()
  const { pages, unlinked } = prepare({ root, folder: path.join(work, 'pages'), repository })
  console.log(`${pages} pages of the project`)
  if (unlinked.length > 0) {
    console.log(`${unlinked.length} links to sources are plain text: SITE_REPOSITORY is not set`)
  }
  await tool('typedoc/bin/typedoc', ['--options', 'site/typedoc.json', '--logLevel', 'Warn'])
  const versions = withVersions ? releasesWithSite(root) : []
  await tool('vitepress/bin/vitepress.js', ['build', 'site'], {
    SITE_VERSIONS: versions.map(({ name }) => name).join(' '),
  })
  const html = path.join(work, 'html')
  await buildVersions({ work, html, base, versions })
  // The pages as Markdown beside them, for programs that read.
  const markdown = path.join(work, 'pages')
  for (const file of /** @type {string[]} */ (fs.readdirSync(markdown, { recursive: true }))) {
    if (file.endsWith('.md') && !file.startsWith('api'))
      fs.copyFileSync(path.join(markdown, file), path.join(html, file))
  }
  fs.writeFileSync(
    path.join(html, 'llms.txt'),
    llms(root, (file) => `${base}${pageOf(file)}.md`),
  )
  const checked = checkLinks(html, base)
  if (checked.problems.length > 0) {
    throw new SetupError(`Dead links on the site:\n${checked.problems.join('\n')}`)
  }
  console.log(`${checked.links} links and anchors on ${checked.pages} pages lead somewhere`)
  console.log(`The site is in ${path.relative(process.cwd(), html)}/`)
  if (check) {
    const { ok } = await run(process.execPath, ['site/check/browser.mjs'])
    console.log(`Pictures of its pages are in ${path.relative(process.cwd(), work)}/pictures/`)
    if (!ok) throw new SetupError('In the browser something is wrong; it stands above.')
    console.log('In the browser all is well')
  }
  if (serve) await preview()
})

function wanted() {
  try {
    const options = /** @type {const} */ ({
      serve: { type: 'boolean' },
      check: { type: 'boolean' },
      versions: { type: 'boolean' },
      llms: { type: 'boolean' },
    })
    return parseArgs({ options }).values
  } catch (error) {
    throw new SetupError(error instanceof Error ? error.message : String(error))
  }
}

/** The generators are installed beside the project, not in it. */
async function install() {
  const lock = path.join(site, 'package-lock.json')
  const installed = path.join(site, 'node_modules/.installed')
  const state = fs.readFileSync(lock, 'utf8')
  if (fs.existsSync(installed) && fs.readFileSync(installed, 'utf8') === state) return
  console.log('Installing the generators of the site')
  // esbuild's script only checks the program that came as an optional package.
  const args = ['ci', '--prefix', site, '--no-audit', '--no-fund', '--ignore-scripts']
  const { ok, output } = await run('npm', args, { output: 'keep' })
  if (!ok) throw new SetupError(`The generators of the site could not be installed:\n${output}`)
  fs.writeFileSync(installed, state)
}

/** @param {string} file A program of one of the site's packages. @param {string[]} args @param {Record<string, string>} [env] */
async function tool(file, args, env = {}) {
  const command = [path.join(site, 'node_modules', file), ...args]
  const { ok, output } = await run(process.execPath, command, { output: 'keep', env })
  if (!ok) throw new SetupError(`${file} failed:\n${output}`)
}

async function preview() {
  const { serve } = await import('../site/check/serve.mjs')
  const { url, stop } = await serve(path.join(work, 'html'), base, Number(process.env['PORT'] ?? 0))
  console.log(`${url} (Ctrl-C ends it)`)
  onInterrupt(stop)
  await new Promise(() => {})
}
