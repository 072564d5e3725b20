// Names that no two tests share on one server.

import { randomBytes } from 'node:crypto'

/** A name for a table, a type, a channel or an application that no other test uses. */
export function uniqueName(prefix: string): string {
  return `${prefix}_${randomBytes(6).toString('hex')}`
}
