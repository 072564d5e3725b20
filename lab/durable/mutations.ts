// Defects that durable subscriptions could have, each put into a copy of the package, and the test that is to fail then.
//
// `npm run durable -- mutations`. A defect that no test notices is a hole in the tests.

import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { root } from '../../scripts/lib/run.mjs'

interface Mutation {
  defect: string
  /** What is replaced, in the SQL or in the compiled facade: each text is there exactly once. */
  changes: readonly (readonly [from: string, to: string])[]
  file: string
  /** The title of the test that is to fail. */
  test: string
}

const folder = '__test__/durable'
const LOCK = `SELECT * INTO own FROM pglisten.position AS p WHERE p.subscription = sub AND p.partition = part FOR NO KEY UPDATE SKIP LOCKED;`

const MUTATIONS: readonly Mutation[] = [
  {
    defect: 'the own transaction is not listed as open',
    changes: [
      [
        'SELECT CASE WHEN me IS NULL OR me >= pg_snapshot_xmax(s) THEN s',
        'SELECT CASE WHEN true THEN s',
      ],
    ],
    file: 'positions.spec.ts',
    test: 'what a transaction publishes before it takes events comes next, although a younger transaction has ended',
  },
  {
    defect: 'the position is taken after the read',
    changes: [['      own.base := present;', '      own.base := pglisten.position_now();']],
    file: 'positions.spec.ts',
    test: 'an event that is committed while others are read comes next',
  },
  {
    defect: 'one statement locks and takes the position',
    changes: [
      [
        LOCK,
        `SELECT p.subscription, p.partition, p.base, p.target, p.after, p.high, p.moved, pglisten.position_now()
           INTO own.subscription, own.partition, own.base, own.target, own.after, own.high, own.moved, present
         FROM pglisten.position AS p WHERE p.subscription = sub AND p.partition = part FOR NO KEY UPDATE SKIP LOCKED;`,
      ],
      [
        "USING ERRCODE = 'lock_not_available';\n  END IF;\n  present := pglisten.position_now();",
        "USING ERRCODE = 'lock_not_available';\n  END IF;",
      ],
    ],
    file: 'positions.spec.ts',
    test: 'a worker that waited while another one moved the position begins behind it',
  },
  {
    defect: 'the position is read before it is locked',
    changes: [
      [
        LOCK,
        `SELECT * INTO own FROM pglisten.position AS p WHERE p.subscription = sub AND p.partition = part;
         PERFORM FROM pglisten.position AS p WHERE p.subscription = sub AND p.partition = part FOR NO KEY UPDATE SKIP LOCKED;`,
      ],
    ],
    file: 'positions.spec.ts',
    test: 'a worker that waited while another one moved the position begins behind it',
  },
  {
    defect: 'events come in the order of (xact, id)',
    changes: [
      [
        'SELECT array_agg(e ORDER BY (e).id) INTO batch FROM (\n      SELECT v AS e FROM pglisten.event AS v\n      WHERE v.xact = ANY',
        'SELECT array_agg(e ORDER BY (e).xact, (e).id) INTO batch FROM (\n      SELECT v AS e FROM pglisten.event AS v\n      WHERE v.xact = ANY',
      ],
    ],
    file: 'order.spec.ts',
    test: 'updates of one row come in their order, also where the later one had its transaction id first',
  },
  {
    defect: 'a worker sleeps without looking at the fence',
    changes: [
      [
        'pg_snapshot_xmin(pg_current_snapshot()) > $1::text::xid8 AS is_quiet',
        '$1::text IS NOT NULL AS is_quiet',
      ],
    ],
    file: 'bell.spec.ts',
    test: 'a publisher that took its id just before the flag was committed is waited for',
  },
  {
    defect: 'it is trimmed up to the end of the position, without its list of open transactions',
    changes: [
      [
        'SELECT pg_snapshot_xmin(p.base) INTO low FROM pglisten.position AS p ORDER BY pg_snapshot_xmin(p.base) LIMIT 1;',
        'SELECT pg_snapshot_xmax(p.base) INTO low FROM pglisten.position AS p ORDER BY pg_snapshot_xmax(p.base) LIMIT 1;',
      ],
    ],
    file: 'retention.spec.ts',
    test: 'an event of a transaction that was open when the position moved is kept until it is done',
  },
  {
    defect: 'the transactions that were open are not looked at again',
    changes: [
      [
        'WHERE v.xact = ANY (ARRAY(SELECT pg_snapshot_xip(own.base))) AND pg_visible_in_snapshot(v.xact, present)\n        AND v.channel = ANY (known.channels)\n        AND (known.partitions = 1 OR pglisten.partition_of(v.channel, v.key, known.partitions) = part)\n      UNION ALL\n      SELECT v FROM',
        'WHERE false\n      UNION ALL\n      SELECT v FROM',
      ],
    ],
    file: 'subscriptions.spec.ts',
    test: 'a late event of an old transaction comes while many others are walked',
  },
  {
    defect: 'many events that were walked to their end are taken for all',
    changes: [
      [
        '  IF size = 0 THEN\n    from_base := own.base;',
        '  IF size = 0 AND own.target IS NULL AND to_target = present THEN\n    from_base := own.base;',
      ],
    ],
    file: 'order.spec.ts',
    test: 'where many were walked to their end, what has come since is fetched by the same call',
  },
  {
    defect: 'the position moves although the transaction that has fetched is another one',
    changes: [
      [
        "IF pg_current_xact_id_if_assigned()::text IS DISTINCT FROM way ->> 'xact' THEN",
        'IF false THEN',
      ],
    ],
    file: 'failures.spec.ts',
    test: 'a handler that ends the transaction itself has failed, and its event is not passed',
  },
  {
    defect: 'a part of a batch moves the position behind all of it',
    changes: [
      [
        'return { xact: way.xact, base: way.from, target: way.to, after: rows[done][0], tried }',
        'return { ...way, tried }',
      ],
    ],
    file: 'positions.spec.ts',
    test: 'a batch that is left half done goes on behind what is done, in the middle of many',
  },
  {
    defect: 'positions of another cluster are taken for good',
    changes: [
      ['OR NOT pglisten.is_home() THEN', 'THEN'],
      ['pg_snapshot_xmax(present) < pg_snapshot_xmax(coalesce(own.target, own.base))', 'false'],
    ],
    file: 'install.spec.ts',
    test: 'a restored dump goes on where it stood, in a cluster whose transaction ids are lower',
  },
]

const escaped = (text: string) => text.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`)

/** A copy of what the tests need, which shares everything else with the project. */
function copy(): string {
  const home = fs.mkdtempSync(path.join(os.tmpdir(), 'pglisten-mutations-'))
  for (const name of ['__test__', 'lab', 'scripts', 'dist', 'src-ts', 'native', 'bin'])
    fs.cpSync(path.join(root, name), path.join(home, name), { recursive: true })
  for (const name of ['package.json', 'tsconfig.json', 'ava.config.mjs', 'index.d.ts'])
    fs.copyFileSync(path.join(root, name), path.join(home, name))
  const modules = path.join(home, 'node_modules')
  fs.mkdirSync(modules)
  for (const name of fs.readdirSync(path.join(root, 'node_modules')))
    if (name !== 'pglisten' && name !== '.cache')
      fs.symlinkSync(path.join(root, 'node_modules', name), path.join(modules, name))
  fs.symlinkSync('..', path.join(modules, 'pglisten'))
  return home
}

/** The facade with the changes. The SQL stands in it as one literal. */
function changed(facade: string, { changes, defect }: Mutation): string {
  let text = facade
  for (const [from, to] of changes) {
    const sides = [from, to].map((side) => JSON.stringify(side).slice(1, -1)) as [string, string]
    const pair = text.split(sides[0]).length > 1 ? sides : [from, to]
    const parts = text.split(pair[0]!)
    if (parts.length !== 2)
      throw new Error(
        `expected \`${from}\` once in the facade, got ${parts.length - 1} times: ${defect}`,
      )
    text = parts.join(pair[1])
  }
  return text
}

/** Whether the test passes in the copy. */
function passes(home: string, { file, test }: Mutation): { ok: boolean; output: string } {
  const program = path.join(root, 'node_modules', 'ava', 'entrypoints', 'cli.mjs')
  const args = [program, `${folder}/${file}`, '--match', test, '--timeout=60s']
  const env = { ...process.env, NO_COLOR: '1', FORCE_COLOR: '0' }
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    cwd: home,
    env,
    encoding: 'utf8',
  })
  const output = stdout + stderr
  const ran = new RegExp(`(✔|✘) .*${escaped(test)}`).test(output) || output.includes('timed out')
  if (!ran) throw new Error(`expected the test to run, got:\n${output}`)
  return { ok: status === 0, output }
}

const home = copy()
const facade = path.join(home, 'dist', 'pglisten.js')
const original = fs.readFileSync(facade, 'utf8')
let isRight = true
try {
  console.log('| defect | the test that fails |\n| --- | --- |')
  for (const mutation of MUTATIONS) {
    fs.writeFileSync(facade, original)
    const before = passes(home, mutation)
    fs.writeFileSync(facade, changed(original, mutation))
    const after = passes(home, mutation)
    const seen = `${mutation.test} (\`${folder}/${mutation.file}\`)`
    if (before.ok && !after.ok) console.log(`| ${mutation.defect} | ${seen} |`)
    else {
      isRight = false
      const what = before.ok ? 'NOT NOTICED by' : 'fails without the defect too:'
      console.log(`| ${mutation.defect} | **${what}** ${seen} |`)
      if (!before.ok) console.error(before.output)
    }
  }
} finally {
  fs.rmSync(home, { recursive: true, force: true })
}
process.exitCode = isRight ? 0 : 1
