// The site has every page, and what is made of the pages is right: their places, their links, the list for programs.

import { readFileSync, readdirSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { checkLinks } from '../../site/anchors.mjs'
import { llms } from '../../site/llms.mjs'
import { prepare } from '../../site/prepare.mjs'
import { slug } from '../../site/slug.mjs'
import { SECTIONS, pageOf } from '../../site/structure.mjs'
import { releases } from '../../site/versions.mjs'
import { pages, root } from '../support/code-blocks.js'

const listed = SECTIONS.flatMap((section) => section.pages.map(({ file }) => file))

async function temporaryFolder(t: ExecutionContext): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'pglisten-site-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  return folder
}

test('every page of docs/ and of the examples is in the sidebar, once', (t) => {
  const wanted = pages().filter((page) => /^(docs|examples)\//.test(page))
  t.true(wanted.length > 30)
  t.deepEqual(
    wanted.filter((page) => !listed.includes(page)),
    [],
  )
  t.is(new Set(listed).size, listed.length)
})

test('no two files are the same page', (t) => {
  const places = ['README.md', ...listed].map((file) => pageOf(file))
  t.false(places.includes(undefined))
  t.is(new Set(places).size, places.length)
})

test('every link of a page that was laid out leads to a page that was', async (t) => {
  const folder = await temporaryFolder(t)
  const repository = 'https://example.org/project'
  const { unlinked } = prepare({ root, folder, repository })
  t.deepEqual(unlinked, [])
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  const made = new Set(files.map((file) => file.replaceAll(path.sep, '/')))
  let count = 0
  const dead: string[] = []
  for (const file of [...made].filter((name) => name.endsWith('.md'))) {
    const text = readFileSync(path.join(folder, file), 'utf8').replaceAll(/^```.*?^```$/gms, '')
    for (const [, target = ''] of text.matchAll(/\]\(([^)\s#]+)[^)\s]*\)/g)) {
      if (/^[a-z]+:/.test(target)) continue
      count += 1
      const linked = path.posix.join(path.posix.dirname(file), target)
      if (!made.has(linked)) dead.push(`${file}: ${target}`)
    }
  }
  t.deepEqual(dead, [])
  t.true(count > 200, `${count}`)
})

test('a link to a file that is no page leads to the repository, or is plain text where none is known', async (t) => {
  const folder = await temporaryFolder(t)
  const page = () => readFileSync(path.join(folder, 'project/bench.md'), 'utf8')
  const repository = 'https://example.org/project'
  prepare({ root, folder, repository })
  t.true(page().includes(`](${repository}/blob/main/bench/speed/clients.mjs)`))
  t.true(page().includes(`edit: ${repository}/edit/main/bench/README.md`))
  const { unlinked } = prepare({ root, folder })
  t.true(unlinked.includes('bench/README.md: speed/clients.mjs'))
  t.false(page().includes('](speed/clients.mjs)'))
})

test('the page of an example has its programs, and nothing that is installed or made', async (t) => {
  const folder = await temporaryFolder(t)
  prepare({ root, folder })
  const page = (name: string) => readFileSync(path.join(folder, `examples/${name}.md`), 'utf8')
  for (const [name, files] of Object.entries({
    cache: ['main.mts'],
    container: ['main.mjs', 'Dockerfile', 'kubernetes.yaml'],
    'with/next': [
      ...['app/layout.js', 'app/orders/events/route.js', 'app/page.js', 'instrumentation.js'],
      ...['lib/listener.js', 'next.config.mjs'],
    ],
    'with/procrastinate': ['main.mjs', 'app.py', 'requirements.txt'],
  })) {
    t.deepEqual(
      [...page(name).matchAll(/^## (.+)$/gm)].map((match) => match[1]),
      files,
    )
    for (const file of files)
      t.true(page(name).includes(readFileSync(path.join(root, 'examples', name, file), 'utf8')))
  }
})

test('a page that is missing, a section that is missing and a link out of the site are found', async (t) => {
  const folder = await temporaryFolder(t)
  await mkdir(path.join(folder, 'guide'))
  await writeFile(
    path.join(folder, 'index.html'),
    '<h2 id="here"></h2><a href="#here"></a><a href="/docs/guide/a.html#there"></a><a href="https://x.org/y#z"></a>',
  )
  await writeFile(
    path.join(folder, 'guide/a.html'),
    `<h2 id="there"></h2><a href="../#here"></a>
     <a href="../gone.html"></a> <a href="#gone"></a> <a href="../index.html#gone"></a> <a href="/elsewhere"></a>`,
  )
  const { links, problems } = checkLinks(folder, '/docs/')
  t.is(links, 7)
  t.deepEqual(problems, [
    'guide/a.html: ../gone.html is not there',
    'guide/a.html: #gone has no such section',
    'guide/a.html: ../index.html#gone has no such section',
    'guide/a.html: href /elsewhere is outside of /docs/',
  ])
})

test('the anchors of headings are those of the repository’s pages', (t) => {
  t.is(slug('`ERR_PGLISTEN_ADDON_MISSING`'), 'err_pglisten_addon_missing')
  t.is(slug('Gaps, and how to catch up'), 'gaps-and-how-to-catch-up')
  t.is(slug('libpq’s parameters'), 'libpqs-parameters')
})

test('llms.txt is what is made of the pages', (t) => {
  t.is(
    readFileSync(path.join(root, 'llms.txt'), 'utf8'),
    llms(root),
    'make it again: npm run site -- --llms',
  )
})

test('of each minor version the newest release has a site', (t) => {
  const tags = ['v0.2.0', 'v0.10.1', 'v0.2.9', 'v0.2.10', 'v1.0.0-rc.1', 'v1.0', 'nightly', '']
  t.deepEqual(releases(tags), [
    { tag: 'v0.10.1', name: 'v0.10' },
    { tag: 'v0.2.10', name: 'v0.2' },
  ])
})
