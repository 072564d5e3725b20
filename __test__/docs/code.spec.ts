// What the documentation shows compiles, and what it marks as a program runs and prints what the page says.

import test from 'ava'
import { cleanUp, codeBlocks, compile, pages, runBlocks } from '../support/code-blocks.js'

test.after.always(cleanUp)

const blocksOf = new Map(pages().map((page) => [page, codeBlocks(page)]))
const all = [...blocksOf.values()].flat()

/** Languages, and the marks that mean something for them. */
const KINDS = new Set([
  'ts',
  'ts run',
  'sql',
  'sql run',
  'text',
  'text output',
  'html',
  'ini',
  'json',
  'python',
  'sh',
])

test('every block of code names its language, and a mark that is known', (t) => {
  // Diagrams are the only text that is no code.
  const strange = all.filter(
    ({ page, language, mark }) =>
      page !== 'ARCHITECTURE.md' && !KINDS.has(`${language} ${mark}`.trim()),
  )
  t.deepEqual(
    strange.map(({ page, line, language, mark }) => `${page}:${line} ${language} ${mark}`),
    [],
  )
})

test('every block of TypeScript compiles', async (t) => {
  const blocks = all.filter(({ language }) => language === 'ts')
  t.true(blocks.some(({ page }) => page === 'README.md'))
  t.deepEqual(await compile(blocks), [])
})

for (const [page, blocks] of blocksOf) {
  if (!blocks.some(({ mark }) => mark === 'run' || mark === 'output')) continue
  test(`what ${page} runs prints what it says`, (t) => runBlocks(t, blocks))
}
