// How the server reads 200,000 events, with and without statistics: by its indexes, and no more of them than are due.

import test from 'ava'
import { Client } from 'pg'
import { openDatabase } from './database.js'
import { taken } from './scene.js'
import type { ExecutionContext } from 'ava'

const EVENTS = 200_000

/** A node of a plan, as EXPLAIN tells it. */
interface Node {
  'Node Type': string
  'Relation Name'?: string
  'Index Name'?: string
  'Index Cond'?: string
  'Actual Rows': number
  'Actual Loops': number
  'Rows Removed by Filter'?: number
  Plans?: Node[]
}

/** A session that tells the plan of each statement, also of those within functions. */
class Explained {
  readonly #client: Client
  #plans: { query: string; plan: Node; jit: boolean }[] = []

  constructor(dsn: string) {
    this.#client = new Client({ connectionString: dsn })
    this.#client.on('notice', ({ message = '' }) => {
      const json = /plan:\s*(\{.*\})\s*$/s.exec(message)?.[1]
      if (json === undefined) return
      const told = JSON.parse(json) as { 'Query Text': string; Plan: Node; JIT?: unknown }
      this.#plans.push({
        query: told['Query Text'],
        plan: told.Plan,
        jit: told.JIT !== undefined,
      })
    })
  }

  async open(t: ExecutionContext): Promise<void> {
    await this.#client.connect()
    t.teardown(() => this.#client.end())
    await this.#client.query(`
      LOAD 'auto_explain';
      SET auto_explain.log_min_duration = 0;
      SET auto_explain.log_nested_statements = on;
      SET auto_explain.log_analyze = on;
      SET auto_explain.log_timing = off;
      SET auto_explain.log_format = json;
      SET auto_explain.log_level = notice`)
  }

  /** Takes events in a transaction, with or without their being done. Gives their payloads and what was read of events. */
  async take(n: number, isDone: boolean) {
    this.#plans = []
    await this.#client.query('BEGIN')
    const { rows } = await this.#client.query<{ id: string | null; payload: string }>(
      "SELECT id, payload FROM pglisten.take('s', 0, $1, 60000, NULL)",
      [n],
    )
    const plans = this.#plans
    const { payloads, way } = taken(rows)
    if (isDone && payloads.length > 0)
      await this.#client.query("SELECT pglisten.advance('s', 0, $1::text::jsonb)", [way])
    await this.#client.query(isDone ? 'COMMIT' : 'ROLLBACK')
    const nodes = plans.flatMap(({ plan }) => flat(plan))
    return {
      payloads,
      scans: nodes.filter((node) => node['Relation Name'] === 'event'),
      jit: plans.some(({ jit }) => jit),
    }
  }
}

const flat = (node: Node): Node[] => [node, ...(node.Plans ?? []).flatMap(flat)]

/** How many rows a scan has looked at. */
const read = (node: Node) =>
  (node['Actual Rows'] + (node['Rows Removed by Filter'] ?? 0)) * node['Actual Loops']

for (const statistics of [false, true]) {
  const having = statistics ? 'with' : 'without'
  test(`of many events only those that are due are read, by the indexes, ${having} statistics`, async (t) => {
    const { owner, superuser, superuserDsn } = await openDatabase(t)
    await owner.durable.install()
    await owner.execute('ALTER TABLE pglisten.event SET (autovacuum_enabled = off)')
    await owner.fetchVal("SELECT pglisten.subscribe('s', '{a}', 1, true)")
    // One that is open all the time, so that the position has a list.
    const connection = await owner.connection()
    const open = await connection.begin()
    await open.publish('a', 'late')
    await owner.execute(`
      DO $$ BEGIN
        FOR n IN 1..${EVENTS / 100} LOOP
          INSERT INTO pglisten.event (channel, payload) SELECT 'a', n || '/' || m FROM generate_series(1, 100) AS m;
          COMMIT;
        END LOOP;
      END $$`)
    if (statistics) await superuser.execute('ANALYZE pglisten.event')
    const session = new Explained(superuserDsn)
    await session.open(t)

    // All of them are due: they are walked by the primary key, a batch at a time.
    const first = await session.take(100, true)
    t.is(first.payloads.length, 100)
    const walked = await session.take(100, true)
    t.is(walked.payloads[0], '2/1')
    t.is(walked.payloads.length, 100)
    for (const scan of walked.scans) {
      t.regex(scan['Node Type'], /^Index/)
      t.true(read(scan) <= 101, JSON.stringify(scan))
    }

    // None is due but the last ones: as if the others were done.
    await superuser.execute(
      "UPDATE pglisten.position SET base = pglisten.position_now(), target = NULL, after = NULL WHERE subscription = 's'",
    )
    const none = await session.take(100, false)
    t.deepEqual(none.payloads, [])
    for (const payload of ['1', '2', '3']) await owner.publish('a', payload)
    const few = await session.take(100, false)
    t.deepEqual(few.payloads, ['1', '2', '3'])
    await open.commit()
    await connection.close()
    const late = await session.take(100, true)
    t.deepEqual(late.payloads, ['late', '1', '2', '3'])
    // More are due than are taken: where they begin is not looked for among those that are done.
    for (let n = 1; n <= 120; n += 1) await owner.publish('a', `many ${n}`)
    const many = await session.take(100, false)
    t.is(many.payloads[0], 'many 1')
    t.is(many.payloads.length, 100)
    for (const scan of many.scans) t.true(read(scan) <= 121, JSON.stringify(scan))
    for (const { scans } of [none, few, late]) {
      t.true(scans.length >= 2)
      for (const scan of scans) {
        t.regex(scan['Node Type'], /^(Index|Bitmap)/, JSON.stringify(scan))
        t.true(read(scan) <= 4, JSON.stringify(scan))
      }
    }
    t.false([first, walked, none, few, late].some(({ jit }) => jit))
  })
}

test('no statement reads all of many events that are not due', async (t) => {
  const { owner, superuserDsn } = await openDatabase(t)
  await owner.durable.install()
  await owner.fetchVal("SELECT pglisten.subscribe('s', '{a}', 1, true)")
  const payloads = ['first', 'second', 'behind a hole', 'last']
  for (const [index, payload] of payloads.entries()) {
    await owner.publish('a', payload)
    if (index === 1)
      await owner.execute(
        "SELECT setval('pglisten.event_id_seq', 10 * last_value) FROM pglisten.event_id_seq",
      )
    await owner.execute(`
      INSERT INTO pglisten.event (channel, payload) SELECT 'b', '' FROM generate_series(1, ${EVENTS / 4})`)
  }
  await owner.publish('a', 'at last')
  const session = new Explained(superuserDsn)
  await session.open(t)

  const seen: string[] = []
  for (let turn = 0; turn < 20 && seen.length < 5; turn += 1) {
    const { payloads: some, scans } = await session.take(2, true)
    seen.push(...some)
    // But where they begin, which is in the index alone.
    for (const scan of scans.filter((node) => node['Node Type'] === 'Index Scan'))
      t.true(read(scan) <= 50_001, JSON.stringify(scan))
  }
  t.deepEqual(seen, [...payloads, 'at last'])
  t.deepEqual((await session.take(2, true)).payloads, [])
})
