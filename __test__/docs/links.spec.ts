// Links between the pages, to their sections and to files of the project lead somewhere, and commands exist.

import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { pages, root } from '../support/code-blocks.js'

const read = (file: string) => readFileSync(path.join(root, file), 'utf8')
const withoutCode = (text: string) => text.replaceAll(/^( *)(`{3,}).*?^\1\2[ \t]*$/gms, '')
const withoutComments = (text: string) => text.replaceAll(/<!--.*?-->/gs, '')

/** The anchors that GitHub makes of a page's headings. */
function anchors(page: string): Set<string> {
  const seen = new Map<string, number>()
  const found = new Set<string>()
  for (const [, heading] of withoutCode(read(page)).matchAll(/^#{1,6} (.+)$/gm)) {
    const slug = heading!
      .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}_ -]/gu, '')
      .replaceAll(' ', '-')
    const count = seen.get(slug) ?? 0
    seen.set(slug, count + 1)
    found.add(count === 0 ? slug : `${slug}-${count}`)
  }
  return found
}

function problem(page: string, target: string): string | undefined {
  const [file, anchor] = target.split('#') as [string, string?]
  const linked = file === '' ? page : path.posix.join(path.posix.dirname(page), file)
  if (!existsSync(path.join(root, linked))) return `${page}: ${target} is not there`
  if (anchor === undefined) return undefined
  return anchors(linked).has(anchor) ? undefined : `${page}: ${target} has no such section`
}

test('every link within the project leads somewhere', (t) => {
  let count = 0
  const problems = pages().flatMap((page) => {
    const text = withoutComments(withoutCode(read(page)))
    const targets = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map((match) => match[1]!)
    const inside = targets.filter((target) => !/^[a-z]+:/.test(target))
    count += inside.length
    return inside.map((target) => problem(page, target)).filter((it) => it !== undefined)
  })
  t.deepEqual(problems, [])
  t.true(count > 50)
})

test('every npm script that a page speaks of exists', (t) => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> }
  const missing = pages().flatMap((page) =>
    [...read(page).matchAll(/npm run ([\w:-]+)/g)]
      .map((match) => match[1]!)
      .filter((name) => !(name in scripts))
      .map((name) => `${page}: npm run ${name}`),
  )
  t.deepEqual(missing, [])
})

/** The tracked files that a person writes: pages, sources and their comments. */
function written(): string[] {
  const tracked = execFileSync('git', ['ls-files', '-z'], { cwd: root, encoding: 'utf8' })
  return tracked
    .split('\0')
    .filter(
      (file) => /\.(md|rs|[mc]?[jt]s|yml|toml)$/.test(file) && existsSync(path.join(root, file)),
    )
    .filter((file) => file !== 'CHANGELOG.md' && !file.startsWith('native/'))
}

/** Paths below these folders are looked for, in text, code blocks and comments alike. */
const PATH = /(?<![\w./@-])(?:src-ts|src-rs|__test__|lab|scripts|bench|docs|examples)\/[\w./-]*\w/g
/** Paths that are there only once something has been made. */
const MADE = /^(docs\/api|(bench|bench\/peers|examples\/with)\/node_modules)/

test('every file and folder of the project that a page or a comment names exists', (t) => {
  let count = 0
  const problems = written().flatMap((file) => {
    const named = [...read(file).matchAll(PATH)].map(([name]) => name)
    count += named.length
    return named
      .filter((name) => !MADE.test(name) && !isThere(name))
      .map((name) => `${file}: ${name}`)
  })
  t.deepEqual(problems, [])
  t.true(count > 100, `${count}`)
})

/** Whether a path leads to a file or folder; sources may be named as they are imported. */
function isThere(name: string): boolean {
  const candidates = [name, name.replace(/\.js$/, '.ts'), `${name}.rs`, `${name}.ts`]
  return candidates.some((candidate) => existsSync(path.join(root, candidate)))
}
