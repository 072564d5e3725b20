// What the programs have in common. `copyRecordsToTable` may not be in a build: then its programs are pending.

import type { CallOptions, Connection, TypeOptions } from 'pglisten'

/** Something that this build has not yet. */
export class Pending extends Error {}

interface CopyRecords {
  copyRecordsToTable(
    table: string,
    rows: Iterable<readonly unknown[]>,
    options?: CallOptions & { columns?: readonly string[]; schema?: string; types?: TypeOptions },
  ): Promise<number>
}

export type PortedConnection = Connection & CopyRecords

/** The same connection, of which everything that is missing is pending. */
export function ported(connection: Connection): PortedConnection {
  return new Proxy(connection as PortedConnection, {
    get(target, key) {
      // An `await` looks for this one.
      if (typeof key === 'string' && key !== 'then' && !(key in target)) throw new Pending(key)
      const value: unknown = Reflect.get(target, key, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

/** The result of a call, or `error`: which class the error has differs on purpose. */
export async function attempt(call: () => Promise<unknown>): Promise<unknown> {
  try {
    return await call()
  } catch (error) {
    if (error instanceof Pending) throw error
    return 'error'
  }
}

/** Notes what a program came to, under a label. */
export type Say = (label: string, value: unknown) => void
export type Program = (connection: PortedConnection, say: Say) => Promise<void>
