// The options of the command: from its arguments, the environment and a file, in this order.
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { RelayOptionError } from '../errors.js'
import type { HealthOptions } from '../health.js'
import { isObject } from '../options/checks.js'
import type { RelayOptions } from '../options/options.js'

/** What the command line asks for. */
export interface Settings {
  command: 'run' | 'check' | 'help' | 'version'
  /** Not checked yet: the relay does that. */
  options: RelayOptions
  health: HealthOptions | undefined
  isJson: boolean
  isQuiet: boolean
}

const text = { type: 'string' } as const
const flag = { type: 'boolean' } as const
const FLAGS = {
  config: text,
  stream: text,
  dsn: text,
  nats: { type: 'string', multiple: true },
  'nats-creds': text,
  database: text,
  prefix: text,
  durable: text,
  'batch-from': text,
  health: text,
  json: flag,
  quiet: flag,
  help: { type: 'boolean', short: 'h' },
  version: flag,
} as const

type Environment = Readonly<Record<string, string | undefined>>

/** Reads arguments, environment and file. @throws {@link RelayOptionError} */
export function readSettings(args: readonly string[], environment: Environment): Settings {
  const { values, positionals } = parse(args)
  const env = (name: string) => environment[name] || undefined
  const [first, ...rest] = positionals
  const isCommand = first === 'run' || first === 'check'
  const channels = isCommand ? rest : positionals
  const file = readFile(values.config ?? env('PGLISTEN_RELAY_CONFIG'))
  const { health: healthOfFile, ...options } = file
  const command = values.help
    ? 'help'
    : values.version
      ? 'version'
      : first === 'check'
        ? 'check'
        : 'run'
  const health = values.health ?? env('PGLISTEN_RELAY_HEALTH')
  return {
    command,
    options: merged(options, values, env, channels),
    health:
      health === undefined ? (healthOfFile as HealthOptions | undefined) : parseHealth(health),
    isJson: values.json ?? false,
    isQuiet: values.quiet ?? false,
  }
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: FLAGS, allowPositionals: true })
  } catch (error) {
    // The rest of Node's message is about `--`.
    throw new RelayOptionError((error as Error).message.split('. ')[0])
  }
}

function merged(
  file: Record<string, unknown>,
  values: ReturnType<typeof parse>['values'],
  env: (name: string) => string | undefined,
  channels: readonly string[],
): RelayOptions {
  const given: Record<string, unknown> = { ...file }
  const set = (name: string, value: unknown) => {
    if (value !== undefined) given[name] = value
  }
  set('stream', values.stream ?? env('PGLISTEN_RELAY_STREAM'))
  set('channels', channels.length > 0 ? channels : env('PGLISTEN_RELAY_CHANNELS')?.split(','))
  set('postgres', values.dsn ?? env('DATABASE_URL'))
  set('database', values.database ?? env('PGLISTEN_RELAY_DATABASE'))
  set('prefix', values.prefix ?? env('PGLISTEN_RELAY_PREFIX'))
  set(
    'batchFrom',
    parseNumber('--batch-from', values['batch-from'] ?? env('PGLISTEN_RELAY_BATCH_FROM')),
  )
  const durable = values.durable ?? env('PGLISTEN_RELAY_DURABLE')
  if (durable !== undefined) given['durable'] = { ...objectOf(given['durable']), name: durable }
  const nats: Record<string, unknown> = { ...objectOf(given['nats']) }
  for (const [name, value] of [
    ['servers', values.nats ?? env('NATS_URL')?.split(',')],
    ['credsFile', values['nats-creds'] ?? env('NATS_CREDS')],
    ['user', env('NATS_USER')],
    ['password', env('NATS_PASSWORD')],
    ['token', env('NATS_TOKEN')],
  ] as const)
    if (value !== undefined) nats[name] = value
  given['nats'] = nats
  return given as unknown as RelayOptions
}

const objectOf = (value: unknown): object => (isObject(value) ? value : {})

/** The options of the file; none without a file. Nothing of what it holds is shown, since that may be a password. */
function readFile(name: string | undefined): Record<string, unknown> {
  if (name === undefined) return {}
  let content: string
  try {
    content = readFileSync(name, 'utf8')
  } catch (error) {
    const { code } = error as { code?: string }
    throw new RelayOptionError(
      `Expected --config to be a file that can be read, got ${name} (${code})`,
    )
  }
  try {
    const parsed: unknown = JSON.parse(content)
    if (isObject(parsed)) return parsed as Record<string, unknown>
  } catch (error) {
    const [at] = /position \d+/.exec((error as Error).message) ?? ['an unknown position']
    throw new RelayOptionError(`Expected ${name} to hold JSON, got something else at ${at}`)
  }
  throw new RelayOptionError(`Expected ${name} to hold an object, got another kind of JSON`)
}

function parseNumber(name: string, value: string | undefined): number | undefined {
  if (value === undefined) return undefined
  if (!/^\d{1,9}$/.test(value))
    throw new RelayOptionError(`Expected \`${name}\` to be a number, got \`${value}\``)
  return Number(value)
}

function parseHealth(value: string): HealthOptions {
  const match = /^(?:(\[[^\]]+\]|[^:]+):)?(\d{1,5})$/.exec(value)
  if (!match)
    throw new RelayOptionError(`Expected \`--health\` to be [HOST:]PORT, got \`${value}\``)
  const host = match[1]?.replaceAll(/[[\]]/g, '')
  return { port: Number(match[2]), ...(host === undefined ? {} : { host }) }
}
