// How a length of time is told to PostgreSQL.

const HOUR = 3_600_000_000n
const MINUTE = 60_000_000n
const MAX_INT32 = 2n ** 31n - 1n

/** An amount with its sign: `IntervalStyle` may spread the first one's over amounts without one. */
export function signed(amount: bigint | number): string {
  return amount < 0 ? String(amount) : `+${amount}`
}

/** Microseconds in units that PostgreSQL reads. Before version 15 it reads no amount beyond 32 bits. */
export function timeText(microseconds: bigint): string {
  if (microseconds <= MAX_INT32 && microseconds >= -MAX_INT32) {
    return `${signed(microseconds)} microseconds`
  }
  const [hours, minutes] = [microseconds / HOUR, (microseconds % HOUR) / MINUTE]
  return `${signed(hours)} hours ${signed(minutes)} minutes ${signed(microseconds % MINUTE)} microseconds`
}
