// Times as PostgreSQL reads them.

/**
 * The text of an `interval` of so many milliseconds. PostgreSQL 14 takes less than 2^31 of each unit, which milliseconds alone reach within
 * 25 days.
 */
export const intervalOf = (ms: number): string =>
  `${Math.floor(ms / 3_600_000)} hours ${ms % 3_600_000} ms`
