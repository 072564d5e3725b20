// @ts-check
// Channels by name or by pattern. PostgreSQL keeps no list of channels: what a pattern can find are names that stand in the
// catalogue and in the statements that sessions ran last.
'use strict'

/** @import { ConnectionPool, Listener } from 'pglisten' */

const { checkAddress, checkChannel } = require('./arguments.js')
const { describeError } = require('./errors.js')
const { visible } = require('./terminal.js')

/** No more channels than this are taken by patterns: whoever may create functions could name any number. */
const MAX_FOUND = 1000

/** How many sources and statements are read in one look, and how much of each. */
const MAX_ROWS = 10_000
const MAX_SOURCE = 100_000

/** What patterns can find, for `--help`. */
const DISCOVERY_HELP = `Patterns: an argument with * stands for every channel that matches and can be found. PostgreSQL has no list of channels, so it is
looked for where names are written: in functions and rules of this database that call pg_notify('name', …) or NOTIFY name, in the
arguments of triggers whose functions do, and in the LISTEN, NOTIFY and pg_notify('name', …) that sessions ran last (of other
roles only with pg_read_all_stats). The look is repeated every --discover seconds. It cannot find names that are put together at
run time ('orders_' || id) or sent as a parameter by programs: name those channels themselves.`

/** Sources of this database, and statements that sessions of it ran last. */
const SOURCES = `
  SELECT pg_catalog.left(p.prosrc, ${MAX_SOURCE}) AS source, NULL::pg_catalog.text AS arguments
  FROM pg_catalog.pg_proc AS p
  WHERE p.pronamespace OPERATOR(pg_catalog.<>) 'pg_catalog'::pg_catalog.regnamespace AND p.prosrc OPERATOR(pg_catalog.~*) 'notify'
  UNION ALL
  SELECT pg_catalog.left(pg_catalog.pg_get_function_sqlbody(p.oid), ${MAX_SOURCE}), NULL
  FROM pg_catalog.pg_proc AS p
  WHERE p.prosqlbody IS NOT NULL AND p.pronamespace OPERATOR(pg_catalog.<>) 'pg_catalog'::pg_catalog.regnamespace
  UNION ALL
  SELECT NULL, pg_catalog.encode(t.tgargs, 'hex')
  FROM pg_catalog.pg_trigger AS t JOIN pg_catalog.pg_proc AS p ON p.oid OPERATOR(pg_catalog.=) t.tgfoid
  WHERE t.tgnargs OPERATOR(pg_catalog.>) 0 AND NOT t.tgisinternal AND p.prosrc OPERATOR(pg_catalog.~*) 'notify' AND p.prosrc OPERATOR(pg_catalog.~*) 'tg_argv'
  UNION ALL
  SELECT r.definition, NULL FROM pg_catalog.pg_rules AS r WHERE r.definition OPERATOR(pg_catalog.~*) 'notify'
  UNION ALL
  SELECT a.query, NULL FROM pg_catalog.pg_stat_activity AS a
  WHERE a.datname OPERATOR(pg_catalog.=) pg_catalog.current_database() AND a.pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()
    AND a.query OPERATOR(pg_catalog.~*) 'listen|notify'
  LIMIT ${MAX_ROWS}`

/**
 * Reads what may name channels. PostgreSQL finds the text of a rule by the search path of whoever asks.
 * @param {ConnectionPool} pool
 * @param {{ timeoutMs: number, signal: AbortSignal }} bounds
 */
async function sources(pool, bounds) {
  const connection = await pool.connection(bounds)
  try {
    return await connection.transaction(async (tx) => {
      await tx.execute('SET LOCAL search_path = pg_catalog, pg_temp')
      return tx.fetch(SOURCES)
    }, bounds)
  } finally {
    await connection.close()
  }
}

const CALL = /\bpg_notify\s*\(\s*e?'((?:[^']|'')*)'(?:::\w+)?\s*,/gi
const STATEMENT =
  /\b(?:listen|notify)\s+(?:"((?:[^"]|"")+)"|([a-z_\u0080-\uffff][\w$\u0080-\uffff]*))/gi
/** Channels of the library's own, over which its listeners ask for a fence. */
const OWN = /^pglisten_fence_/

/**
 * The names of channels that a piece of SQL mentions.
 * @param {string} source
 * @returns {string[]}
 */
function namesIn(source) {
  const names = []
  for (const [, literal = ''] of source.matchAll(CALL)) names.push(literal.replaceAll("''", "'"))
  for (const [, quoted, plain = ''] of source.matchAll(STATEMENT))
    names.push(quoted === undefined ? plain.toLowerCase() : quoted.replaceAll('""', '"'))
  return names
}

/** @param {string} hex Arguments of a trigger: texts, each ended by a zero byte. */
const triggerArguments = (hex) => Buffer.from(hex, 'hex').toString('utf8').split('\0')

/** @param {string} pattern */
function matcher(pattern) {
  const parts = pattern.split('*')
  const [first = ''] = parts
  const last = parts.at(-1) ?? ''
  const between = parts.slice(1, -1)
  return (/** @type {string} */ name) => {
    if (name.length < first.length + last.length) return false
    if (!name.startsWith(first) || !name.endsWith(last)) return false
    let at = first.length
    for (const part of between) {
      const found = name.indexOf(part, at)
      if (found === -1) return false
      at = found + part.length
    }
    return at <= name.length - last.length
  }
}

/** The channels that were asked for. */
class Wanted {
  /** Names to listen to without a look at the server. @type {string[]} */
  names
  /** @type {string[]} */
  patterns
  #matchers
  /** @type {Set<string>} */
  #known

  /** @param {string[]} given @param {{ exact?: boolean | undefined }} options `exact`: a `*` is part of the name. */
  constructor(given, { exact }) {
    this.patterns = exact ? [] : given.filter((name) => name.includes('*'))
    this.names = exact ? given : given.filter((name) => !name.includes('*'))
    for (const name of this.names) checkChannel(name)
    for (const pattern of this.patterns) checkAddress(pattern)
    this.#matchers = this.patterns.map(matcher)
    this.#known = new Set(this.names)
  }

  /**
   * Looks for channels that match a pattern and were not added before.
   * @param {ConnectionPool} pool
   * @param {AbortSignal} signal Gives it up.
   * @returns {Promise<Set<string>>}
   */
  async find(pool, signal) {
    /** @type {Set<string>} */
    const found = new Set()
    if (this.patterns.length === 0) return found
    const rows = await sources(pool, { timeoutMs: 30_000, signal })
    for (const { source, arguments: args } of /** @type {any} */ (rows)) {
      const names = args === null ? namesIn(source ?? '') : triggerArguments(args)
      for (const name of names) {
        if (this.#known.has(name) || this.#known.size + found.size >= MAX_FOUND) continue
        if (isChannel(name) && this.#matchers.some((matches) => matches(name))) found.add(name)
      }
    }
    return found
  }

  /**
   * Adds a channel that was found to a listener. One that is refused is found again.
   * @param {Listener} listener
   * @param {string} channel
   * @param {{ signal?: AbortSignal }} [options]
   */
  async add(listener, channel, options) {
    await listener.addChannel(channel, options)
    this.#known.add(channel)
  }
}

/** @param {string} name */
const isChannel = (name) =>
  name !== '' && Buffer.byteLength(name) <= 63 && !name.includes('\0') && !OWN.test(name)

/**
 * Looks for channels of patterns again and again, and adds them to a listener.
 * @param {object} look
 * @param {Wanted} look.wanted
 * @param {number} look.everyMs 0 for never.
 * @param {ConnectionPool} look.pool
 * @param {Listener} look.listener
 * @param {AbortSignal} look.signal At its end nothing is told any more.
 * @param {(line: string) => void} look.tell
 * @returns {() => void} Ends it; a look that is under way is told of no more.
 */
function lookAgain({ wanted, everyMs, pool, listener, signal, tell }) {
  if (wanted.patterns.length === 0 || everyMs === 0) return () => {}
  let isOver = false
  let isLooking = false
  const look = async () => {
    if (isLooking || listener.state !== 'connected') return
    isLooking = true
    try {
      for (const channel of await wanted.find(pool, signal)) {
        await wanted.add(listener, channel)
        tell(`found ${visible(channel)}, and listening to it from now on`)
      }
    } catch (error) {
      if (!signal.aborted && !isOver) tell(`cannot look for channels: ${describeError(error)}`)
    } finally {
      isLooking = false
    }
  }
  const timer = setInterval(() => void look(), everyMs)
  return () => {
    isOver = true
    clearInterval(timer)
  }
}

module.exports = { Wanted, lookAgain, DISCOVERY_HELP, namesIn, matcher }
