// Calls that run statements, told to whoever traces them.
import type { ResolvedObservation } from '../options/observation.js'
import {
  notifyChannels,
  statementChannels,
  type NotifyContext,
  type StatementContext,
  type StatementMethod,
} from '../observe/channels.js'
import { isTraced, traced } from '../observe/tracing.js'

/** @internal The key of the method that returns what may be told of statements. */
export const observationOf: unique symbol = Symbol('observationOf')

/** @internal The key of the method that returns the process id of the backend, once a connection is leased. */
export const backendOf: unique symbol = Symbol('backendOf')

/** @internal Runs statements. */
export interface Observable {
  [observationOf](): ResolvedObservation
  [backendOf](): number | undefined
}

/** The first words of statements, as far as they are told. A word that is none may be anything. */
const COMMANDS: ReadonlySet<string> = new Set(
  (
    'ABORT ALTER ANALYZE BEGIN CALL CHECKPOINT CLOSE CLUSTER COMMENT COMMIT COPY CREATE DEALLOCATE DECLARE DELETE DISCARD DO ' +
    'DROP END EXECUTE EXPLAIN FETCH GRANT IMPORT INSERT LISTEN LOAD LOCK MERGE MOVE NOTIFY PREPARE REASSIGN REFRESH REINDEX ' +
    'RELEASE RESET REVOKE ROLLBACK SAVEPOINT SECURITY SELECT SET SHOW START TABLE TRUNCATE UNLISTEN UPDATE VACUUM VALUES WITH'
  ).split(' '),
)

function commandOf(sql: string): string | undefined {
  const word = /^[\s(]*([a-z]{2,10})\b/i.exec(sql)?.[1]?.toUpperCase()
  return word !== undefined && COMMANDS.has(word) ? word : undefined
}

/**
 * @internal Runs a call that runs `sql`, and tells of it if anybody traces statements. What the call throws at once is thrown at once, traced
 * or not. A text that takes time to make is a function.
 */
export function observed<Result>(
  where: Observable,
  method: StatementMethod,
  sql: string | (() => string),
  run: () => Promise<Result>,
): Promise<Result> {
  if (!isTraced(statementChannels)) return run()
  return observedStatement(where, method, typeof sql === 'string' ? sql : sql(), run)
}

function observedStatement<Result>(
  where: Observable,
  method: StatementMethod,
  sql: string,
  run: () => Promise<Result>,
): Promise<Result> {
  const { statements } = where[observationOf]()
  const context: StatementContext = {
    method,
    command: commandOf(sql),
    processId: where[backendOf](),
    text: statements ? sql : undefined,
    error: undefined,
  }
  return traced(statementChannels, context, statements, () => ended(run(), where, context))
}

async function ended<Result>(
  outcome: Promise<Result>,
  where: Observable,
  context: StatementContext,
): Promise<Result> {
  try {
    return await outcome
  } finally {
    // A connection that a callback has got is leased by its first statement.
    context.processId ??= where[backendOf]()
  }
}

/** @internal Runs a call that sends notifications, and tells of it if anybody traces that. */
export function observedNotify<Result>(
  { payloads }: ResolvedObservation,
  channel: string,
  texts: readonly string[],
  run: () => Promise<Result>,
): Promise<Result> {
  if (!isTraced(notifyChannels)) return run()
  const context: NotifyContext = {
    channel,
    count: texts.length,
    payloads: payloads ? texts : undefined,
    error: undefined,
  }
  return traced(notifyChannels, context, payloads, run)
}
