// @ts-check
// `pglisten trigger`: prints SQL and connects to nothing.
'use strict'

const { createHash } = require('node:crypto')
const { flag, parse, shown, text } = require('../lib/arguments.js')
const { EXIT, UsageError } = require('../lib/errors.js')

/** PostgreSQL cuts longer names (NAMEDATALEN). */
const MAX_NAME_BYTES = 63
/** PostgreSQL refuses longer payloads (NOTIFY_PAYLOAD_MAX_LENGTH). */
const MAX_PAYLOAD_BYTES = 7999
/** PostgreSQL refuses more arguments of a call (FUNC_MAX_ARGS), when the trigger fires. */
const MAX_ARGUMENTS = 100

const HELP = `Usage: pglisten trigger TABLE [options]

Prints the SQL of a trigger that notifies when rows of TABLE change. Look at it, or pipe it into psql:

  npx pglisten trigger orders | psql "$DATABASE_URL"

The payload is JSON: {"op": "INSERT", "key": {"id": 7}}, with "op" also UPDATE or DELETE. It is measured: what would be too
long for a notification (${MAX_PAYLOAD_BYTES} bytes) is left out, because an error in a trigger aborts the statement that fired it.

Options:
  --schema NAME      the table's schema (public)
  --channel NAME     the channel to notify (the name of the table)
  --key A,B          the columns that identify a row (id)
  --payload id|row   row: also the whole row, as "row", where it is short enough (id)
  --columns A,B      only these columns as "row"; implies --payload row
  --statement        notify once for each statement: {"op": "INSERT"}, also UPDATE, DELETE and TRUNCATE
  --help             show this text

Names are taken as they are: no quotes, and capitals are kept. "sales.orders" is --schema sales orders.
Exit codes: 0 printed, 2 wrong arguments.
`

const OPTIONS = {
  ...{ schema: text, channel: text, key: text, payload: text, columns: text },
  ...{ statement: flag, help: flag },
}

/** @param {string[]} args @returns {number} The exit code. */
function run(args) {
  const { values, positionals, rest = [] } = parse(args, OPTIONS)
  const [table, ...more] = [...positionals, ...rest]
  if (!values.help) {
    if (table === undefined) throw new UsageError('Expected the name of a table')
    if (more.length > 0)
      throw new UsageError(`Expected one table, got ${shown(more.join(' '))} besides`)
  }
  process.stdout.write(values.help || table === undefined ? HELP : trigger(table, values))
  return EXIT.done
}

/**
 * @param {string} table
 * @param {{ schema?: string, channel?: string, key?: string, payload?: string, columns?: string, statement?: boolean }} options
 */
function trigger(table, { schema = 'public', channel = table, key, payload, columns, statement }) {
  if (payload !== undefined && payload !== 'id' && payload !== 'row')
    throw new UsageError(`Expected \`--payload\` to be \`id\` or \`row\`, got ${shown(payload)}`)
  if (payload === 'id' && columns !== undefined)
    throw new UsageError('Expected `--payload id` or `--columns`, got both')
  if (statement && (payload ?? columns ?? key) !== undefined)
    throw new UsageError(
      '`--statement` knows no rows: leave out `--payload`, `--columns` and `--key`',
    )
  check('TABLE', table)
  check('--schema', schema)
  check('--channel', channel)
  const place = `${identifier(schema)}.${identifier(table)}`
  const name = identifier(shortened(`pglisten_${table}`))
  const routine = `${identifier(schema)}.${name}`
  const keys = list('--key', key ?? 'id')
  const chosen = columns === undefined ? [] : list('--columns', columns)
  const body = statement
    ? `BEGIN
  PERFORM pg_notify(${literal(channel)}, json_build_object('op', TG_OP)::text);
  RETURN NULL;
END`
    : rows(channel, keys, chosen, columns !== undefined || payload === 'row')
  // A column that is not there would be an error of every later change of the table.
  const needed = statement ? [] : [...new Set([...keys, ...chosen])].map(identifier)
  const look = needed.length === 0 ? '' : `SELECT ${needed.join(', ')} FROM ${place} LIMIT 0;\n\n`
  const quote = dollarQuote(body)
  return `-- Made by \`pglisten trigger\`. To remove it:
--   DROP TRIGGER ${oneLine(name)} ON ${oneLine(place)}; DROP FUNCTION ${oneLine(routine)}();
BEGIN;

${look}CREATE OR REPLACE FUNCTION ${routine}() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS ${quote}
${body}
${quote};

CREATE OR REPLACE TRIGGER ${name}
  AFTER INSERT OR UPDATE OR DELETE${statement ? ' OR TRUNCATE' : ''} ON ${place}
  FOR EACH ${statement ? 'STATEMENT' : 'ROW'} EXECUTE FUNCTION ${routine}();

COMMIT;
`
}

/** @param {string} channel @param {string[]} keys @param {string[]} columns @param {boolean} withRow */
function rows(channel, keys, columns, withRow) {
  const object = (/** @type {string[]} */ names) => {
    const values = names.map((name) => `changed.${identifier(name)}`)
    // A subquery takes any number of columns. PL/pgSQL evaluates a call in less time, at each change of a row.
    return 2 * names.length > MAX_ARGUMENTS
      ? `(SELECT row_to_json(part.*) FROM (SELECT ${values.join(', ')}) AS part)`
      : `json_build_object(${names.map((name, at) => `${literal(name)}, ${values[at]}`).join(', ')})`
  }
  const row = columns.length === 0 ? 'row_to_json(changed)' : object(columns)
  const key = `json_build_object('op', TG_OP, 'key', ${object(keys)})`
  const first = withRow
    ? `json_build_object('op', TG_OP, 'key', ${object(keys)}, 'row', ${row})`
    : key
  const tooLong = `octet_length(payload) > ${MAX_PAYLOAD_BYTES}`
  return `DECLARE
  changed record;
  payload text;
BEGIN
  IF TG_OP = 'DELETE' THEN
    changed := OLD;
  ELSE
    changed := NEW;
  END IF;
  payload := ${first};
${withRow ? `  IF ${tooLong} THEN -- longer than PostgreSQL takes: without the row\n    payload := ${key};\n  END IF;\n` : ''}  IF ${tooLong} THEN -- without the key
    payload := json_build_object('op', TG_OP);
  END IF;
  PERFORM pg_notify(${literal(channel)}, payload);
  RETURN NULL;
END`
}

/** @param {string} what @param {string} names */
function list(what, names) {
  const all = names.split(',')
  for (const name of all) check(what, name)
  return all
}

/** Refuses a name that PostgreSQL would cut or cannot hold. @param {string} what @param {string} name */
function check(what, name) {
  const bytes = Buffer.byteLength(name)
  if (bytes === 0 || bytes > MAX_NAME_BYTES || name.includes('\0') || !name.isWellFormed()) {
    throw new UsageError(
      `Expected \`${what}\` to be a name of 1 to ${MAX_NAME_BYTES} bytes${what === 'TABLE' ? '' : ' each'}, got ${bytes} bytes`,
    )
  }
}

/** A name of ours, with a hash in the place of what does not fit. @param {string} name */
function shortened(name) {
  if (Buffer.byteLength(name) <= MAX_NAME_BYTES) return name
  const hash = createHash('sha256').update(name).digest('hex').slice(0, 12)
  let short = name
  while (Buffer.byteLength(short) > MAX_NAME_BYTES - 13) short = short.slice(0, -1)
  return `${short}_${hash}`
}

/** @param {string} name */
const identifier = (name) => `"${name.replaceAll('"', '""')}"`

/** A string that means the same whatever `standard_conforming_strings` is. @param {string} text */
const literal = (text) =>
  text.includes('\\')
    ? `E'${text.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`
    : `'${text.replaceAll("'", "''")}'`

/** A comment ends with its line. @param {string} text */
const oneLine = (text) => text.replaceAll(/[\r\n]/g, '?')

/** Quotes that the body does not contain. @param {string} body */
function dollarQuote(body) {
  for (let number = 0; ; number += 1) {
    const quote = `$pglisten${number === 0 ? '' : number}$`
    if (!body.includes(quote)) return quote
  }
}

module.exports = { run }
