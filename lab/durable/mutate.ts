// Puts each defect of `mutations.ts` into a copy of the package, and has its test run there: `mutate.ts [TEXT]`. Prints a Markdown table.
//
// A defect that its test does not notice is a hole in the tests, and so is a test that fails without one.

import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { root } from '../../scripts/lib/run.mjs'
import { MUTATIONS, type Mutation } from './mutations.js'

const escaped = (text: string) => text.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`)

/** A copy of what the tests need, which shares everything else with the project. */
function copy(): string {
  const home = fs.mkdtempSync(path.join(os.tmpdir(), 'pglisten-mutations-'))
  for (const name of ['__test__', 'lab', 'scripts', 'dist', 'src-ts', 'native', 'bin'])
    fs.cpSync(path.join(root, name), path.join(home, name), { recursive: true })
  for (const name of ['package.json', 'tsconfig.json', 'ava.config.mjs', 'index.d.ts'])
    fs.copyFileSync(path.join(root, name), path.join(home, name))
  const modules = path.join(home, 'node_modules')
  fs.mkdirSync(modules)
  for (const name of fs.readdirSync(path.join(root, 'node_modules')))
    if (name !== 'pglisten' && name !== '.cache')
      fs.symlinkSync(path.join(root, 'node_modules', name), path.join(modules, name))
  fs.symlinkSync('..', path.join(modules, 'pglisten'))
  return home
}

/** The facade with the changes. The SQL stands in it as one literal. */
function changed(facade: string, { changes, defect }: Mutation): string {
  let text = facade
  for (const [from, to] of changes) {
    const sides = [from, to].map((side) => JSON.stringify(side).slice(1, -1)) as [string, string]
    const pair = text.split(sides[0]).length > 1 ? sides : [from, to]
    const parts = text.split(pair[0]!)
    if (parts.length !== 2)
      throw new Error(
        `expected \`${from}\` once in the facade, got ${parts.length - 1} times: ${defect}`,
      )
    text = parts.join(pair[1])
  }
  return text
}

/** Whether the test passes in the copy. */
function passes(home: string, { file, test }: Mutation): { ok: boolean; output: string } {
  const program = path.join(root, 'node_modules', 'ava', 'entrypoints', 'cli.mjs')
  const args = [program, `__test__/durable/${file}`, '--match', test, '--timeout=60s']
  const env = { ...process.env, NO_COLOR: '1', FORCE_COLOR: '0' }
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    cwd: home,
    env,
    encoding: 'utf8',
  })
  const output = stdout + stderr
  const ran = new RegExp(`(✔|✘) .*${escaped(test)}`).test(output) || output.includes('timed out')
  if (!ran) throw new Error(`expected the test to run, got:\n${output}`)
  return { ok: status === 0, output }
}

const only = process.argv[2] ?? ''
const home = copy()
const facade = path.join(home, 'dist', 'pglisten.js')
const original = fs.readFileSync(facade, 'utf8')
let isRight = true
try {
  console.log('| defect | the test that fails |\n| --- | --- |')
  for (const mutation of MUTATIONS.filter(({ defect }) => defect.includes(only))) {
    fs.writeFileSync(facade, original)
    const before = passes(home, mutation)
    fs.writeFileSync(facade, changed(original, mutation))
    const after = passes(home, mutation)
    const seen = `${mutation.test} (\`__test__/durable/${mutation.file}\`)`
    if (before.ok && !after.ok) console.log(`| ${mutation.defect} | ${seen} |`)
    else {
      isRight = false
      const what = before.ok ? 'NOT NOTICED by' : 'fails without the defect too:'
      console.log(`| ${mutation.defect} | **${what}** ${seen} |`)
      if (!before.ok) console.error(before.output)
    }
  }
} finally {
  fs.rmSync(home, { recursive: true, force: true })
}
process.exitCode = isRight ? 0 : 1
