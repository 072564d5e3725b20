// The whole test command: every check and every test, and at the end one line with the real counts.
//
//   npm test                       everything
//   npm test -- --only lint        formatters, linters, types, generated files
//   npm test -- __test__/contract/order.spec.ts only these behaviour tests

import { parseArgs } from 'node:util'
import { onInterrupt, run, runTool } from './lib/run.mjs'
import {
  FAIL_POINTS_BUILD,
  SetupError,
  installPackages,
  requireNode,
  runMain,
  setup,
  setupWithFailPoints,
} from './lib/setup.mjs'

/**
 * @typedef {{ passed: number, failed: number, skipped: number }} Counts
 * @typedef {{ ok: boolean, output?: string, counts?: Counts }} StepResult
 */

const GROUPS = ['lint', 'rust', 'node']

/** The folders whose imports have a direction. */
const CRUISED = ['src-ts', 'lab', 'scripts', 'bench', 'packages', '__test__']

/** How long each part took, in seconds. @type {Array<[name: string, seconds: number]>} */
const parts = []

const CARGO_TESTS = ['test', '--workspace', '--locked', '--quiet']

/** The checks of Rust's sources. They need nothing that the set-up makes. */
const rustChecks = () => [
  check('rustfmt', () => run('cargo', ['fmt', '--all', '--check'], { output: 'keep' })),
  check('clippy', () =>
    run('cargo', ['clippy', '--workspace', '--locked', '--all-targets', '--', '-D', 'warnings'], {
      output: 'keep',
    }),
  ),
]

/** @param {string[]} drifted */
const sourceChecks = (drifted) => [
  check('generated files are up to date', async () => ({
    ok: drifted.length === 0,
    output: `These were regenerated; commit them: ${drifted.join(', ')}`,
  })),
  check('prettier', () =>
    runTool('prettier/bin/prettier.cjs', ['--check', '--log-level=warn', '.'], { output: 'keep' }),
  ),
  check('oxlint', () =>
    runTool('oxlint/bin/oxlint', ['--type-aware', '--deny-warnings'], { output: 'keep' }),
  ),
  check('types', () => runTool('typescript/bin/tsc', ['-p', 'tsconfig.json'], { output: 'keep' })),
  check("types of the console's page", () => checkTypes('packages/console/page')),
  check("types of the tests of the console's page", () => checkTypes('__test__/console/browser')),
  check('types of the site', () => checkTypes('site')),
  check('types of what uses NATS', () => checkTypes('__test__/relay')),
  check('import directions', () =>
    runTool(
      'dependency-cruiser/bin/dependency-cruise.mjs',
      ['--config', '.dependency-cruiser.mjs', 'index.ts', ...CRUISED],
      { output: 'keep' },
    ),
  ),
  check('reference', () => runTool('typedoc/bin/typedoc', ['--emit', 'none'], { output: 'keep' })),
]

/** What runs in a browser, or uses a package whose declarations need it, has settings of its own. @param {string} folder */
const checkTypes = (folder) =>
  runTool('typescript/bin/tsc', ['-p', `${folder}/tsconfig.json`], { output: 'keep' })

/** @type {import('../lab/server/dev-server.mjs').DevServer | undefined} */
let server

await runMain(async () => {
  const { only, files } = wanted()
  const wants = (/** @type {string} */ group) => only === undefined || only === group
  onInterrupt(() => server?.stop('immediate'))

  /** @type {Counts[]} */
  const results = []
  try {
    const { drifted, counts } = await prepare(wants, files)
    results.push(...counts)
    if (wants('lint')) results.push(...(await twoAtATime(sourceChecks(drifted))))
    if (wants('rust') || wants('node')) {
      const env = await testEnvironment()
      if (wants('rust')) results.push(await cargoTests(env))
      if (wants('node')) {
        if (needsFailPoints(files)) await prepareFailPoints()
        results.push(await behaviourTests(env, files))
      }
    }
  } catch (error) {
    console.error(error instanceof SetupError ? error.message : error)
    results.push({ passed: 0, failed: 1, skipped: 0 })
  } finally {
    await server?.stop()
  }

  const total = (/** @type {keyof Counts} */ key) =>
    results.reduce((before, it) => before + it[key], 0)
  const skipped = total('skipped') > 0 ? `, ${total('skipped')} skipped` : ''
  tellTimes()
  console.log(`\n${total('passed')} passed, ${total('failed')} failed${skipped}`)
  return total('failed') > 0 ? 1 : 0
})

/** What the command line asks for. */
function wanted() {
  try {
    const { values, positionals: files } = parseArgs({
      options: { only: { type: 'string' } },
      allowPositionals: true,
    })
    if (values.only !== undefined && !GROUPS.includes(values.only)) {
      throw new TypeError(`Expected --only to be one of ${GROUPS.join(', ')}, got ${values.only}`)
    }
    return { only: files.length > 0 ? 'node' : values.only, files }
  } catch (error) {
    throw new SetupError(error instanceof Error ? error.message : String(error))
  }
}

/**
 * Sets everything up. The second half of the addon's build is the linker's, on one processor: what cargo does for the checks and the
 * tests, in another folder of `target`, is done beside it.
 * @param {(group: string) => boolean} wants
 * @param {string[]} files
 * @returns {Promise<{ drifted: string[], counts: Counts[] }>} The generated files that were out of date, and how the checks went.
 */
async function prepare(wants, files) {
  const started = Date.now()
  requireNode()
  await installPackages()
  const beside = besideTheBuild(wants, files)
  const waiting = setup()
  // A set-up that fails ends the command, which what runs beside it would outlive.
  await Promise.allSettled([waiting, beside])
  const { drifted } = await waiting
  report('setup', started)
  return { drifted, counts: await beside }
}

/** @param {(group: string) => boolean} wants @param {string[]} files */
async function besideTheBuild(wants, files) {
  const counts = []
  if (wants('lint')) for (const step of rustChecks()) counts.push(await step())
  // What fails to build here is built again by its own step, which tells of it.
  if (wants('rust')) await run('cargo', [...CARGO_TESTS, '--no-run'], { output: 'keep' })
  if (wants('node') && needsFailPoints(files)) {
    await run('cargo', FAIL_POINTS_BUILD, { output: 'keep' })
  }
  return counts
}

/**
 * Most checks keep one processor.
 * @param {(() => Promise<Counts>)[]} steps
 */
async function twoAtATime(steps) {
  /** @type {Counts[]} */
  const counts = []
  const waiting = steps[Symbol.iterator]()
  const work = async () => {
    for (const step of waiting) counts.push(await step())
  }
  await Promise.all([work(), work()])
  return counts
}

/**
 * Whether the addon with fail points is needed. Its test builds it when it is missing, but several tests measure time, and would run
 * beside the compiler.
 * @param {string[]} files
 */
function needsFailPoints(files) {
  return files.length === 0 || files.some((file) => /faults\/(panics|\*)/.test(file))
}

async function prepareFailPoints() {
  const started = Date.now()
  await setupWithFailPoints()
  report('addon with fail points', started)
}

/** A server of the user's has precedence over one of ours. */
async function testEnvironment() {
  if (process.env['PGLISTEN_TEST_DSN']) return {}
  const { startServer } = await import('../lab/server/dev-server.mjs')
  server = await startServer({ settings: { max_connections: 300 } })
  return { PGLISTEN_TEST_DSN: server.dsn }
}

/**
 * A step that either passes or fails as one.
 * @param {string} name
 * @param {() => Promise<StepResult>} work
 * @returns {() => Promise<Counts>}
 */
function check(name, work) {
  return async () => {
    const started = Date.now()
    const { ok, output } = await work()
    report(name, started, ok)
    if (!ok) console.log(output)
    return { passed: ok ? 1 : 0, failed: ok ? 0 : 1, skipped: 0 }
  }
}

/** @param {Record<string, string>} env */
async function cargoTests(env) {
  const started = Date.now()
  const { ok, output } = await run('cargo', CARGO_TESTS, { output: 'both', env })
  const counts = sum(output, {
    passed: /^test result: .*?(\d+) passed/gm,
    failed: /^test result: .*?(\d+) failed/gm,
    skipped: /^test result: .*?(\d+) ignored/gm,
  })
  report('cargo tests', started, ok)
  return honest(ok, counts)
}

/** @param {Record<string, string>} env @param {string[]} files */
async function behaviourTests(env, files) {
  const started = Date.now()
  const { ok, output } = await runTool('ava/entrypoints/cli.mjs', files, { output: 'both', env })
  const counts = sum(output, {
    passed: /^ {2}[✔√] /gm,
    failed:
      /^ {2}(\d+) (?:tests? failed|hooks? failed|tests? remained|uncaught exceptions?|unhandled rejections?)/gm,
    skipped: /^ {2}(\d+) tests? (?:skipped|todo)/gm,
  })
  report('behaviour tests', started, ok)
  return honest(ok, counts)
}

/**
 * Adds up the numbers that the patterns capture; a pattern without a number counts its matches.
 * @param {string} output
 * @param {Record<keyof Counts, RegExp>} patterns
 * @returns {Counts}
 */
function sum(output, patterns) {
  // eslint-disable-next-line no-control-regex -- the colours of a terminal are control characters.
  const plain = output.replaceAll(/\u001B\[[\d;]*m/g, '')
  const count = (/** @type {RegExp} */ pattern) =>
    [...plain.matchAll(pattern)].reduce((total, match) => total + Number(match[1] ?? 1), 0)
  return {
    passed: count(patterns.passed),
    failed: count(patterns.failed),
    skipped: count(patterns.skipped),
  }
}

/**
 * A runner that ended badly without saying how many tests failed, or well without running any, failed.
 * @param {boolean} ok
 * @param {Counts} counts
 * @returns {Counts}
 */
function honest(ok, counts) {
  const unexplained = ok ? counts.passed === 0 : counts.failed === 0
  return unexplained ? { ...counts, failed: counts.failed + 1 } : counts
}

/** @param {string} name @param {number} started @param {boolean} [ok] */
function report(name, started, ok = true) {
  const seconds = (Date.now() - started) / 1000
  parts.push([name, seconds])
  console.log(`${ok ? '✔' : '✘'} ${name} (${seconds.toFixed(1)} s)`)
}

/** Repeats how long each part took, behind the output of the tests, the longest first. */
function tellTimes() {
  const width = Math.max(...parts.map(([name]) => name.length))
  console.log()
  for (const [name, seconds] of parts.toSorted(([, a], [, b]) => b - a)) {
    console.log(`${name.padEnd(width)} ${seconds.toFixed(1).padStart(7)} s`)
  }
}
