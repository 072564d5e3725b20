// Defects that durable subscriptions could have, each with the test that is to notice it. `mutate.ts` puts them into a copy of the package.

/** A defect, and the test that is to notice it. */
export interface Mutation {
  defect: string
  /** What is replaced, in the SQL or in the compiled facade: each text is there exactly once. */
  changes: readonly (readonly [from: string, to: string])[]
  file: string
  /** The title of the test that is to fail. */
  test: string
}

const LOCK = `SELECT * INTO own FROM pglisten.position AS p WHERE p.subscription = sub AND p.partition = part FOR NO KEY UPDATE SKIP LOCKED;`

/** The defects. */
export const MUTATIONS: readonly Mutation[] = [
  {
    defect: 'the own transaction is not listed as open',
    changes: [['IF me IS NULL OR me >= pg_snapshot_xmax(present) THEN', 'IF true THEN']],
    file: 'positions.spec.ts',
    test: 'what a transaction publishes before it takes events comes next, although a younger transaction has ended',
  },
  {
    defect: 'the position is taken after the read',
    changes: [['        own.base := present;', '        own.base := pglisten.position_now();']],
    file: 'positions.spec.ts',
    test: 'an event that is committed while others are read comes next',
  },
  {
    defect: 'one statement locks and takes the position',
    changes: [
      [
        LOCK,
        `SELECT p.subscription, p.partition, p.base, p.target, p.after, p.high, p.moved
           INTO own.subscription, own.partition, own.base, own.target, own.after, own.high, own.moved
         FROM pglisten.position AS p, set_config('pglisten.present', pglisten.position_now()::text, true) AS present
         WHERE p.subscription = sub AND p.partition = part FOR NO KEY UPDATE OF p SKIP LOCKED;`,
      ],
      [
        'present := pglisten.position_now();\n  IF pg_snapshot',
        "present := current_setting('pglisten.present')::pg_snapshot;\n  IF pg_snapshot",
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
    changes: [['ORDER BY v.id;\n        END IF;', 'ORDER BY v.xact, v.id;\n        END IF;']],
    file: 'order.spec.ts',
    test: 'updates of one row come in their order, also where the later one had its transaction id first',
  },
  {
    defect: 'a worker sleeps without looking at the fence',
    changes: [['flag.isSeen ||= openFrom > fence', 'flag.isSeen ||= openFrom > 0n']],
    file: 'bell.spec.ts',
    test: 'a publisher that took its id just before the flag was committed is waited for',
  },
  {
    defect: 'a publisher looks who sleeps before it has an id',
    changes: [
      ['own CONSTANT xid8 := pg_current_xact_id();', 'own CONSTANT xid8 := NULL;'],
      [
        '(xact, channel, payload, key) VALUES (own, $1, $2, $3)',
        '(channel, payload, key) VALUES ($1, $2, $3)',
      ],
    ],
    file: 'bell.spec.ts',
    test: 'a publisher is waited for from before it looks who sleeps',
  },
  {
    defect: 'a flag that is gone is taken for one that is up',
    changes: [['if (!isFlagged)', 'if (false)']],
    file: 'bell.spec.ts',
    test: 'a flag that the server has lost with the session of the bell is set again',
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
        'WHERE v.xact = ANY (ARRAY(SELECT pg_snapshot_xip(own.base))) AND pg_visible_in_snapshot(v.xact, present)\n          UNION ALL',
        'WHERE false UNION ALL',
      ],
      ['WHERE w.xact = ANY (ARRAY(SELECT pg_snapshot_xip(own.base))) AND', 'WHERE false AND'],
    ],
    file: 'subscriptions.spec.ts',
    test: 'a late event of an old transaction comes while many others are walked',
  },
  {
    defect: 'many events that were walked to their end are taken for all',
    changes: [['    EXIT WHEN size > 0;\n  END LOOP;', '    EXIT;\n  END LOOP;']],
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
    changes: [['if (done === rows.length)', 'if (true)']],
    file: 'positions.spec.ts',
    test: 'a batch that is left half done goes on behind what is done, in the middle of many',
  },
  {
    defect: 'a batch may take half of its time',
    changes: [['this.#options.maxHandlerMs / 4', 'this.#options.maxHandlerMs / 2']],
    file: 'failures.spec.ts',
    test: 'a batch ends before its time does: what is done is committed, and the rest comes next',
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
  {
    defect: 'a subscription that begins now does not know how far events had come',
    changes: [['CASE WHEN beginning THEN 0 ELSE coalesce(max(v.id), 0) END AS high', '0 AS high']],
    file: 'install.spec.ts',
    test: 'a subscription that has not moved yet gets nothing that was published before it, where a dump is adopted (ids: lower)',
  },
  {
    defect: 'an attempt is counted while the event may be under way',
    changes: [['  PERFORM pglisten.hold(sub, part, max_handler_ms, NULL);\n', '']],
    file: 'attempts.spec.ts',
    test: 'an attempt is counted when nobody is at work, and not before',
  },
]
