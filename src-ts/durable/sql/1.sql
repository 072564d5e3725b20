-- Version 1 of what durable subscriptions need. It is run in one transaction, by the role that owns the schema from then on.
--
-- A position is a snapshot: an event is done when the transaction that has published it is visible in the position. Ids alone say
-- nothing, because transactions do not commit in the order of their ids.

CREATE TABLE pglisten.home (
  version  int NOT NULL,
  cluster  bigint NOT NULL,
  database oid NOT NULL,
  relation oid NOT NULL
);
COMMENT ON TABLE pglisten.home IS
  'The version of this schema, and where it was installed: positions are worthless in another cluster.';

CREATE TABLE pglisten.upkeep (
  retention interval DEFAULT '1 day'
);
INSERT INTO pglisten.upkeep DEFAULT VALUES;
COMMENT ON TABLE pglisten.upkeep IS
  'For how long events are kept that every subscription has done; null: until trim() is called.';

CREATE TABLE pglisten.event (
  -- No cache: ids of one transaction would not follow those of another one that was answered before.
  id      bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY,
  -- The top-level transaction. The row's xmin would be that of a savepoint, which every snapshot calls visible.
  xact    xid8 NOT NULL DEFAULT pg_current_xact_id(),
  at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  channel text NOT NULL,
  payload text NOT NULL,
  key     text,
  -- The transaction that has published it, where `xact` is another one: the event is named by it.
  origin  xid8
);
CREATE INDEX event_xact ON pglisten.event (xact, id);

CREATE TABLE pglisten.subscription (
  name       text PRIMARY KEY,
  channels   text[] NOT NULL,
  partitions int NOT NULL CHECK (partitions BETWEEN 1 AND 1000),
  -- By this a worker tells it from another one of the name that was dropped.
  created    timestamptz NOT NULL DEFAULT clock_timestamp(),
  -- Nobody reads it, when nobody has for so long. Null: it may rest for ever.
  max_unread interval,
  on_unread  text NOT NULL DEFAULT 'warn' CHECK (on_unread IN ('warn', 'drop')),
  -- When a process began to run it, or was last known to run it.
  begun      timestamptz NOT NULL DEFAULT clock_timestamp(),
  -- When somebody was told that nobody reads it.
  told       timestamptz
);

CREATE TABLE pglisten.position (
  subscription text NOT NULL REFERENCES pglisten.subscription ON DELETE CASCADE,
  partition    int NOT NULL,
  -- What is visible in it is done.
  base         pg_snapshot NOT NULL,
  -- Where many events lie between two snapshots, they are walked by id: up to `after` those that are visible in `target` are done.
  target       pg_snapshot,
  after        bigint,
  -- No done event has a greater id.
  high         bigint NOT NULL DEFAULT 0,
  moved        timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (subscription, partition),
  CHECK ((target IS NULL) = (after IS NULL))
) WITH (fillfactor = 50);

CREATE TABLE pglisten.sleeper (
  subscription text NOT NULL REFERENCES pglisten.subscription ON DELETE CASCADE,
  partition    int NOT NULL,
  worker       uuid NOT NULL,
  channels     text[] NOT NULL,
  -- By then its worker has said again that it sleeps, or is gone.
  until        timestamptz NOT NULL,
  PRIMARY KEY (subscription, partition, worker)
) WITH (fillfactor = 50);
COMMENT ON TABLE pglisten.sleeper IS 'The workers that wait for a bell. Nobody rings while it is empty.';

CREATE TABLE pglisten.attempt (
  subscription text NOT NULL REFERENCES pglisten.subscription ON DELETE CASCADE,
  event        bigint NOT NULL,
  attempts     int NOT NULL,
  error        text NOT NULL,
  at           timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (subscription, event)
);

CREATE TABLE pglisten.failed (
  subscription text NOT NULL REFERENCES pglisten.subscription ON DELETE CASCADE,
  partition    int NOT NULL,
  event        bigint NOT NULL,
  xact         xid8 NOT NULL,
  channel      text NOT NULL,
  payload      text NOT NULL,
  key          text,
  published    timestamptz NOT NULL,
  failed       timestamptz NOT NULL DEFAULT clock_timestamp(),
  attempts     int NOT NULL,
  error        text NOT NULL,
  is_due       boolean NOT NULL DEFAULT false,
  PRIMARY KEY (subscription, event)
);
CREATE INDEX failed_due ON pglisten.failed (subscription, partition, event) WHERE is_due;
COMMENT ON TABLE pglisten.failed IS 'Events that were given up. Those that are due are handled again, before others.';

-- The snapshot of this statement, with the transaction itself among the open ones: what it publishes itself is not done.
CREATE FUNCTION pglisten.position_now() RETURNS pg_snapshot
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  present pg_snapshot := pg_current_snapshot();
  me xid8 := pg_current_xact_id_if_assigned();
BEGIN
  IF me IS NULL OR me >= pg_snapshot_xmax(present) THEN
    RETURN present;
  END IF;
  RETURN format('%s:%s:%s', least(pg_snapshot_xmin(present), me), pg_snapshot_xmax(present), string_agg(x::text, ',' ORDER BY x))::pg_snapshot
    FROM (SELECT pg_snapshot_xip(present) UNION SELECT me) AS open (x);
END $$;

-- Which cluster, database and table this is. A role that may not know the cluster's identifier gets 0.
CREATE FUNCTION pglisten.here(OUT cluster bigint, OUT database oid, OUT relation oid)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  SELECT d.oid INTO database FROM pg_database AS d WHERE d.datname = current_database();
  relation := 'pglisten.event'::regclass;
  BEGIN
    SELECT c.system_identifier INTO cluster FROM pg_control_system() AS c;
  EXCEPTION WHEN insufficient_privilege OR feature_not_supported THEN
    cluster := 0;
  END;
END $$;

-- Whether positions mean anything here. It is asked for each batch, and to read the cluster's identifier takes longer than all the
-- rest of that: a session, which never leaves its cluster and its database, keeps it, and looks again only before it says no.
CREATE FUNCTION pglisten.is_home() RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  place text := current_setting('pglisten.place', true);
  home text;
  is_table boolean;
BEGIN
  SELECT format('%s/%s', h.cluster, h.database), h.relation = 'pglisten.event'::regclass INTO STRICT home, is_table
  FROM pglisten.home AS h;
  IF place IS DISTINCT FROM home THEN
    SELECT set_config('pglisten.place', format('%s/%s', e.cluster, e.database), false) INTO place FROM pglisten.here() AS e;
  END IF;
  RETURN is_table AND place = home;
END $$;

-- Whether positions may be compared with transactions of this cluster: else they have to be adopted first.
CREATE FUNCTION pglisten.is_adopted() RETURNS boolean
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  SELECT pglisten.is_home() AND NOT EXISTS (
    SELECT FROM pglisten.position AS p
    WHERE pg_snapshot_xmax(coalesce(p.target, p.base)) > pg_snapshot_xmax(pg_current_snapshot()))
$$;

-- In which of so many partitions an event is: the same one for each key; without a key, for each channel.
CREATE FUNCTION pglisten.partition_of(channel text, key text, partitions int) RETURNS int
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
  SELECT ((get_byte(h, 0) << 16) | (get_byte(h, 1) << 8) | get_byte(h, 2)) % partitions
  FROM sha256(convert_to(coalesce(key, channel), 'UTF8')) AS h
$$;

CREATE FUNCTION pglisten.publish(channel text, payload text, key text DEFAULT NULL, bell boolean DEFAULT true) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  -- Before the statement that asks who sleeps takes its snapshot: a worker that has fallen asleep by a later one waits for the
  -- transactions that have an id by then.
  own CONSTANT xid8 := pg_current_xact_id();
  new_id bigint;
  is_slept boolean;
BEGIN
  IF channel IS NULL OR channel = '' OR octet_length(channel) > 63 THEN
    RAISE EXCEPTION 'the name of a channel has from 1 to 63 bytes' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  -- What is twice as long is no string of JavaScript's any more. A constraint of the table would cost ten microseconds.
  IF octet_length(payload) + coalesce(octet_length(key), 0) > 268435456 THEN
    RAISE EXCEPTION 'the payload and the key of an event have at most 268435456 bytes' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  -- One statement, since each of its own costs several microseconds.
  INSERT INTO pglisten.event (xact, channel, payload, key) VALUES (own, $1, $2, $3)
  RETURNING id, EXISTS (SELECT FROM pglisten.sleeper AS s WHERE $1 = ANY (s.channels)) INTO new_id, is_slept;
  IF bell AND (is_slept OR current_setting('transaction_isolation') <> 'read committed') THEN
    PERFORM pg_notify('pglisten_bell', $1);
  END IF;
  RETURN new_id;
END $$;

-- Keeps trimming apart from what makes positions: who trims has to see every one. A transaction's lock.
CREATE FUNCTION pglisten.trim_lock() RETURNS bigint
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT 5782470117 $$;

-- Whether there was none of that name. Of one that exists `max_unread` and `on_unread` are set.
CREATE FUNCTION pglisten.subscribe(
  name text, channels text[], partitions int DEFAULT 1, beginning boolean DEFAULT false,
  max_unread interval DEFAULT '1 day', on_unread text DEFAULT 'warn') RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  known pglisten.subscription;
BEGIN
  PERFORM pg_advisory_xact_lock(pglisten.trim_lock());
  LOOP
    INSERT INTO pglisten.subscription AS s (name, channels, partitions, max_unread, on_unread)
    VALUES ($1, $2, $3, $5, $6) ON CONFLICT DO NOTHING;
    IF FOUND THEN
      -- A position of this cluster among those of another one would be adopted as one of that.
      IF NOT pglisten.is_adopted() THEN
        RAISE EXCEPTION 'the positions come from another cluster: call pglisten.adopt()' USING ERRCODE = 'PGL01';
      END IF;
      INSERT INTO pglisten.position (subscription, partition, base, high)
      SELECT $1, p, start.base, start.high
      FROM generate_series(0, $3 - 1) AS p, (
        SELECT CASE WHEN beginning THEN '1:1:' ELSE pglisten.position_now() END AS base,
          CASE WHEN beginning THEN 0 ELSE coalesce(max(v.id), 0) END AS high
        FROM pglisten.event AS v
      ) AS start;
      RETURN true;
    END IF;
    -- One that was found and is dropped by then is made anew.
    SELECT * INTO known FROM pglisten.subscription AS s WHERE s.name = $1 FOR NO KEY UPDATE;
    EXIT WHEN FOUND;
  END LOOP;
  IF known.partitions <> $3 THEN
    RAISE EXCEPTION 'subscription "%" has % partitions, not %', $1, known.partitions, $3 USING ERRCODE = 'PGL04';
  END IF;
  IF NOT (known.channels @> $2 AND known.channels <@ $2) THEN
    RAISE EXCEPTION 'subscription "%" has other channels: %', $1, array_to_string(known.channels, ', ') USING ERRCODE = 'PGL04';
  END IF;
  UPDATE pglisten.subscription AS s SET max_unread = $5, on_unread = $6, begun = clock_timestamp(), told = NULL WHERE s.name = $1;
  RETURN false;
END $$;

-- Locks a position for the transaction, and bounds that by the server's own time-outs, so that a worker that is frozen or cut off
-- gives its lock back. Before version 17 no time-out is that of a transaction, and two of them share the time. None of those ends a
-- session that waits for its client to read: the operating system does, where it can.
CREATE FUNCTION pglisten.hold(sub text, part int, max_handler_ms int, synchronous text) RETURNS pglisten.position
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  own pglisten.position;
BEGIN
  IF synchronous IS NOT NULL THEN
    PERFORM set_config('synchronous_commit', synchronous, true);
  END IF;
  -- A server on another system writes a line to its log each time that this is set.
  IF strpos(version(), 'linux') > 0 THEN
    PERFORM set_config('tcp_user_timeout', max_handler_ms::text, true);
  END IF;
  IF current_setting('server_version_num')::int >= 170000 THEN
    -- A timer that runs, by what the session has set, goes on by the old value unless it is stopped.
    IF current_setting('transaction_timeout') <> '0' THEN
      PERFORM set_config('transaction_timeout', '0', true);
    END IF;
    PERFORM set_config('idle_in_transaction_session_timeout', max_handler_ms::text, true),
      set_config('transaction_timeout', max_handler_ms::text, true);
  ELSE
    PERFORM set_config('idle_in_transaction_session_timeout', (max_handler_ms - max_handler_ms / 2)::text, true),
      set_config('statement_timeout', (max_handler_ms - max_handler_ms / 2)::text, true);
  END IF;
  SELECT * INTO own FROM pglisten.position AS p WHERE p.subscription = sub AND p.partition = part FOR NO KEY UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    IF NOT EXISTS (SELECT FROM pglisten.subscription AS s WHERE s.name = sub) THEN
      RAISE EXCEPTION 'there is no subscription "%"', sub USING ERRCODE = 'PGL02';
    END IF;
    RAISE EXCEPTION 'subscription "%" is worked elsewhere', sub USING ERRCODE = 'lock_not_available';
  END IF;
  RETURN own;
END $$;

-- The events that follow, at most `n` and some 16 MiB unless the first one alone has more, and behind them a row without an id whose payload says how the position moves when they are done:
-- `after` is left to the caller, who knows the last event. No row: there is nothing to do. To be called in the transaction that does the
-- work; READ COMMITTED.
CREATE FUNCTION pglisten.take(sub text, part int, n int, max_handler_ms int, synchronous text)
RETURNS TABLE (id bigint, xact xid8, channel text, payload text, key text, micros float8, attempt int)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
SET max_parallel_workers_per_gather = 0 SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
  known pglisten.subscription;
  own pglisten.position;
  present pg_snapshot;
  most_bytes CONSTANT bigint := 16777216;
  -- So many events are read by one statement, also where none is for this subscription.
  most_read CONSTANT int := greatest(50000, n);
  began CONSTANT timestamptz := clock_timestamp();
  upto bigint;
  following bigint;
  is_long boolean;
  size int;
  bytes bigint;
  fit int;
  from_base pg_snapshot;
  had_target boolean;
  is_tried boolean;
BEGIN
  -- The lock, the present and the events are three statements: each has a snapshot of its own, and none may be older than the lock.
  own := pglisten.hold(sub, part, max_handler_ms, synchronous);
  present := pglisten.position_now();
  IF pg_snapshot_xmax(present) < pg_snapshot_xmax(coalesce(own.target, own.base)) OR NOT pglisten.is_home() THEN
    RAISE EXCEPTION 'the positions come from another cluster: call pglisten.adopt()' USING ERRCODE = 'PGL01';
  END IF;
  SELECT * INTO known FROM pglisten.subscription AS s WHERE s.name = sub;

  -- What is to be tried again, one by one: each event has failed before.
  IF EXISTS (SELECT FROM pglisten.failed AS f WHERE f.subscription = sub AND f.partition = part AND f.is_due) THEN
    RETURN QUERY
      WITH due AS (
        SELECT f.* FROM pglisten.failed AS f WHERE f.subscription = sub AND f.partition = part AND f.is_due ORDER BY f.event LIMIT 1
      )
      (SELECT d.event, d.xact, d.channel, d.payload, d.key, round(date_part('epoch', d.published) * 1000000), d.attempts + 1 FROM due AS d ORDER BY d.event)
      UNION ALL
      SELECT NULL::bigint, NULL::xid8, NULL, jsonb_build_object(
        'xact', pg_current_xact_id()::text, 'made', round(date_part('epoch', known.created) * 1000000)::bigint::text, 'retried', jsonb_agg(d.event::text)
      )::text, NULL, NULL::float8, 0 FROM due AS d;
    RETURN;
  END IF;

  had_target := own.target IS NOT NULL;
  is_tried := EXISTS (SELECT FROM pglisten.attempt AS a WHERE a.subscription = sub);
  LOOP
    from_base := own.base;
    IF own.target IS NULL THEN
      SELECT count(*) FILTER (WHERE found.is_own), sum(found.bytes) FILTER (WHERE found.is_own), count(*) > most_read INTO size, bytes, is_long FROM (
        SELECT read.bytes, read.channel = ANY (known.channels)
          AND (known.partitions = 1 OR pglisten.partition_of(read.channel, read.key, known.partitions) = part) AS is_own
        FROM (
          SELECT octet_length(v.payload) + coalesce(octet_length(v.key), 0) AS bytes, v.channel, v.key FROM pglisten.event AS v
          WHERE v.xact = ANY (ARRAY(SELECT pg_snapshot_xip(own.base))) AND pg_visible_in_snapshot(v.xact, present)
          UNION ALL
          SELECT octet_length(v.payload) + coalesce(octet_length(v.key), 0), v.channel, v.key FROM pglisten.event AS v
          WHERE v.xact >= pg_snapshot_xmax(own.base) AND v.xact < pg_snapshot_xmax(present) AND pg_visible_in_snapshot(v.xact, present)
          LIMIT most_read + 1
        ) AS read
      ) AS found;
      IF NOT is_long AND size <= n AND (size <= 1 OR bytes <= most_bytes) THEN
        IF size > 0 THEN
          RETURN QUERY
            SELECT v.id, coalesce(v.origin, v.xact), v.channel, v.payload, v.key, round(date_part('epoch', v.at) * 1000000),
              CASE WHEN is_tried THEN pglisten.attempts_at(sub, v.id) ELSE 0 END + 1
            FROM (
              SELECT w.* FROM pglisten.event AS w
              WHERE w.xact = ANY (ARRAY(SELECT pg_snapshot_xip(own.base))) AND pg_visible_in_snapshot(w.xact, present)
              UNION ALL
              SELECT w.* FROM pglisten.event AS w
              WHERE w.xact >= pg_snapshot_xmax(own.base) AND w.xact < pg_snapshot_xmax(present) AND pg_visible_in_snapshot(w.xact, present)
            ) AS v
            WHERE v.channel = ANY (known.channels)
              AND (known.partitions = 1 OR pglisten.partition_of(v.channel, v.key, known.partitions) = part)
            ORDER BY v.id;
        END IF;
        own.base := present;
        EXIT;
      END IF;
      -- There are many. They are walked by id, from the least one on. A plain `min(id)` would be looked for by id, from the first event
      -- of the table on.
      own.target := present;
      SELECT min(least_id) - 1 INTO own.after FROM (
        SELECT min(v.id + 0) AS least_id FROM pglisten.event AS v
        WHERE v.xact = ANY (ARRAY(SELECT pg_snapshot_xip(own.base))) AND pg_visible_in_snapshot(v.xact, present)
        UNION ALL
        SELECT min(v.id + 0) FROM pglisten.event AS v
        WHERE v.xact >= pg_snapshot_xmax(own.base) AND v.xact < pg_snapshot_xmax(present)
      ) AS ends;
    END IF;
    fit := n;
    upto := own.after + most_read;
    -- A row tells the size of its payload, also of one that is stored elsewhere or compressed. One sum costs less than running totals do.
    SELECT sum(found.bytes) INTO bytes FROM (
      SELECT octet_length(v.payload) + coalesce(octet_length(v.key), 0) AS bytes FROM pglisten.event AS v
      WHERE v.id > own.after AND v.id <= upto AND pg_visible_in_snapshot(v.xact, own.target) AND NOT pg_visible_in_snapshot(v.xact, own.base)
        AND v.channel = ANY (known.channels)
        AND (known.partitions = 1 OR pglisten.partition_of(v.channel, v.key, known.partitions) = part)
      ORDER BY v.id LIMIT n
    ) AS found;
    IF bytes > most_bytes THEN
      SELECT count(*) INTO fit FROM (
        SELECT u.bytes, sum(u.bytes) OVER (ORDER BY u.id ROWS UNBOUNDED PRECEDING) AS total FROM (
          SELECT v.id, octet_length(v.payload) + coalesce(octet_length(v.key), 0) AS bytes FROM pglisten.event AS v
          WHERE v.id > own.after AND v.id <= upto AND pg_visible_in_snapshot(v.xact, own.target) AND NOT pg_visible_in_snapshot(v.xact, own.base)
            AND v.channel = ANY (known.channels)
            AND (known.partitions = 1 OR pglisten.partition_of(v.channel, v.key, known.partitions) = part)
          ORDER BY v.id LIMIT n
        ) AS u
      ) AS found WHERE found.total <= most_bytes OR found.total = found.bytes;
    END IF;
    RETURN QUERY
      SELECT v.id, coalesce(v.origin, v.xact), v.channel, v.payload, v.key, round(date_part('epoch', v.at) * 1000000),
        CASE WHEN is_tried THEN pglisten.attempts_at(sub, v.id) ELSE 0 END + 1
      FROM pglisten.event AS v
      WHERE v.id > own.after AND v.id <= upto AND pg_visible_in_snapshot(v.xact, own.target) AND NOT pg_visible_in_snapshot(v.xact, own.base)
        AND v.channel = ANY (known.channels)
        AND (known.partitions = 1 OR pglisten.partition_of(v.channel, v.key, known.partitions) = part)
      ORDER BY v.id LIMIT fit;
    GET DIAGNOSTICS size = ROW_COUNT;
    EXIT WHEN size > 0 AND size = fit;
    -- What follows was published later than all that is due, or is due too.
    SELECT v.id INTO following FROM pglisten.event AS v WHERE v.id > upto ORDER BY v.id LIMIT 1;
    IF FOUND THEN
      EXIT WHEN size > 0;
      own.after := following - 1;
      -- A transaction has its time, and what was walked is kept at its end.
      EXIT WHEN clock_timestamp() - began > max_handler_ms / 8 * interval '1 ms';
      CONTINUE;
    END IF;
    -- The walk is at its end. Where it was there before, what has come since follows.
    own.base := own.target;
    own.target := NULL;
    own.after := NULL;
    EXIT WHEN size > 0;
  END LOOP;

  IF size = 0 THEN
    -- A crash that undoes what follows does no harm.
    PERFORM set_config('synchronous_commit', 'off', true);
    -- The position of an idle subscription moves too: by it events are kept, and read.
    IF had_target OR own.target IS NOT NULL OR own.moved < clock_timestamp() - interval '10 s' THEN
      PERFORM pglisten.move(own);
    END IF;
    RETURN;
  END IF;
  id := NULL;
  payload := jsonb_build_object(
    'xact', pg_current_xact_id()::text, 'made', round(date_part('epoch', known.created) * 1000000)::bigint::text, 'base', own.base, 'target', own.target,
    -- For whoever does only a part of the batch: `after` is the last event of that.
    'from', from_base, 'to', coalesce(own.target, own.base)
  );
  RETURN NEXT;
END $$;

-- How often a subscription has failed at an event.
CREATE FUNCTION pglisten.attempts_at(sub text, event bigint) RETURNS int
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce((SELECT a.attempts FROM pglisten.attempt AS a WHERE a.subscription = sub AND a.event = attempts_at.event), 0)
$$;

CREATE FUNCTION pglisten.move(own pglisten.position) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE pglisten.position AS p
  SET base = own.base, target = own.target, after = own.after, moved = clock_timestamp(),
    high = greatest(p.high, (SELECT max(v.id) FROM pglisten.event AS v))
  WHERE p.subscription = own.subscription AND p.partition = own.partition;
END $$;

-- Moves the position behind the events that were fetched, and forgets the attempts at those that were tried before. To be called last in the transaction that has fetched them.
CREATE FUNCTION pglisten.advance(sub text, part int, way jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  own pglisten.position;
BEGIN
  IF pg_current_xact_id_if_assigned()::text IS DISTINCT FROM way ->> 'xact' THEN
    RAISE EXCEPTION 'the transaction in which the events were fetched has ended' USING ERRCODE = 'PGL03';
  END IF;
  IF way ? 'retried' THEN
    -- One that was given up again is not due any more, and stays.
    DELETE FROM pglisten.failed AS f
    WHERE f.subscription = sub AND f.is_due AND f.event IN (SELECT e::bigint FROM jsonb_array_elements_text(way -> 'retried') AS e);
    -- That is reading too.
    UPDATE pglisten.position AS p SET moved = clock_timestamp() WHERE p.subscription = sub AND p.partition = part;
  ELSE
    own.subscription := sub;
    own.partition := part;
    own.base := (way ->> 'base')::pg_snapshot;
    own.target := (way ->> 'target')::pg_snapshot;
    own.after := (way ->> 'after')::bigint;
    PERFORM pglisten.move(own);
  END IF;
  IF way ? 'tried' THEN
    DELETE FROM pglisten.attempt AS a
    WHERE a.subscription = sub AND a.event IN (SELECT e::bigint FROM jsonb_array_elements_text(way -> 'tried') AS e);
  END IF;
END $$;

-- Whether there is something to fetch, by a read that takes no lock. It may say yes where another worker is at it.
CREATE FUNCTION pglisten.has_more(sub text, part int) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  known pglisten.subscription;
  own pglisten.position;
  present pg_snapshot;
BEGIN
  -- The position first, as everywhere: whoever uninstalls locks the tables in this order.
  SELECT * INTO own FROM pglisten.position AS p WHERE p.subscription = sub AND p.partition = part;
  IF NOT FOUND THEN
    RETURN true;
  END IF;
  SELECT * INTO known FROM pglisten.subscription AS s WHERE s.name = sub;
  present := pglisten.position_now();
  RETURN own.target IS NOT NULL
    OR own.moved < clock_timestamp() - interval '10 s'
    OR pg_snapshot_xmax(present) < pg_snapshot_xmax(own.base)
    OR EXISTS (SELECT FROM pglisten.failed AS f WHERE f.subscription = sub AND f.partition = part AND f.is_due)
    OR EXISTS (
      SELECT FROM pglisten.event AS v
      WHERE v.xact = ANY (ARRAY(SELECT pg_snapshot_xip(own.base))) AND pg_visible_in_snapshot(v.xact, present)
        AND v.channel = ANY (known.channels)
        AND (known.partitions = 1 OR pglisten.partition_of(v.channel, v.key, known.partitions) = part))
    OR EXISTS (
      SELECT FROM pglisten.event AS v
      WHERE v.xact >= pg_snapshot_xmax(own.base) AND v.xact < pg_snapshot_xmax(present) AND pg_visible_in_snapshot(v.xact, present)
        AND v.channel = ANY (known.channels)
        AND (known.partitions = 1 OR pglisten.partition_of(v.channel, v.key, known.partitions) = part));
END $$;

-- Has publishers ring for a worker, for so long. Workers that have not said so again in their time are gone and forgotten. Neither this
-- nor the contrary has to survive a crash, which ends all workers: no disk is waited for.
CREATE FUNCTION pglisten.doze(sub text, part int, worker uuid, duration interval) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  -- A subscription that is being dropped is waited for, with nothing in hand that who drops it would wait for.
  INSERT INTO pglisten.sleeper AS s (subscription, partition, worker, channels, until)
  SELECT k.name, part, doze.worker, k.channels, clock_timestamp() + duration FROM pglisten.subscription AS k WHERE k.name = sub
  FOR KEY SHARE
  ON CONFLICT ON CONSTRAINT sleeper_pkey DO UPDATE SET until = excluded.until, channels = excluded.channels;
  DELETE FROM pglisten.sleeper AS s WHERE (s.subscription, s.partition, s.worker) IN (
    SELECT g.subscription, g.partition, g.worker FROM pglisten.sleeper AS g WHERE g.until < clock_timestamp() FOR UPDATE SKIP LOCKED);
END $$;

-- Whether publishers ring for a worker.
CREATE FUNCTION pglisten.is_rung_for(sub text, part int, worker uuid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (SELECT FROM pglisten.sleeper AS s WHERE s.subscription = sub AND s.partition = part AND s.worker = is_rung_for.worker)
$$;

CREATE FUNCTION pglisten.rouse(sub text, part int, worker uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  DELETE FROM pglisten.sleeper AS s WHERE s.subscription = sub AND s.partition = part AND s.worker = rouse.worker;
END $$;

-- Counts an attempt that has failed; how many there were. Without an error it only tells how many there were. 0: the event is done, and less
-- than 0: it was given up after so many, since the commit of the attempt took effect although nobody has heard of it, or another worker has
-- had it. In a transaction of its own: that of the work is rolled back.
CREATE FUNCTION pglisten.count_attempt(sub text, part int, event bigint, error text, max_handler_ms int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  counted int;
BEGIN
  -- While somebody is at work, or a commit is under way, nobody knows whether the event is done.
  PERFORM pglisten.hold(sub, part, max_handler_ms, NULL);
  IF error IS NULL THEN
    SELECT f.attempts INTO counted FROM pglisten.failed AS f WHERE f.subscription = sub AND f.event = $3 AND f.is_due;
  ELSE
    UPDATE pglisten.failed AS f SET attempts = f.attempts + 1, error = $4, failed = clock_timestamp()
    WHERE f.subscription = sub AND f.event = $3 AND f.is_due RETURNING f.attempts INTO counted;
  END IF;
  IF FOUND THEN
    RETURN counted;
  END IF;
  IF NOT pglisten.is_undone(sub, $3) THEN
    RETURN coalesce((SELECT -f.attempts FROM pglisten.failed AS f WHERE f.subscription = sub AND f.event = $3), 0);
  END IF;
  IF error IS NULL THEN
    RETURN pglisten.attempts_at(sub, $3);
  END IF;
  INSERT INTO pglisten.attempt AS a (subscription, event, attempts, error) VALUES (sub, $3, 1, $4)
  ON CONFLICT ON CONSTRAINT attempt_pkey
  DO UPDATE SET attempts = a.attempts + 1, error = excluded.error, at = clock_timestamp() RETURNING a.attempts INTO counted;
  RETURN counted;
END $$;

-- Whether an event of a subscription has yet to be done.
CREATE FUNCTION pglisten.is_undone(sub text, event bigint) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (
    SELECT FROM pglisten.event AS v
      JOIN pglisten.subscription AS s ON s.name = sub
      JOIN pglisten.position AS p ON p.subscription = sub
        AND p.partition = CASE s.partitions WHEN 1 THEN 0 ELSE pglisten.partition_of(v.channel, v.key, s.partitions) END
    WHERE v.id = is_undone.event AND NOT pg_visible_in_snapshot(v.xact, p.base)
      AND NOT coalesce(v.id <= p.after AND pg_visible_in_snapshot(v.xact, p.target), false))
$$;

-- Gives an event up that was fetched alone. In the transaction that has fetched it, before `advance`.
CREATE FUNCTION pglisten.give_up(sub text, part int, event bigint, error text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- Of one that was given up before, and was to be handled again, the event itself may have been trimmed.
  UPDATE pglisten.failed AS f SET is_due = false, error = $4, failed = clock_timestamp() WHERE f.subscription = sub AND f.event = $3;
  IF NOT FOUND THEN
    INSERT INTO pglisten.failed (subscription, partition, event, xact, channel, payload, key, published, attempts, error)
    SELECT sub, part, v.id, coalesce(v.origin, v.xact), v.channel, v.payload, v.key, v.at,
      coalesce((SELECT a.attempts FROM pglisten.attempt AS a WHERE a.subscription = sub AND a.event = v.id), 1), $4
    FROM pglisten.event AS v WHERE v.id = $3;
  END IF;
  DELETE FROM pglisten.attempt AS a WHERE a.subscription = sub AND a.event = $3;
END $$;

CREATE FUNCTION pglisten.retry(sub text, events bigint[]) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  due int;
BEGIN
  UPDATE pglisten.failed AS f SET is_due = true WHERE f.subscription = sub AND (events IS NULL OR f.event = ANY (events));
  GET DIAGNOSTICS due = ROW_COUNT;
  IF due > 0 THEN
    PERFORM pg_notify('pglisten_bell', c) FROM (
      SELECT DISTINCT f.channel FROM pglisten.failed AS f WHERE f.subscription = sub AND f.is_due
    ) AS channels (c);
  END IF;
  RETURN due;
END $$;

-- Whoever works it and sleeps is woken, to find out.
CREATE FUNCTION pglisten.drop_subscription(name text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  known pglisten.subscription;
BEGIN
  -- Whoever works it has the lock of a position, and may need that of the subscription afterwards.
  PERFORM FROM pglisten.position AS p WHERE p.subscription = $1 ORDER BY p.partition FOR UPDATE;
  DELETE FROM pglisten.subscription AS s WHERE s.name = $1 RETURNING * INTO known;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  PERFORM pg_notify('pglisten_bell', known.channels[1]);
  RETURN true;
END $$;

-- How many events a subscription has not done yet, counted up to `most`, and when the oldest of them was published.
CREATE FUNCTION pglisten.lag(sub text, most bigint DEFAULT NULL, OUT events bigint, OUT oldest timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
  SELECT count(*), min(counted.at) FROM (SELECT v.at
  FROM pglisten.position AS p JOIN pglisten.subscription AS s ON s.name = p.subscription
    CROSS JOIN LATERAL (
      SELECT e.* FROM pglisten.event AS e WHERE e.xact = ANY (ARRAY(SELECT pg_snapshot_xip(p.base)))
      UNION ALL
      SELECT e.* FROM pglisten.event AS e WHERE e.xact >= pg_snapshot_xmax(p.base)
    ) AS v
  WHERE p.subscription = sub AND v.channel = ANY (s.channels)
    AND (s.partitions = 1 OR pglisten.partition_of(v.channel, v.key, s.partitions) = p.partition)
    AND NOT coalesce(v.id <= p.after AND pg_visible_in_snapshot(v.xact, p.target), false)
  LIMIT most) AS counted
$$;

-- Removes events that every subscription has done and that are older than `keep`: at most `n`, and how many those were. What an
-- open transaction may still publish before them is waited for. Of the `n` oldest transactions' events none may be old enough, though
-- younger ones are: then 0 is removed, until they are.
CREATE FUNCTION pglisten.trim(keep interval, n int DEFAULT 10000) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
  low xid8;
  removed int;
BEGIN
  PERFORM pg_advisory_xact_lock(pglisten.trim_lock());
  IF NOT pglisten.is_adopted() THEN
    RAISE EXCEPTION 'the positions come from another cluster: call pglisten.adopt()' USING ERRCODE = 'PGL01';
  END IF;
  SELECT pg_snapshot_xmin(p.base) INTO low FROM pglisten.position AS p ORDER BY pg_snapshot_xmin(p.base) LIMIT 1;
  low := least(low, pg_snapshot_xmin(pg_current_snapshot()));
  DELETE FROM pglisten.event AS e WHERE e.id IN (
    SELECT first.id FROM (SELECT v.id, v.at FROM pglisten.event AS v WHERE v.xact < low ORDER BY v.xact, v.id LIMIT n) AS first
    WHERE first.at < clock_timestamp() - keep);
  GET DIAGNOSTICS removed = ROW_COUNT;
  RETURN removed;
END $$;

-- For how long nobody has read a subscription: no position has moved, no attempt has failed, and no process has run it.
CREATE FUNCTION pglisten.unread_for(sub text) RETURNS interval
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT clock_timestamp() - greatest(
    (SELECT s.begun FROM pglisten.subscription AS s WHERE s.name = sub),
    (SELECT min(p.moved) FROM pglisten.position AS p WHERE p.subscription = sub),
    (SELECT max(a.at) FROM pglisten.attempt AS a WHERE a.subscription = sub),
    (SELECT max(f.failed) FROM pglisten.failed AS f WHERE f.subscription = sub AND f.is_due))
$$;

-- The subscriptions that nobody reads, each once in its `max_unread`, and drops those that want it. `events` is counted up to `most`.
--
-- What is to be dropped `waits` for 2 minutes first, or for `max_unread` where that is less: after an outage, or a step of the server's clock,
-- whoever reads it has to be able to say so. `watched` has for how long each was unread whenever the caller looked, in milliseconds of a
-- clock that knows no steps; while it waits its events are not counted. Null: the caller will not look again, and the next one goes by when
-- it was told.
CREATE FUNCTION pglisten.tell_unread(most bigint, watched jsonb DEFAULT NULL)
RETURNS TABLE (name text, age interval, events bigint, oldest timestamptz, is_dropped boolean, waits boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  known pglisten.subscription;
  locked int;
  patience interval;
BEGIN
  PERFORM pg_advisory_xact_lock(pglisten.trim_lock());
  FOR known IN
    SELECT s.* FROM pglisten.subscription AS s
    WHERE pglisten.unread_for(s.name) > s.max_unread
      AND (s.told IS NULL OR s.told < clock_timestamp() - s.max_unread OR s.on_unread = 'drop')
    ORDER BY s.name FOR UPDATE SKIP LOCKED
  LOOP
    patience := least(known.max_unread, interval '2 min');
    is_dropped := known.on_unread = 'drop' AND CASE WHEN watched IS NULL
      THEN known.told IS NOT NULL AND known.told < clock_timestamp() - patience
      ELSE coalesce((watched ->> known.name)::float8, 0) * interval '1 ms' >= patience END;
    waits := known.on_unread = 'drop' AND NOT is_dropped;
    -- It was told a moment ago.
    CONTINUE WHEN waits AND watched IS NULL AND known.told IS NOT NULL;
    -- Whoever works it has the lock of a position, and whoever has worked it meanwhile has moved one.
    PERFORM FROM pglisten.position AS p WHERE p.subscription = known.name FOR UPDATE SKIP LOCKED;
    GET DIAGNOSTICS locked = ROW_COUNT;
    age := pglisten.unread_for(known.name);
    CONTINUE WHEN locked < known.partitions OR NOT age > known.max_unread;
    events := 0;
    oldest := NULL;
    IF NOT waits OR watched IS NULL THEN
      SELECT l.events, l.oldest INTO events, oldest FROM pglisten.lag(known.name, most) AS l;
    END IF;
    IF is_dropped THEN
      DELETE FROM pglisten.subscription AS s WHERE s.name = known.name;
    ELSIF NOT waits OR watched IS NULL THEN
      UPDATE pglisten.subscription AS s SET told = clock_timestamp() WHERE s.name = known.name;
    END IF;
    name := known.name;
    RETURN NEXT;
  END LOOP;
END $$;

-- What whoever runs a subscription, `sub`, does now and then: says that it is read, also while no batch is fetched. For all of them it
-- removes at most `n` events, and tells of what nobody reads, but not while another one is at it: then `unread` is null.
CREATE FUNCTION pglisten.tend(n int, most bigint, watched jsonb DEFAULT '{}', sub text DEFAULT NULL, OUT removed int, OUT unread jsonb)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  keep interval;
BEGIN
  removed := 0;
  -- A crash that undoes what follows does no harm.
  PERFORM set_config('synchronous_commit', 'off', true);
  -- Of one whose position moves, as that of an idle one does, nothing is written.
  UPDATE pglisten.subscription AS s SET begun = clock_timestamp(), told = NULL WHERE s.name IN (
    SELECT k.name FROM pglisten.subscription AS k
    WHERE k.name = sub AND pglisten.unread_for(k.name) > least(interval '10 s', k.max_unread / 4) FOR NO KEY UPDATE SKIP LOCKED);
  IF NOT pg_try_advisory_xact_lock(pglisten.trim_lock()) OR NOT pglisten.is_adopted() THEN
    RETURN;
  END IF;
  SELECT coalesce(jsonb_agg(to_jsonb(u) || jsonb_build_object(
    'age', (extract(epoch FROM u.age) * 1000)::bigint, 'oldest', (extract(epoch FROM u.oldest) * 1000)::bigint)), '[]')
  INTO unread FROM pglisten.tell_unread(most, watched) AS u;
  SELECT u.retention INTO keep FROM pglisten.upkeep AS u;
  IF keep IS NOT NULL THEN
    removed := pglisten.trim(keep, n);
  END IF;
END $$;

-- Makes the positions of a restored dump mean here what they meant there. How many events each subscription still has to do then.
-- An event is done where its transaction was visible and its id was reached; each set of subscriptions that have not done an event
-- gets one of the first transaction ids, which no transaction has any more.
CREATE FUNCTION pglisten.adopt() RETURNS TABLE (subscription text, events bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  present pg_snapshot;
BEGIN
  PERFORM pg_advisory_xact_lock(pglisten.trim_lock());
  -- Nobody who publishes waits where there is nothing to do.
  IF pglisten.is_adopted() THEN
    RETURN;
  END IF;
  -- The rows before the tables: whoever has the lock of a row, to work a batch or to drop a subscription, changes it afterwards, and would wait
  -- for the table's.
  PERFORM FROM pglisten.position AS p ORDER BY p.subscription, p.partition FOR UPDATE;
  LOCK TABLE pglisten.position, pglisten.event IN SHARE ROW EXCLUSIVE MODE;
  present := pglisten.position_now();
  BEGIN
    WITH undone AS MATERIALIZED (
      SELECT e.id, coalesce(array_agg(format('%s/%s', p.subscription, p.partition) ORDER BY p.subscription, p.partition) FILTER (
        WHERE p.subscription IS NOT NULL AND NOT (
          (e.id <= p.high AND pg_visible_in_snapshot(e.xact, p.base))
          OR (p.target IS NOT NULL AND e.id <= p.after AND pg_visible_in_snapshot(e.xact, p.target)))), '{}') AS who
      FROM pglisten.event AS e LEFT JOIN pglisten.position AS p ON true GROUP BY e.id
    ), sets AS MATERIALIZED (
      SELECT u.who, row_number() OVER (ORDER BY u.who) AS n FROM undone AS u GROUP BY u.who
    ), stamps AS MATERIALIZED (
      -- Of those that have ended: who is open may still publish.
      SELECT x::text::xid8 AS stamp, row_number() OVER (ORDER BY x) AS n
      FROM generate_series(3, least(pg_snapshot_xmax(present)::text::bigint - 1,
        2 + (SELECT count(*) FROM sets) + (SELECT count(*) FROM pg_snapshot_xip(present)))) AS x
      WHERE x::text::xid8 NOT IN (SELECT pg_snapshot_xip(present))
    ), lists AS MATERIALIZED (
      SELECT m.who, array_agg(t.stamp) AS stamps
      FROM sets AS s JOIN stamps AS t ON t.n = s.n CROSS JOIN LATERAL unnest(s.who) AS m (who) GROUP BY m.who
    ), stamped AS (
      UPDATE pglisten.event AS e SET origin = coalesce(e.origin, e.xact), xact = t.stamp
      FROM undone AS u JOIN sets AS s ON s.who = u.who LEFT JOIN stamps AS t ON t.n = s.n WHERE u.id = e.id
    )
    UPDATE pglisten.position AS p SET target = NULL, after = NULL, base = (
      SELECT CASE WHEN count(*) = 0 THEN present
        ELSE format('%s:%s:%s', (array_agg(x ORDER BY x))[1], pg_snapshot_xmax(present), string_agg(x::text, ',' ORDER BY x))::pg_snapshot END
      FROM (
        SELECT unnest(l.stamps) FROM lists AS l WHERE l.who = format('%s/%s', p.subscription, p.partition)
        UNION SELECT pg_snapshot_xip(present)
      ) AS open (x));
  EXCEPTION WHEN not_null_violation THEN
    RAISE EXCEPTION 'the cluster has not used as many transaction ids yet as there are sets of subscriptions that have not done an event'
      USING ERRCODE = 'PGL05';
  END;
  UPDATE pglisten.home AS h SET cluster = e.cluster, database = e.database, relation = e.relation FROM pglisten.here() AS e;
  PERFORM pg_notify('pglisten_bell', s.channels[1]) FROM pglisten.sleeper AS s;
  DELETE FROM pglisten.sleeper;
  RETURN QUERY SELECT s.name, (pglisten.lag(s.name)).events FROM pglisten.subscription AS s ORDER BY s.name;
END $$;

INSERT INTO pglisten.home SELECT 1, e.* FROM pglisten.here() AS e;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA pglisten FROM PUBLIC;
