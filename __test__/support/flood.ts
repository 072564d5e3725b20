// Many notifications at once, and numbers that show whether they all came.

import { otherPool } from './listener.js'

/** Notifies `from` … `to` in one transaction, as text padded to `width` characters. */
export async function flood(
  channel: string,
  from: number,
  to: number,
  { width = 1 }: { width?: number } = {},
): Promise<void> {
  await using connection = await (await otherPool()).connection()
  await connection.execute(
    `SELECT count(pg_notify($1, lpad(n::text, greatest($4, length(n::text)), '0')))
     FROM generate_series($2::int4, $3::int4) AS n`,
    [channel, from, to, width],
  )
}

/** The numbers from `from` to `to`. */
export function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, index) => from + index)
}
