// The command line of `pglisten-console`: its options, their defaults and their checks.

import { isIP } from 'node:net'
import { parseArgs } from 'node:util'

export const HELP = `Usage: pglisten-console [CHANNEL...] [options]

Serves a live web page of PostgreSQL notifications, and prints its address. The page can listen to further channels.

  DATABASE_URL=postgres://… npx pglisten-console orders jobs

The database is the one of DATABASE_URL, or of PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE.

Options:
  --port NUMBER      the port of the web page; 0 for any that is free (7433)
  --host ADDRESS     the address to serve on (127.0.0.1). Any but a loopback address needs --origin
  --origin URL       the page's address as browsers see it, such as https://console.example.com; may be given more than once
  --allow-send       let the page send notifications
  --rate NUMBER      the most messages that a page is sent in a second, from 1 to 1000 (50). Counts are always exact
  --help             show this text
  --version          show the version

Environment:
  PGLISTEN_CONSOLE_TOKEN   the token of the address, at least 32 characters: letters, digits and - _ . ~ + / =. Without it
                           each start makes a new one

Exit codes: 0 ended by a signal, 1 failed, 2 wrong arguments.
`

const MIN_TOKEN_LENGTH = 32
/** What a browser leaves as it is behind the `#` of an address: base64 in both alphabets, hexadecimal, UUIDs. */
const TOKEN = /^[\w.~+/=-]*$/
/** The most channels that a console listens to. */
export const MAX_CHANNELS = 100
/** PostgreSQL cuts longer names (NAMEDATALEN). */
const MAX_CHANNEL_BYTES = 63
const DEFAULT_PORT = 7433
const DEFAULT_RATE = 50

/** An argument that cannot be used. The message says what was expected and what came. */
export class UsageError extends Error {}

/**
 * @typedef {object} ConsoleOptions
 * @property {string[]} channels The channels to listen to from the start.
 * @property {string | undefined} dsn The database; without it libpq's environment variables say which.
 * @property {string} host The address to serve on.
 * @property {number} port The port to serve on; 0 for any that is free.
 * @property {string[]} origins The page's addresses as browsers see them, beside those of the loopback interface.
 * @property {boolean} allowSend Whether the page can send notifications.
 * @property {number} rate The most messages that a page is sent in a second.
 * @property {string | undefined} token The token; without it a new one is made.
 */

/**
 * @param {string[]} args
 * @param {Record<string, string | undefined>} env
 * @returns {{ help: true } | { version: true } | { options: ConsoleOptions }}
 */
export function parseOptions(args, env) {
  const { values, positionals } = parse(args)
  if (values.help) return { help: true }
  if (values.version) return { version: true }
  if (positionals.some(isAddress)) {
    throw new UsageError(
      'Expected names of channels, got the address of a server (not shown: it may hold a password). It belongs into DATABASE_URL: ' +
        'every user of this machine can read the arguments of a program',
    )
  }
  const channels = [...new Set(positionals)]
  for (const channel of channels) checkChannel(channel)
  if (channels.length > MAX_CHANNELS)
    throw new UsageError(`Expected at most ${MAX_CHANNELS} channels, got ${channels.length}`)
  const host = values.host ?? '127.0.0.1'
  if (isIP(host) === 0) {
    throw new UsageError(`Expected --host to be an IP address, got ${shown(host)}`)
  }
  const origins = (values.origin ?? []).map(checkOrigin)
  if (!isLoopback(host) && origins.length === 0) {
    throw new UsageError(
      `Expected --origin beside --host ${host}: whoever reaches that address reaches the console, so say by which URL. ` +
        'The URL should be https, of a proxy that encrypts: the token and every payload go through it',
    )
  }
  const token = env['PGLISTEN_CONSOLE_TOKEN'] || undefined
  if (token !== undefined && token.length < MIN_TOKEN_LENGTH) {
    throw new UsageError(
      `Expected PGLISTEN_CONSOLE_TOKEN to have at least ${MIN_TOKEN_LENGTH} characters, got ${token.length}`,
    )
  }
  if (token !== undefined && !TOKEN.test(token)) {
    throw new UsageError(
      'Expected PGLISTEN_CONSOLE_TOKEN to have letters, digits and the characters - _ . ~ + / = only',
    )
  }
  return {
    options: {
      channels,
      dsn: env['DATABASE_URL'] || undefined,
      host,
      port: checkInteger('--port', values.port, { from: 0, to: 65_535, otherwise: DEFAULT_PORT }),
      origins,
      allowSend: values['allow-send'] ?? false,
      rate: checkInteger('--rate', values.rate, { from: 1, to: 1000, otherwise: DEFAULT_RATE }),
      token,
    },
  }
}

/** @param {string} host Whether nobody but this machine reaches the address. */
export function isLoopback(host) {
  return host === '::1' || host.startsWith('127.')
}

/**
 * Whether a text is the address of a server, or would be one but for its scheme: nobody names a channel so.
 * @param {string} text
 */
function isAddress(text) {
  return (
    /^\s*postgres(ql)?:\/\//i.test(text) ||
    /^\s*[a-z][a-z\d+.-]*:\/\/\S*@/i.test(text) ||
    /(^|\s)password\s*=/i.test(text) ||
    /^\s*(host|hostaddr|port|dbname|user|service)\s*=\s*\S+\s+\w+\s*=/i.test(text)
  )
}

/** A text of an error: an address may hold a password. @param {string} text */
function shown(text) {
  return isAddress(text) ? 'an address (not shown: it may hold a password)' : `\`${text}\``
}

/** @param {string} channel */
function checkChannel(channel) {
  const bytes = Buffer.byteLength(channel)
  if (bytes === 0 || bytes > MAX_CHANNEL_BYTES)
    throw new UsageError(
      `Expected a channel's name of 1 to ${MAX_CHANNEL_BYTES} bytes, got ${bytes} bytes`,
    )
}

/** @param {string[]} args */
function parse(args) {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: {
        port: { type: 'string' },
        host: { type: 'string' },
        origin: { type: 'string', multiple: true },
        'allow-send': { type: 'boolean' },
        rate: { type: 'string' },
        help: { type: 'boolean' },
        version: { type: 'boolean' },
      },
    })
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  }
}

/** @param {string} text */
function checkOrigin(text) {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (!url || !/^https?:$/.test(url.protocol) || url.href !== `${url.origin}/`) {
    throw new UsageError(
      `Expected --origin to be a URL such as https://console.example.com, without a path, got ${shown(text)}`,
    )
  }
  return url.origin
}

/**
 * @param {string} name
 * @param {string | undefined} text
 * @param {{ from: number, to: number, otherwise: number }} range
 */
function checkInteger(name, text, { from, to, otherwise }) {
  if (text === undefined) return otherwise
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
  if (!(value >= from && value <= to)) {
    throw new UsageError(
      `Expected ${name} to be a number from ${from} to ${to}, got ${shown(text)}`,
    )
  }
  return value
}
