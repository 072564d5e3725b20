// What differs from psqlpy on purpose. A difference that is no longer there, or is another one, fails the comparison.

import { canonical, type Canonical } from './canonical.js'

export interface Difference {
  psqlpy: Canonical
  pglisten: Canonical
  reason: string
}

const differs = (psqlpy: unknown, pglisten: unknown, reason: string): Difference => ({
  psqlpy: canonical(psqlpy),
  pglisten: canonical(pglisten),
  reason,
})

const TOO_MANY = 'Parameters that nobody asked for are a mistake, which psqlpy drops'
const REWRITTEN =
  'psqlpy replaces names wherever they stand; here a string or a comment keeps its text'
const QUOTED = 'psqlpy puts the name of a savepoint into the statement as it is; here it is quoted'
const NOT_READ = 'psqlpy does not know the type'
const POINTS = 'An object with names; psqlpy has tuples'
const ABORTED =
  'Leaving a transaction in which a statement failed rolls back; psqlpy does not say so'

/** By program, then by label. */
export const DIFFERENCES: Record<string, Record<string, Difference>> = {
  parameters: {
    'too many': differs(1, 'error', TOO_MANY),
    'text of a number': differs(
      'error',
      5,
      'A string is the text that PostgreSQL reads for the type',
    ),
  },
  'named parameters': {
    'a value without a name': differs(1, 'error', TOO_MANY),
    'a list for names': differs(7, 'error', 'The order of names is no promise'),
    'in a string, without parameters': differs('$1', '$(n)p', REWRITTEN),
    'in a string, beside a name': differs('error', '$(m)p', REWRITTEN),
    'in a comment': differs('error', 1, REWRITTEN),
    'beside a number': differs(1, 'error', 'In psqlpy `$1` and the first name are one parameter'),
  },
  executeMany: {
    execute_many: differs(null, 3, 'It gives the number of rows that were affected'),
    'execute_many of none': differs(null, 0, 'It gives the number of rows that were affected'),
  },
  closing: {
    'is_closed of an open one': differs(true, false, "psqlpy's answer is the wrong way round"),
    'is_closed of a closed one': differs(false, true, "psqlpy's answer is the wrong way round"),
  },
  'failed transaction': {
    'leaving after a failed statement': differs('committed', 'error', ABORTED),
  },
  'names of savepoints': {
    'with capitals, folded': differs('found', 'error', QUOTED),
    'with capitals, quoted': differs('error', 'found', QUOTED),
    'with a blank': differs('error', 'found', QUOTED),
  },
  'nested transactions': {
    rows: differs(
      [1, 2],
      [],
      "Within a transaction it is a savepoint; psqlpy's inner one commits the outer",
    ),
  },
  'failing pipeline': {
    'leaving the transaction': differs('committed', 'error', ABORTED),
  },
  inTransaction: {
    'after a BEGIN': differs(false, true, "It is what the server says, not a flag of the client's"),
  },
  'cursor within a transaction': {
    'rows around a closed cursor': differs(
      [{ n: 2 }],
      [{ n: 1 }, { n: 2 }],
      "Closing a cursor ends no transaction; psqlpy's rolls it back",
    ),
  },
  'COPY on a closed connection': {
    records: differs(0, 'error', 'psqlpy copies nothing without a word'),
    binary: differs(0, 'error', 'psqlpy copies nothing without a word'),
  },
  reading: {
    '1.1::float4': differs(1.100000023841858, 1.1, 'The shortest number that is the same float4'),
    '1e-30::numeric': differs(
      '0.0000000000000000000000000000',
      '0.000000000000000000000000000001',
      'Exact; psqlpy cuts after 28 fraction digits',
    ),
    "'ab'::char(4)": differs('error', 'ab  ', NOT_READ),
    "'[12345678901234567890]'::jsonb": differs(
      [12345678901234567890n],
      [12345678901234567000],
      '`JSON.parse` knows doubles only',
    ),
    "'2026-11-29 10:11:12.123456+00'::timestamptz": {
      psqlpy: { moment: '2026-11-29T10:11:12.123456' },
      pglisten: { moment: '2026-11-29T10:11:12.123' },
      reason: 'A `Date` has milliseconds',
    },
    "'24:00'::time": differs('00:00:00', '24:00:00', 'Exact; Python has no such time'),
    '4294967295::oid': differs(-1, 4294967295, 'An oid has no sign'),
    'ARRAY[1, NULL, 3]::int4[]': differs('error', [1, null, 3], 'psqlpy reads no NULL in an array'),
    "ARRAY['\\x01'::bytea]": differs(
      'error',
      [Buffer.from([1])],
      'psqlpy does not know arrays of the type',
    ),
    "pg_notify('nobody', '')": differs('error', null, 'psqlpy cannot read `void`'),
    "'12:34:56+02'::timetz": differs('error', '12:34:56+02', NOT_READ),
    "'1 mon'::interval": differs(
      { months: 0, days: 30, microseconds: 0 },
      { months: 1, days: 0, microseconds: 0 },
      'A month has no fixed number of days',
    ),
    "'-12.34'::money": differs(
      -1234,
      '-$12.34',
      "How many digits are a fraction is up to the server's `lc_monetary`",
    ),
    "'10.0.0.1/24'::inet": differs('10.0.0.1', '10.0.0.1/24', 'psqlpy loses the mask'),
    "'10.0.0.0/8'::cidr": differs('error', '10.0.0.0/8', NOT_READ),
    "'08:00:2b:01:02:0a'::macaddr": differs(
      '08:00:2B:01:02:0A',
      '08:00:2b:01:02:0a',
      'As PostgreSQL writes it',
    ),
    "'101'::bit(3)": differs('error', '101', NOT_READ),
    "'[1,5)'::int4range": differs(
      'error',
      { lower: 1, upper: 5, lowerInclusive: true, upperInclusive: false, isEmpty: false },
      NOT_READ,
    ),
    "'(1,2.5)'::point": differs([1, 2.5], { x: 1, y: 2.5 }, POINTS),
    "'{1,-1,0}'::line": differs([1, -1, 0], { a: 1, b: -1, c: 0 }, POINTS),
    "'[(1,2),(3,4)]'::lseg": differs(
      [
        [1, 2],
        [3, 4],
      ],
      [
        { x: 1, y: 2 },
        { x: 3, y: 4 },
      ],
      POINTS,
    ),
    "'(3,4),(1,2)'::box": differs(
      [
        [3, 4],
        [1, 2],
      ],
      [
        { x: 3, y: 4 },
        { x: 1, y: 2 },
      ],
      POINTS,
    ),
    "'[(1,2),(3,4)]'::path": differs(
      [
        [1, 2],
        [3, 4],
      ],
      {
        points: [
          { x: 1, y: 2 },
          { x: 3, y: 4 },
        ],
        closed: false,
      },
      'psqlpy does not tell an open path from a closed one',
    ),
    "'((1,2),(3,4),(5,6))'::polygon": differs(
      'error',
      [
        { x: 1, y: 2 },
        { x: 3, y: 4 },
        { x: 5, y: 6 },
      ],
      NOT_READ,
    ),
    "'<(1,2),3>'::circle": differs([[1, 2], 3], { x: 1, y: 2, radius: 3 }, POINTS),
    "'0044-03-15 BC'::date": {
      psqlpy: 'error',
      pglisten: { moment: '-000043-03-15T00:00:00' },
      reason: 'Python has no years before Christ',
    },
    "'infinity'::timestamptz": differs('error', Infinity, 'Python has no infinite time'),
    "'pg_class'::regclass": differs('error', 'pg_class', NOT_READ),
    "ARRAY['a'::name]": differs('error', ['a'], 'psqlpy does not know arrays of the type'),
  },
  'order of keys': {
    json: differs(['a', 'zz'], ['zz', 'a'], 'As they are stored; psqlpy sorts them'),
  },
}
