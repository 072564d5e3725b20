// The texts and the data that all contestants share. Whoever is not JavaScript gets the texts with its task.

/** Of `fetch5`. @param {number} count */
export const fiveColumns = (count) =>
  `SELECT n::int4 AS id, 'row ' || n AS name, n / 7.0::float8 AS ratio,
          '2026-01-01Z'::timestamptz + n * interval '1 second' AS created, n % 2 = 0 AS even
     FROM generate_series(1, ${count}) AS n`

/** Made once for `fetch20`, so that the server has little to do while it is read. @param {number} count */
export const twentyColumns = (count) => `
  CREATE UNLOGGED TABLE bench_twenty AS
  SELECT n::int4 AS id, (n % 30000)::int2 AS small, nullif(n % 7, 0)::int4 AS sometimes, n::int8 * 1000003 AS big,
         nullif(n % 5, 0)::int8 AS big_sometimes, (n / 7.0)::numeric(20, 6) AS amount, (n % 1000)::numeric(10, 2) AS price,
         'user ' || n AS short, md5(n::text) || md5('x' || n) AS middle, repeat(md5(n::text), 8) AS long,
         CASE WHEN n % 3 > 0 THEN 'note ' || n END AS note, left(md5(n::text), 12)::varchar(20) AS code,
         '2026-01-01Z'::timestamptz + n * interval '1 second' AS created,
         CASE WHEN n % 4 > 0 THEN '2026-06-01Z'::timestamptz + n * interval '1 minute' END AS updated,
         '2026-01-01'::date + n % 1000 AS day, md5(n::text)::uuid AS key,
         jsonb_build_object('id', n, 'tags', jsonb_build_array('a', 'b', n % 10), 'nested', jsonb_build_object('ok', true)) AS data,
         n % 2 = 0 AS even, n / 3.0::float8 AS ratio, decode(md5(n::text), 'hex') AS bytes
    FROM generate_series(1, ${count}) AS n;
  ANALYZE bench_twenty`

export const FETCH_TWENTY = 'SELECT * FROM bench_twenty'

/** Of `insertMany`. The table is temporary, so that each contestant has one of its own. */
export const CREATE_MANY = 'CREATE TEMPORARY TABLE bench_many (id int4, name text, amount float8)'
export const INSERT = 'INSERT INTO bench_many VALUES ($1, $2, $3)'

/** Of `fetchVal` and `pipeline`. */
export const ONE_VALUE = 'SELECT $1::int4'

/** Of `copyIn`. */
export const COPY_TABLE = 'bench_copied'
export const COPY_COLUMNS = ['id', 'name', 'ratio', 'created', 'even']
export const CREATE_COPIED = `CREATE TEMPORARY TABLE ${COPY_TABLE}
  (id int4, name text, ratio float8, created timestamptz, even bool)`
export const COPY_IN = `COPY ${COPY_TABLE} FROM STDIN`
export const COUNT_COPIED = `SELECT count(*)::int4 FROM ${COPY_TABLE}`

/** Of `copyOut`. @param {number} count */
export const copyOut = (count) => `COPY (${fiveColumns(count)}) TO STDOUT`

/** What the tasks of contestants in other languages carry. @param {number} count */
export const texts = (count) => ({
  fetch5: fiveColumns(count),
  fetch20: FETCH_TWENTY,
  createMany: CREATE_MANY,
  insert: INSERT,
  oneValue: ONE_VALUE,
  copyTable: COPY_TABLE,
  copyColumns: COPY_COLUMNS,
  createCopied: CREATE_COPIED,
  countCopied: COUNT_COPIED,
})

const START = Date.UTC(2026, 0, 1)

/** @param {number} count @returns {[number, string, number][]} */
export const rowsToInsert = (count) =>
  Array.from({ length: count }, (_, n) => [n, `row ${n}`, n / 7])

/** @param {number} count @returns {Generator<[number, string, number, Date, boolean]>} */
export function* rowsToCopy(count) {
  for (let n = 0; n < count; n += 1) {
    yield [n, `row ${n}`, n / 7, new Date(START + n * 1000), n % 2 === 0]
  }
}

/** The least that is handed to a stream at once, in characters. */
const CHUNK = 65_536

/** The same rows in the text format of COPY, made in JavaScript as an application has to. @param {number} count */
export function* textToCopy(count) {
  let text = ''
  for (let n = 0; n < count; n += 1) {
    const created = new Date(START + n * 1000).toISOString()
    text += `${n}\trow ${n}\t${n / 7}\t${created}\t${n % 2 === 0 ? 't' : 'f'}\n`
    if (text.length >= CHUNK) {
      yield Buffer.from(text)
      text = ''
    }
  }
  yield Buffer.from(text)
}
