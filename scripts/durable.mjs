// `npm run durable -- WHAT`: what durable subscriptions promise, tried at length. Each prints a Markdown table.

import fs from 'node:fs'
import { parseArgs } from 'node:util'
import { onInterrupt, run } from './lib/run.mjs'
import { VERSIONS, checkVersions, installServer } from './lib/servers.mjs'
import { SetupError, runMain, setup } from './lib/setup.mjs'

const HELP = `Usage: npm run durable -- WHAT [OPTIONS] [VERSION …]

  takeover [--times N]   how soon another process goes on when a worker is killed, frozen or cut off
  failover               what becomes of a subscription when a standby is promoted
  restore [--bin FOLDER]   a dump is restored into other clusters; FOLDER has PostgreSQL and pg_dump, by default the system's
  growth [--events N] [--vacuum auto]
                         tables, indexes and memory while N events are published, done and trimmed; vacuumed after each trim, or by
                         the server itself
  mutations [--only TEXT]  defects are put into a copy of the package, and a test has to notice each

VERSION is one or more of ${Object.keys(VERSIONS).join(', ')}; without one it is the PostgreSQL of the tests.
Exit code: 0 when everything was as promised, 1 otherwise.`

/** @type {Record<string, { program: string, header?: string, args: (options: Record<string, string>) => string[] }>} */
const COMMANDS = {
  takeover: {
    program: 'takeover.ts',
    header:
      '| PostgreSQL | what happens to the worker | median | longest | promised |\n| --- | --- | --- | --- | --- |',
    args: ({ times = '5' }) => [number('times', times, 1000)],
  },
  failover: {
    program: 'failover.ts',
    header:
      '| standby | acknowledged | of these lost | events on the new primary | without their work / twice / work without event | done again outside | done outside, event gone | ids given twice | uids given twice | going on after |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |',
    args: () => [],
  },
  restore: { program: 'restore.ts', args: ({ bin = systemBinaries() }) => [bin] },
  growth: {
    program: 'growth.ts',
    args: ({ events = '5000000', vacuum = 'each' }) => [
      number('events', events, 1e9),
      oneOf('vacuum', vacuum, ['each', 'auto']),
    ],
  },
  mutations: { program: 'mutate.ts', args: ({ only = '' }) => [only] },
}

await runMain(async () => {
  const asked = wanted()
  if (asked === undefined) {
    console.log(HELP)
    return 0
  }
  const { program, header, args, versions } = asked
  onInterrupt(() => {})
  await setup()
  if (header !== undefined) console.log(header)
  let isRight = true
  for (const version of versions) {
    const env =
      version === undefined ? {} : { PGLISTEN_TEST_POSTGRES: await installServer(version) }
    const { ok } = await run(
      process.execPath,
      ['--import=tsx', '--expose-gc', `lab/durable/${program}`, ...args],
      { env },
    )
    isRight &&= ok
  }
  return isRight ? 0 : 1
})

function wanted() {
  try {
    const { values, positionals } = parseArgs({
      options: {
        times: { type: 'string' },
        events: { type: 'string' },
        only: { type: 'string' },
        vacuum: { type: 'string' },
        bin: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
      allowPositionals: true,
    })
    const { help, ...options } = values
    if (help) return undefined
    const [what = '', ...versions] = positionals
    const command = COMMANDS[what]
    if (command === undefined) {
      throw new TypeError(
        `Expected one of ${Object.keys(COMMANDS).join(', ')}, got ${what === '' ? 'nothing' : what}`,
      )
    }
    checkVersions(versions)
    const given = Object.fromEntries(
      Object.entries(options).filter(([, value]) => value !== undefined),
    )
    return {
      ...command,
      args: command.args(given),
      versions: versions.length > 0 ? versions : [undefined],
    }
  } catch (error) {
    throw new SetupError(`${error instanceof Error ? error.message : String(error)}\n\n${HELP}`)
  }
}

/** The programs of the newest PostgreSQL that Debian's packages have installed. */
function systemBinaries() {
  const home = '/usr/lib/postgresql'
  const found = fs.existsSync(home)
    ? fs.readdirSync(home).filter((name) => fs.existsSync(`${home}/${name}/bin/pg_dump`))
    : []
  const newest = found.toSorted((a, b) => Number(a) - Number(b)).at(-1)
  if (newest === undefined)
    throw new TypeError(`Expected --bin, or PostgreSQL with pg_dump in ${home}, got neither`)
  return `${home}/${newest}/bin`
}

/** @param {string} name @param {string} text @param {number} most */
function number(name, text, most) {
  const value = Number(text)
  if (Number.isInteger(value) && value >= 1 && value <= most) return text
  throw new TypeError(`Expected --${name} to be from 1 to ${most}, got ${text}`)
}

/** @param {string} name @param {string} text @param {readonly string[]} values */
function oneOf(name, text, values) {
  if (values.includes(text)) return text
  throw new TypeError(`Expected --${name} to be one of ${values.join(', ')}, got ${text}`)
}
