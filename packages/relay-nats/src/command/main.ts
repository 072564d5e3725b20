// The command `pglisten-relay-nats`. What it prints holds no payload and no password.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { checkRelay, type Finding } from '../doctor.js'
import { RelayOptionError } from '../errors.js'
import { serveHealth } from '../health.js'
import { Relay } from '../relay.js'
import { HELP } from './help.js'
import { Narrator } from './narrator.js'
import { readSettings, type Settings } from './settings.js'

const EXIT = { done: 0, failed: 1, usage: 2 }
const SIGNALS = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const

/** Runs the command, and resolves with its exit code. */
export async function main(args: readonly string[]): Promise<number> {
  let narrator = new Narrator({ isJson: false, isQuiet: false })
  try {
    const settings = readSettings(args, process.env)
    narrator = new Narrator(settings)
    if (settings.command === 'help') process.stdout.write(HELP)
    else if (settings.command === 'version') process.stdout.write(`${version()}\n`)
    else if (settings.command === 'check') return await check(settings, narrator)
    else await run(settings, narrator)
    return EXIT.done
  } catch (error) {
    narrator.fail(error)
    return error instanceof RelayOptionError ? EXIT.usage : EXIT.failed
  }
}

async function run({ options, health }: Settings, narrator: Narrator): Promise<void> {
  const relay = new Relay(options)
  const ending = new AbortController()
  for (const [name, code] of Object.entries(SIGNALS)) {
    process.on(name, () => {
      // A second signal ends the process at once.
      if (ending.signal.aborted) process.exit(code)
      narrator.say('ending', `ends because of ${name}`)
      ending.abort()
    })
  }
  relay.on('role', (role, reason) => narrator.role(role, relay.stats().epoch, reason))
  relay.on('warning', ({ message, error }) => narrator.warn(message, error))
  const server = health === undefined ? undefined : await serveHealth(relay, health)
  try {
    if (server) narrator.say('health', `serves ${server.url}/healthz`)
    await relay.run({ signal: ending.signal })
  } finally {
    await server?.close()
    const { stored, gaps, failures } = relay.stats()
    narrator.say(
      'ended',
      `has stored ${stored} messages, ${gaps} of them gaps; ${failures} attempts had failed`,
    )
  }
}

async function check({ options, isJson }: Settings, narrator: Narrator): Promise<number> {
  const findings = await checkRelay(options)
  for (const finding of findings)
    process.stdout.write(isJson ? `${JSON.stringify(finding)}\n` : line(finding))
  const problems = findings.filter(({ level }) => level === 'problem').length
  narrator.say(
    'checked',
    problems === 0 ? 'the relay can work' : `${problems} of these keep the relay from working`,
  )
  return problems === 0 ? EXIT.done : EXIT.failed
}

const line = ({ level, what, advice }: Finding) =>
  `${level.padEnd(8)} ${what}${advice === undefined ? '' : `\n         → ${advice}`}\n`

function version(): string {
  const manifest = path.join(__dirname, '..', '..', 'package.json')
  return (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version
}
