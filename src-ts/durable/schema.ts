// The schema in the database: installed by version, in one transaction.
import { DurableError } from '../errors.js'
import type { InstallSettings } from '../options/durable.js'
import { quoteName } from '../query/identifiers.js'
import { intervalOf } from './interval.js'
import { PLAIN, readCommitted } from './owner.js'
import type { CallOptions } from '../query/bounds.js'
import type { Connection } from '../query/connection.js'
import type { Queryable } from '../query/queryable.js'
import { SqlState, sqlStateOf } from './states.js'

// Replaced by the text of the file when the package is built.
declare function PGLISTEN_SQL(file: string): string

/** What leads to each version from the one before it. */
const VERSIONS: readonly string[] = [PGLISTEN_SQL('1.sql')]

/** The present version of the schema. */
export const VERSION = VERSIONS.length

/** Keeps two installations apart: any number that nobody else takes. */
const LOCK = 5_782_470_116

/** What a role needs that publishes. */
const PUBLISH = ['publish(text, text, text, boolean)']
/** What a role needs that subscribes. */
const SUBSCRIBE = [
  ...PUBLISH,
  'position_now()',
  'here()',
  'is_home()',
  'is_adopted()',
  'trim_lock()',
  'subscribe(text, text[], int, boolean, interval, text)',
  'take(text, int, int, int, text)',
  'advance(text, int, jsonb)',
  'has_more(text, int)',
  'doze(text, int, uuid, interval)',
  'is_rung_for(text, int, uuid)',
  'rouse(text, int, uuid)',
  'is_undone(text, bigint)',
  'count_attempt(text, int, bigint, text, int)',
  'give_up(text, int, bigint, text)',
  'retry(text, bigint[])',
  'drop_subscription(text)',
  'lag(text, bigint)',
  'unread_for(text)',
  'tend(int, bigint, jsonb, text)',
  'adopt()',
]
/** What a role needs to read that subscribes. */
const READ = ['home', 'upkeep', 'subscription', 'position', 'failed', 'attempt']

/** Installs the schema, or brings it to the present version; does nothing where it is. In the transaction of `tx`. */
export async function install(
  tx: Queryable,
  { publishers, subscribers, retentionMs }: InstallSettings,
): Promise<void> {
  const publishing = publishers.map((role) => quoteName('publishers', role, 'a role'))
  const subscribing = subscribers.map((role) => quoteName('subscribers', role, 'a role'))
  // The types and defaults of the tables are PostgreSQL's own, wherever the path of the role leads first.
  await tx.executeBatch('SET LOCAL search_path = pg_catalog, pg_temp')
  await tx.execute('SELECT pg_catalog.pg_advisory_xact_lock($1)', [LOCK], PLAIN)
  const owner = await ownerOf(tx)
  if (owner === undefined) await tx.executeBatch('CREATE SCHEMA pglisten')
  else if (!owner.is_own) {
    // The owner of a schema may drop what others have in it, and put triggers of its own in the place of that.
    throw new DurableError(
      `the schema \`pglisten\` belongs to role \`${owner.name}\`: install as that role (\`SET ROLE\`), or after the schema was renamed`,
    )
  }
  const version = owner === undefined ? 0 : await installedVersion(tx)
  if (version > VERSION) {
    throw new DurableError(
      `the schema \`pglisten\` has version ${version}, which a newer pglisten has installed; this one knows version ${VERSION}`,
    )
  }
  for (const [index, sql] of VERSIONS.entries()) {
    if (index < version) continue
    await tx.executeBatch(sql)
    if (index > 0) await tx.execute('UPDATE pglisten.home SET version = $1', [index + 1], PLAIN)
  }
  if (retentionMs !== undefined) {
    const kept = retentionMs === false ? null : intervalOf(retentionMs)
    await tx.execute(
      'UPDATE pglisten.upkeep SET retention = $1::pg_catalog.text::interval',
      [kept],
      PLAIN,
    )
  }
  await checkSequence(tx)
  await tx.executeBatch(grants(publishing, PUBLISH, []) + grants(subscribing, SUBSCRIBE, READ))
}

/** A session that keeps ids in advance uses low ones late: events would be out of order. */
async function checkSequence(tx: Queryable): Promise<void> {
  const cache = await tx.fetchVal<bigint>(
    `SELECT seqcache FROM pg_catalog.pg_sequence
     WHERE seqrelid OPERATOR(pg_catalog.=) pg_catalog.pg_get_serial_sequence('pglisten.event', 'id')::pg_catalog.regclass`,
    [],
    PLAIN,
  )
  if (cache === 1n) return
  throw new DurableError(
    `expected the ids of \`pglisten.event\` to have no cache, got a cache of ${cache}: ` +
      'ALTER TABLE pglisten.event ALTER COLUMN id SET CACHE 1',
  )
}

function grants(
  roles: readonly string[],
  functions: readonly string[],
  tables: readonly string[],
): string {
  if (roles.length === 0) return ''
  const to = roles.join(', ')
  const callable = functions.map((name) => `pglisten.${name}`).join(', ')
  const readable = tables.map((name) => `pglisten.${name}`).join(', ')
  return (
    `GRANT USAGE ON SCHEMA pglisten TO ${to}; GRANT EXECUTE ON FUNCTION ${callable} TO ${to};` +
    (readable === '' ? '' : `GRANT SELECT ON ${readable} TO ${to};`)
  )
}

async function ownerOf(tx: Queryable): Promise<{ name: string; is_own: boolean } | undefined> {
  const found = await tx.fetchRowOrNull<{ name: string; is_own: boolean }>(
    `SELECT pg_catalog.pg_get_userbyid(nspowner) AS name, pg_catalog.pg_get_userbyid(nspowner) OPERATOR(pg_catalog.=) current_user AS is_own
     FROM pg_catalog.pg_namespace WHERE nspname OPERATOR(pg_catalog.=) 'pglisten'`,
    [],
    PLAIN,
  )
  return found ?? undefined
}

/** The version that is installed; 0 for an empty schema. Throws when the schema is another one of that name. */
export async function installedVersion(
  queryable: Queryable,
  left: () => CallOptions = () => ({}),
): Promise<number> {
  const { home, others } = await queryable.fetchRow<{ home: boolean; others: boolean }>(
    `SELECT pg_catalog.to_regclass('pglisten.home') IS NOT NULL AS home,
       EXISTS (SELECT FROM pg_catalog.pg_class WHERE relnamespace OPERATOR(pg_catalog.=) pg_catalog.to_regnamespace('pglisten')) AS others`,
    [],
    { ...PLAIN, ...left() },
  )
  if (home) {
    return queryable.fetchVal<number>('SELECT version FROM pglisten.home', [], {
      ...PLAIN,
      ...left(),
    })
  }
  if (!others) return 0
  throw new DurableError('the schema `pglisten` exists and is not one of durable subscriptions')
}

/** Makes the positions of a restored dump mean here what they meant there. */
export async function adopt(connection: Connection, left: () => CallOptions): Promise<void> {
  for (;;) {
    try {
      await readCommitted(connection, ['SELECT FROM pglisten.adopt()', []], left())
      return
    } catch (error) {
      if (sqlStateOf(error) !== SqlState.TooFewIds) throw error
      await connection.execute(USE_IDS, [], { ...PLAIN, ...left() })
    }
  }
}

/** Uses as many transaction ids as were used before, so that a new cluster soon has enough of them. */
const USE_IDS = `
  DO $$ BEGIN
    FOR n IN 1 .. pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::pg_catalog.text::bigint LOOP
      PERFORM pg_catalog.pg_current_xact_id();
      COMMIT;
    END LOOP;
  END $$`

/** Removes everything: events, subscriptions and positions. */
export async function uninstall(tx: Queryable): Promise<void> {
  await tx.execute('SELECT pg_catalog.pg_advisory_xact_lock($1)', [LOCK], PLAIN)
  const owner = await ownerOf(tx)
  if (owner === undefined) return
  if ((await installedVersion(tx)) === 0) return
  // In the order in which whoever works or publishes comes to the tables: in another one each would wait for the other.
  await tx.executeBatch(
    `SELECT pg_catalog.pg_advisory_xact_lock(pglisten.trim_lock());
     LOCK TABLE pglisten.position, pglisten.event, pglisten.sleeper, pglisten.subscription IN ACCESS EXCLUSIVE MODE;
     DROP SCHEMA pglisten CASCADE`,
  )
}
