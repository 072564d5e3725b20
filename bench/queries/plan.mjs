// The cases of the benchmark of statements: what is done how often, and by whom.

/**
 * @typedef {object} Case
 * @property {string} id
 * @property {string} title
 * @property {'whole' | 'each'} kind Whether the time of the whole is taken, or that of each statement.
 * @property {number} count Rows or statements.
 * @property {number} warmUps How often all of it is done before it is measured.
 * @property {number} repeats How often it is measured in one process; the median counts.
 * @property {readonly string[]} contestants
 */

/** The contestant that all others are compared with. */
export const BASE = 'pg'

const EVERYBODY = [BASE, 'postgres', 'pglisten', 'psqlpy']

/** What no client can be faster than. */
const BARE = ['bare socket', 'bare rows']

/** @type {readonly Case[]} */
export const PLAN = [
  {
    id: 'fetch5',
    title:
      'Fetching 100,000 rows of 5 columns: `int4`, `text`, `float8`, `timestamptz`, `bool`, from `generate_series`',
    kind: 'whole',
    count: 100_000,
    warmUps: 1,
    repeats: 3,
    contestants: [...EVERYBODY, ...BARE],
  },
  {
    id: 'fetch20',
    title: 'Fetching 100,000 rows of 20 columns of 12 types, with NULLs, from a table',
    kind: 'whole',
    count: 100_000,
    warmUps: 1,
    repeats: 3,
    contestants: [...EVERYBODY, ...BARE],
  },
  {
    id: 'insertMany',
    title: '10,000 INSERTs of one row in one transaction',
    kind: 'whole',
    count: 10_000,
    warmUps: 1,
    repeats: 3,
    contestants: EVERYBODY,
  },
  {
    id: 'fetchVal',
    title: 'A statement that returns one value, each awaited before the next: the time of one',
    kind: 'each',
    count: 5000,
    warmUps: 1,
    repeats: 1,
    contestants: [
      BASE,
      'pg named',
      'postgres',
      'pglisten',
      'pglisten unprepared',
      'psqlpy',
      'psqlpy unprepared',
    ],
  },
  {
    id: 'pipeline',
    title: '1,000 statements in one transaction: in one go, or each awaited',
    kind: 'whole',
    count: 1000,
    warmUps: 3,
    repeats: 5,
    contestants: [BASE, 'postgres', 'pglisten', 'pglisten awaited', 'psqlpy', 'bare socket'],
  },
  {
    id: 'transaction',
    title: 'A transaction of one statement, each awaited before the next: the time of one',
    kind: 'each',
    count: 3000,
    warmUps: 1,
    repeats: 1,
    contestants: [BASE, 'postgres', 'pglisten', 'psqlpy'],
  },
  {
    id: 'copyIn',
    title: 'COPY of 1,000,000 rows of 5 columns to the server',
    kind: 'whole',
    count: 1_000_000,
    warmUps: 1,
    repeats: 1,
    contestants: [
      BASE,
      'postgres',
      'pglisten records',
      'pglisten stream',
      'psqlpy',
      'bare socket',
      'bare socket binary',
      'bare data',
    ],
  },
  {
    id: 'copyOut',
    title: 'COPY of 1,000,000 rows of 5 columns from the server, as bytes',
    kind: 'whole',
    count: 1_000_000,
    warmUps: 1,
    repeats: 1,
    contestants: [BASE, 'postgres', 'pglisten', 'bare socket'],
  },
]
