// The stretch of statements that a transaction consists of, as the server has it: a transaction block, or a savepoint in one.
import type { NativeCommitOutcome, NativeLease } from '#native'
import { ArgumentRangeError, TransactionClosedError, TransactionCommitError } from '../../errors.js'
import { bridge } from '../../native/bridge.js'
import { unknownKind } from '../../native/kinds.js'
import { quoteName } from '../identifiers.js'
import { observed, type Observable } from '../observed.js'

/** @internal The stretch of statements that a transaction consists of. */
export interface Block {
  /** Its name in messages. */
  what: string
  /** The savepoint that begins it; `undefined` for a whole transaction. */
  savepoint: string | undefined
  /** How many transactions it is nested in. */
  depth: number
}

/** Begins the names of the savepoints of nested transactions, and of no other. */
const OWN_SAVEPOINTS = 'pglisten:'

/** @internal The block of a transaction that is not nested. */
export const WHOLE: Block = { what: 'transaction', savepoint: undefined, depth: 0 }

/** @internal The block of a transaction that is nested in another one. */
export function partOf({ depth: above }: Block): Block & { savepoint: string } {
  const depth = above + 1
  return { what: 'nested transaction', savepoint: `"${OWN_SAVEPOINTS}${depth}"`, depth }
}

/** @internal The SQL of a command at a savepoint of the user's. */
export function atSavepoint(command: string, name: string): string {
  if (typeof name === 'string' && name.startsWith(OWN_SAVEPOINTS)) {
    throw new ArgumentRangeError(
      `Expected \`name\` not to begin with \`${OWN_SAVEPOINTS}\`, as the savepoints of nested transactions do`,
    )
  }
  return `${command} ${quoteName('name', name, 'a savepoint')}`
}

/** @internal Commits a block; a nested one becomes part of the outer one. */
export async function commit(
  where: Observable,
  lease: NativeLease,
  { what, savepoint }: Block,
): Promise<void> {
  const sql = savepoint === undefined ? 'COMMIT' : `RELEASE SAVEPOINT ${savepoint}`
  const outcome = await observed(where, 'commit', sql, () =>
    bridge.call<`${NativeCommitOutcome}`>((id) =>
      savepoint === undefined ? lease.commit(id) : lease.releaseSavepoint(id, savepoint),
    ),
  )
  switch (outcome) {
    case 'committed':
      return
    case 'rolledBack':
      throw new TransactionCommitError(`The ${what} was rolled back: a statement in it had failed`)
    case 'alreadyEnded':
      throw new TransactionClosedError(
        `A statement had ended the ${what} before it could be committed`,
      )
    default:
      throw unknownKind('commit outcome', outcome)
  }
}

/** @internal Rolls a block back, and tells of it if anybody traces statements. */
export async function rollback(where: Observable, lease: NativeLease, block: Block): Promise<void> {
  try {
    const { savepoint } = block
    const sql = savepoint === undefined ? 'ROLLBACK' : `ROLLBACK TO SAVEPOINT ${savepoint}`
    await observed(where, 'rollback', sql, () => undo(lease, block))
  } catch (error) {
    // If a whole transaction cannot be rolled back, the connection is lost, and the transaction with it.
    if (block.savepoint !== undefined) throw error
  }
}

/** @internal Rolls a block back, and tells nobody. */
export function undo(lease: NativeLease, { savepoint }: Block): Promise<void> {
  return bridge.call((id) =>
    savepoint === undefined ? lease.rollback(id) : lease.rollbackSavepoint(id, savepoint),
  )
}
