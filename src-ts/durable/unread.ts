// Subscriptions that nobody reads: what is told of them.

/** A subscription that nobody has read for longer than its {@link SubscriptionOptions.maxUnreadAgeMs}. */
export interface UnreadSubscription {
  /** Its name. */
  name: string
  /** For how long nobody has read it, in milliseconds. */
  ageMs: number
  /** How many events it has not done, and keeps: counted up to 100,000. */
  events: number
  /** When the oldest of them was published; `undefined` without any. */
  oldest: Date | undefined
  /** Whether it was dropped, as its {@link SubscriptionOptions.onUnread} says. */
  isDropped: boolean
}

/** How far the events of a subscription are counted: it takes some 0.1 s. */
export const MOST_COUNTED = 100_000

/** A row of `pglisten.tell_unread`, with times in milliseconds. */
export interface UnreadRow {
  name: string
  age: number
  events: number
  oldest: number | null
  is_dropped: boolean
  /** Whether it is to be dropped, when it is still unread after a while. */
  waits: boolean
}

/** Makes what is told of a row. */
export function unreadOf({ name, age, events, oldest, is_dropped }: UnreadRow): UnreadSubscription {
  const since = oldest === null ? undefined : new Date(oldest)
  return { name, ageMs: age, events, oldest: since, isDropped: is_dropped }
}

/**
 * Says it in words.
 *
 * @param waits - Whether it is to be dropped, when it is still unread after a while.
 */
export function describeUnread(
  { name, ageMs, events, isDropped }: UnreadSubscription,
  waits = false,
): string {
  const count = events >= MOST_COUNTED ? `${MOST_COUNTED} events or more` : `${events} events`
  const age = describeAge(ageMs)
  if (isDropped)
    return `subscription \`${name}\` was dropped, as its \`onUnread\` says: nobody has read it for ${age}, and ${count} were not done`
  const remedy = waits
    ? 'As its `onUnread` says it is dropped by the next `trim()` in two minutes or later, unless it is read by then'
    : 'Run it, or drop it with `pool.durable.drop()`'
  return `nobody has read subscription \`${name}\` for ${age}, and it keeps every event since: ${count} are not done. ${remedy}`
}

const UNITS = [
  [86_400_000, 'd'],
  [3_600_000, 'h'],
  [60_000, 'min'],
  [1000, 's'],
] as const

/** A time in a unit in which it is a small number. */
export function describeAge(ms: number): string {
  const [size, unit] = UNITS.find(([length]) => ms >= 2 * length) ?? [1, 'ms']
  return `${Math.round(ms / size)} ${unit}`
}
