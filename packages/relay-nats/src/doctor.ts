// Looks at what the relay needs before it is started: versions, the stream's settings, rights.
import type { ConnectionPool } from 'pglisten'
import type { StreamInfo } from '@nats-io/jetstream'
import { RelayOptionError, textOf } from './errors.js'
import { Answers } from './nats/answers.js'
import { takesBatches } from './nats/batch.js'
import { Link } from './nats/link.js'
import { StreamReader, holesOf } from './nats/stream.js'
import { resolveOptions, type RelayOptions, type ResolvedOptions } from './options/options.js'
import { lockKeyOf } from './postgres/leader.js'
import { poolOf } from './run/postgres.js'
import { makeHeaders } from './wire/headers.js'
import { gapSubjectOf, subjectOf } from './wire/subjects.js'

/** What {@link checkRelay} has found. */
export interface Finding {
  /** `problem`: the relay cannot work. `warning`: it can, but not as well or as safely as it could. `ok`: as it should be. */
  level: 'ok' | 'warning' | 'problem'
  /** What was looked at, and how it is. */
  what: string
  /** What to do; `undefined` where nothing is to be done. */
  advice: string | undefined
}

const CHECK_MS = 5000
/** A sequence that no stream reaches: a message that expects it is refused, so whoever may publish learns that and stores nothing. */
const NEVER = '18446744073709551614'
const WRONG_LAST_SEQUENCE = 10_071
/** The room for a payload of PostgreSQL and the headers. */
const LEAST_MESSAGE = 9000

/**
 * Checks PostgreSQL and NATS with the options of a relay. Stores nothing, and changes nothing.
 *
 * @throws {@link RelayOptionError} when an option is wrong.
 */
export async function checkRelay(options: RelayOptions): Promise<Finding[]> {
  const resolved = resolveOptions(options)
  const findings: Finding[] = []
  const add = (level: Finding['level'], what: string, advice?: string) =>
    void findings.push({ level, what, advice })
  const database = await checkPostgres(resolved, add)
  await checkNats(resolved, resolved.database ?? database, add)
  return findings
}

type Add = (level: Finding['level'], what: string, advice?: string) => void

async function checkPostgres(options: ResolvedOptions, add: Add): Promise<string | undefined> {
  const pool = poolOf(options, { connectTimeoutSec: CHECK_MS / 1000 })
  try {
    const row = await pool.fetchRow<{
      database: string
      version: number
      recovery: boolean
      version_text: string
    }>(
      `SELECT pg_catalog.current_database()::pg_catalog.text AS database, pg_catalog.current_setting('server_version_num')::int AS version,
              pg_catalog.current_setting('server_version') AS version_text, pg_catalog.pg_is_in_recovery() AS recovery`,
      [],
      { timeoutMs: CHECK_MS },
    )
    add('ok', `PostgreSQL ${row.version_text}, database ${row.database}`)
    if (row.recovery)
      add(
        'problem',
        'PostgreSQL is a standby, which takes no LISTEN',
        'name the primary, or all hosts with targetSessionAttrs: primary',
      )
    if (options.durable) await checkDurable(pool, row.version, add)
    else await checkListening(pool, options, add)
    return row.database
  } catch (error) {
    add(
      'problem',
      `PostgreSQL cannot be used: ${textOf(error)}`,
      'see docs/troubleshooting.md of pglisten',
    )
    return undefined
  } finally {
    await pool.close()
  }
}

async function checkListening(
  pool: ConnectionPool,
  options: ResolvedOptions,
  add: Add,
): Promise<void> {
  const listener = pool.listener({ session: 'own', channels: options.channels, reconnect: false })
  try {
    await listener.startup({ timeoutMs: CHECK_MS })
    add('ok', `LISTEN works on ${options.channels.length} channels, and notifications arrive`)
    const holder = await listener.connection.fetchVal<number | null>(
      `SELECT pg_catalog.min(pid) FROM pg_catalog.pg_locks
        WHERE locktype OPERATOR(pg_catalog.=) 'advisory' AND granted AND objsubid OPERATOR(pg_catalog.=) 1
          AND ((classid::bigint OPERATOR(pg_catalog.<<) 32) OPERATOR(pg_catalog.|) objid::bigint) OPERATOR(pg_catalog.=) $1::bigint
          AND database OPERATOR(pg_catalog.=) (
            SELECT oid FROM pg_catalog.pg_database WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database())`,
      [lockKeyOf(options.stream)],
    )
    add('ok', holder === null ? 'no relay leads now' : `a relay leads: backend ${holder}`)
    if (holder === null) return
    const mayEnd = await listener.connection.fetchVal<boolean>(
      `SELECT pg_catalog.pg_has_role(usesysid, 'USAGE') OR pg_catalog.pg_has_role('pg_signal_backend', 'USAGE')
         FROM pg_catalog.pg_stat_activity WHERE pid OPERATOR(pg_catalog.=) $1`,
      [holder],
    )
    if (!mayEnd)
      add(
        'warning',
        'this role may not end the session of the relay that leads, should it freeze',
        'let all relays of a stream have the same role',
      )
  } catch (error) {
    add(
      'problem',
      `LISTEN does not work: ${textOf(error)}`,
      'connect to the server itself, not to a transaction pooler',
    )
  } finally {
    await listener.shutdown()
  }
}

async function checkDurable(pool: ConnectionPool, version: number, add: Add): Promise<void> {
  const status = await pool.durable.status()
  if (status.version === 0)
    add('problem', 'durable subscriptions are not installed', 'npx pglisten durable install')
  else if (status.version < status.latestVersion)
    add(
      'problem',
      `durable subscriptions have version ${status.version}, not ${status.latestVersion}`,
      'npx pglisten durable install',
    )
  else add('ok', `durable subscriptions are installed, version ${status.version}`)
  if (version < 140_000) add('problem', 'PostgreSQL is older than 14', 'use a newer one')
}

async function checkNats(
  options: ResolvedOptions,
  database: string | undefined,
  add: Add,
): Promise<void> {
  const warnings: string[] = []
  const late = AbortSignal.timeout(CHECK_MS)
  let link: Link
  try {
    link = await Link.open(
      options.nats,
      {
        onConnected: () => {},
        onDisconnected: () => {},
        onWarning: (_message, error) => void warnings.push(textOf(error)),
      },
      late,
    )
  } catch (error) {
    if (error instanceof RelayOptionError) throw error
    add(
      'problem',
      `NATS cannot be reached: ${warnings.at(-1) ?? 'no answer'}`,
      'check `nats.servers` and the credentials',
    )
    return
  }
  try {
    const { info } = link.nc
    add(
      'ok',
      `nats-server ${info?.version ?? 'of an unknown version'}, at most ${info?.max_payload} bytes a message`,
    )
    if (info && info.max_payload < LEAST_MESSAGE)
      add(
        'warning',
        `max_payload of ${info.max_payload} bytes is less than a notification may need`,
        'set max_payload to 16384 or more',
      )
    const stream = await readStream(link, options, add)
    if (stream && database !== undefined) {
      checkStream(stream, options, database, add)
      await checkPublishing(link, options, database, add)
    }
  } finally {
    await link.close()
  }
}

async function readStream(
  link: Link,
  options: ResolvedOptions,
  add: Add,
): Promise<StreamInfo | undefined> {
  const reader = new StreamReader(link, options.stream, CHECK_MS)
  try {
    const info = await reader.info()
    await reader.message(Math.max(1, info.state.last_seq))
    add(
      'ok',
      `stream ${options.stream} is there, with ${info.state.messages} messages, and can be read`,
    )
    return info
  } catch (error) {
    add(
      'problem',
      `stream ${options.stream} cannot be read: ${textOf(error)}`,
      `make it, and allow $JS.API.STREAM.INFO.${options.stream} and $JS.API.STREAM.MSG.GET.${options.stream}`,
    )
    return undefined
  }
}

function checkStream(info: StreamInfo, options: ResolvedOptions, database: string, add: Add): void {
  const { config } = info
  const wanted = [
    ...options.channels.map((channel) => subjectOf(options.prefix, database, channel)),
    gapSubjectOf(options.prefix, database),
  ]
  const missing = wanted.filter(
    (subject) => !(config.subjects ?? []).some((one) => covers(one, subject)),
  )
  if (missing.length > 0)
    add(
      'problem',
      `the stream does not take ${missing[0]}`,
      `give it the subject ${options.prefix}.${database}.>`,
    )
  else add('ok', 'the stream takes the subjects of every channel and of gaps')
  if (config.mirror || (config.sources?.length ?? 0) > 0)
    add('problem', 'the stream copies another one', 'nobody but relays may write to it')
  for (const { what, advice } of holesOf(info))
    add(options.durable ? 'problem' : 'warning', what, advice)
  if (config.storage !== 'file')
    add('warning', 'the stream is kept in memory', 'set storage to file')
  if (config.discard === 'new')
    add('warning', 'a full stream refuses new messages, and the relay waits', 'set discard to old')
  if ((config.max_age ?? 0) === 0 && (config.max_bytes ?? -1) < 0 && (config.max_msgs ?? -1) < 0)
    add('warning', 'the stream keeps everything for ever', 'set max_age, max_bytes or both')
  if ((config.max_msg_size ?? -1) > 0 && config.max_msg_size < LEAST_MESSAGE)
    add(
      'warning',
      `max_msg_size of ${config.max_msg_size} bytes is less than a notification may need`,
      'set it to 16384 or more, or to -1',
    )
  if (config.no_ack) add('problem', 'the stream answers nothing (no_ack)', 'set no_ack to false')
  const seconds = (config.duplicate_window ?? 0) / 1e9
  if (seconds > 10)
    add(
      'warning',
      `the server keeps the id of each message for ${seconds} s`,
      'set duplicate_window to 1s: the relay needs no more',
    )
  if (Number.isFinite(options.batchFrom) && !takesBatches(info))
    add(
      'warning',
      'the stream takes no atomic batches',
      'set allow_atomic on nats-server 2.12 or newer, or leave batchFrom out',
    )
}

/** Sends a message that expects a sequence which the stream never has: an account that may publish is told that it is wrong. */
async function checkPublishing(
  link: Link,
  options: ResolvedOptions,
  database: string,
  add: Add,
): Promise<void> {
  const answers = new Answers(link)
  try {
    const outcome = await answers.send(
      [
        {
          subject: gapSubjectOf(options.prefix, database),
          payload: new Uint8Array(0),
          headers: makeHeaders({ 'Nats-Expected-Last-Sequence': NEVER }),
          isAnswered: true,
        },
      ],
      CHECK_MS / 2,
    )
    const refusal = outcome.answers[0]?.refusal
    if (refusal?.code === WRONG_LAST_SEQUENCE)
      add('ok', 'the account may publish, and gets answers')
    else
      add(
        'problem',
        `the account cannot publish: ${refusal?.message ?? outcome.failure?.message ?? 'no answer'}`,
        `allow it to publish ${options.prefix}.${database}.>, and to subscribe to ${options.nats.inboxPrefix}.>`,
      )
  } finally {
    answers.close()
  }
}

/** Whether a subject of a stream, maybe with wildcards, takes a subject. */
export function covers(pattern: string, subject: string): boolean {
  const [wanted, given] = [pattern.split('.'), subject.split('.')]
  for (const [index, token] of wanted.entries()) {
    if (token === '>') return given.length > index
    if (given[index] === undefined || (token !== '*' && token !== given[index])) return false
  }
  return wanted.length === given.length
}
