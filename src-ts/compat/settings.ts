// What other clients' options of a connection are here, for the adapters to their APIs.
import {
  ArgumentRangeError,
  ArgumentTypeError,
  ConnectionPoolConfigurationError,
} from '../errors.js'
import type { ConnectionPoolOptions } from '../options/pool.js'

/** Returns what an option of another client is here. `others`: what those before it were. */
type Translation = (value: unknown, others: ConnectionPoolOptions, name: string) => object

/** Translations by the other client's name, or the name that the same option has here. */
export type Translations = Readonly<Record<string, Translation | keyof ConnectionPoolOptions>>

/** Translates options. One that the table has not is left to the pool, which takes its own options and refuses others. */
export function translated(given: object, table: Translations): ConnectionPoolOptions {
  const options: ConnectionPoolOptions = {}
  for (const [name, value] of Object.entries(given) as [string, unknown][]) {
    // Both clients take these for an option that was left out.
    if (value === undefined || value === null) continue
    const how = Object.hasOwn(table, name) ? table[name]! : name
    Object.assign(options, typeof how === 'string' ? { [how]: value } : how(value, options, name))
  }
  return options
}

/** The longest delay that a timer of Node allows, in milliseconds: nearly 25 days. */
export const MAX_DELAY_MS = 2 ** 31 - 1

/** Checks that a value is the limit of a time: a number from 0 on, or `Infinity`. */
export function checkLimit(name: string, value: unknown): asserts value is number {
  const message = `Expected \`${name}\` to be a number >= 0 or Infinity`
  if (typeof value !== 'number') throw new ArgumentTypeError(message)
  if (!(value >= 0)) throw new ArgumentRangeError(message)
}

/** An option that has no meaning for who only listens and notifies. */
export const ignored: Translation = () => ({})

/** An option that cannot be kept, and what to do instead. */
export function refused(reason: string): Translation {
  return (_value, _others, name) => {
    throw new ConnectionPoolConfigurationError(`\`${name}\` ${reason}`, { option: name })
  }
}

/** A time, of which 0 stands for no limit. */
export function time(option: keyof ConnectionPoolOptions, unitsPerSecond = 1): Translation {
  return (value) => (Number(value) > 0 ? { [option]: Number(value) / unitsPerSecond } : {})
}

/** Settings of the server's, as options with which sessions start. */
export function settings(given: object, { options }: ConnectionPoolOptions): ConnectionPoolOptions {
  const each = Object.entries(given).map(([name, value]) => {
    const escaped = String(value).replaceAll(/[\\\s]/g, String.raw`\$&`)
    return `-c ${name}=${escaped}`
  })
  return { options: [options, ...each].filter(Boolean).join(' ') }
}

/** Ports come from the environment too, as text. */
export const port: Translation = (value) =>
  Array.isArray(value) ? { ports: value.map(Number) } : { port: Number(value) }

/** The option `ssl` of pg and of postgres.js. */
export const tls: Translation = (value) => {
  const verified = { sslMode: 'verify-full', caFile: 'system' }
  if (value === false) return { sslMode: 'disable' }
  if (value === true || value === 'verify-full') return verified
  // postgres.js has no mode that begins without encryption.
  if (typeof value !== 'object') return { sslMode: value === 'allow' ? 'require' : value }
  const { rejectUnauthorized, ca, cert, key, ...others } = value as Record<string, unknown>
  const [strange] = Object.keys(others)
  if (strange !== undefined) {
    const message = `\`ssl.${strange}\` is not taken: only \`rejectUnauthorized\`, \`ca\`, \`cert\` and \`key\` are`
    throw new ConnectionPoolConfigurationError(message, { option: 'ssl' })
  }
  const own = { ...(cert != null && { cert: pem(cert) }), ...(key != null && { key: pem(key) }) }
  // With an authority `require` would verify.
  if (rejectUnauthorized === false) return { sslMode: 'require', ...own }
  return ca == null ? { ...verified, ...own } : { sslMode: 'verify-full', ca: pem(ca), ...own }
}

/** Text in PEM of a string, a buffer, or an array of these. */
const pem = (value: unknown): string => (Array.isArray(value) ? value.join('\n') : String(value))
