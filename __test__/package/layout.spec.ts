// The shape of the sources: what a folder lists is read at one glance, and what the addon exports contains its panics.

import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { root } from '../support/code-blocks.js'

const MOST = 20
const CODE = /^(bin|src-ts|src-rs|__test__|lab|scripts|bench|examples|packages)\//

test(`no folder of code has more than ${MOST} files beside each other`, (t) => {
  const tracked = execFileSync('git', ['ls-files', '-z'], { cwd: root, encoding: 'utf8' })
  const counts = new Map<string, number>()
  for (const file of tracked.split('\0').filter((name) => CODE.test(name))) {
    const folder = path.posix.dirname(file)
    counts.set(folder, (counts.get(folder) ?? 0) + 1)
  }
  t.true(counts.size > 30)
  t.deepEqual(
    [...counts].filter(([, count]) => count > MOST),
    [],
  )
})

/** An attribute of napi, and the line after all attributes and comments: what it stands before. */
const EXPORT =
  /^[ \t]*#\[napi(?:\(([^\]]*)\))?\]\n(?:[ \t]*(?:#\[[^\n]*|\/\/\/[^\n]*)\n)*[ \t]*([^\n]*)/gm

test('no panic leaves a function, a method or a finalizer of the addon', (t) => {
  const tracked = execFileSync('git', ['ls-files', '-z', 'src-rs/binding/'], {
    cwd: root,
    encoding: 'utf8',
  })
  const wrong: string[] = []
  let functions = 0
  let classes = 0
  for (const file of tracked.split('\0').filter((name) => name.endsWith('.rs'))) {
    const source = readFileSync(path.join(root, file), 'utf8')
    for (const [, options = '', item = ''] of source.matchAll(EXPORT)) {
      const names = new Set(options.split(',').map((option) => option.trim()))
      const isClass = item.startsWith('pub struct') && !names.has('object')
      const isFunction = /^pub (async |unsafe )*fn /.test(item)
      if (isClass) classes += 1
      if (isFunction) functions += 1
      if (isClass && !names.has('custom_finalize')) wrong.push(`${file}: ${item}`)
      if (isFunction && !names.has('catch_unwind')) wrong.push(`${file}: ${item}`)
    }
  }
  t.deepEqual(wrong, [])
  // As many as the generated declarations have: the pattern above has missed none.
  const declared = readFileSync(path.join(root, 'native/index.d.ts'), 'utf8')
  t.is(classes, [...declared.matchAll(/^export declare class /gm)].length)
  t.is(functions, [...declared.matchAll(/^(export declare function |  \w+\()/gm)].length)
})
