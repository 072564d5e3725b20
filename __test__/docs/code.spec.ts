// What the documentation shows compiles, and what it marks as a program runs and prints what the page says.

import test from 'ava'
import {
  cleanUp,
  codeBlocks,
  compile,
  pages,
  runBlocks,
  syntaxProblem,
} from '../support/code-blocks.js'

test.after.always(cleanUp)

const blocksOf = new Map(pages().map((page) => [page, codeBlocks(page)]))
const all = [...blocksOf.values()].flat()

/** Languages, and the marks that mean something for them. */
const KINDS = new Set([
  'ts',
  'js',
  'js run',
  'sql',
  'sql run',
  'text',
  'text output',
  'html',
  'ini',
  'json',
  'python',
  'sh',
  // Settings of a tool that is not installed here.
  'javascript',
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

test('every block of TypeScript compiles, and every program is right in its types', async (t) => {
  const blocks = all.filter(({ language }) => language === 'ts' || language === 'js')
  t.true(blocks.some(({ page }) => page === 'README.md'))
  t.deepEqual(await compile(blocks), [])
})

test('every program is plain JavaScript that the oldest supported Node.js takes', async (t) => {
  const programs = all.filter(({ language }) => language === 'js')
  t.true(programs.some(({ page }) => page === 'README.md'))
  const problems = await Promise.all(programs.map(syntaxProblem))
  t.deepEqual(
    problems.filter((problem) => problem !== undefined),
    [],
  )
})

test('a program that an older Node.js refuses is found', async (t) => {
  const block = { page: 'page.md', line: 1, language: 'js', mark: 'run' }
  for (const code of [
    'await using x = { async [Symbol.asyncDispose]() {} }',
    'const n: number = 1',
    'const [x',
  ])
    t.regex((await syntaxProblem({ ...block, code }))!, /^page\.md:1 /, code)
})

for (const [page, blocks] of blocksOf) {
  if (!blocks.some(({ mark }) => mark === 'run' || mark === 'output')) continue
  test(`what ${page} runs prints what it says`, (t) => runBlocks(t, blocks))
}
