// Many notifications at once, and numbers that show whether they all came.

import type { FloodOptions } from '../../lab/witness.js'
import { witness } from './listener.js'

/** Notifies `from` … `to` in one transaction; see {@link ServerWitness.flood}. */
export async function flood(
  channel: string,
  from: number,
  to: number,
  options: FloodOptions = {},
): Promise<void> {
  await (await witness()).flood(channel, from, to, options)
}

/** The numbers from `from` to `to`. */
export function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, index) => from + index)
}
