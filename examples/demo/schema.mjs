// The demo's tables: orders whose changes notify, and the log that later says what was sent.

import { randomBytes } from 'node:crypto'

/**
 * Names with a random part: the database may be in use by others, and channels know no schemas.
 * @typedef {{ schema: string, inserted: string, updated: string }} Names
 * @returns {Names}
 */
export function randomNames() {
  const suffix = randomBytes(5).toString('hex')
  return {
    schema: `pglisten_demo_${suffix}`,
    inserted: `orders_inserted_${suffix}`,
    updated: `orders_updated_${suffix}`,
  }
}

/**
 * A transaction that rolls back takes its lines of the log with it, so the log holds exactly what
 * was sent. `n` rises along the commits of each client, because a client does one thing at a time.
 * @param {Names} names
 */
export const create = ({ schema, inserted, updated }) => `
  CREATE SCHEMA ${schema};
  CREATE TABLE ${schema}.orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    client int NOT NULL,
    -- So that the row, however it is escaped, fits into a notification.
    item text NOT NULL CHECK (octet_length(item) < 1000),
    quantity int NOT NULL,
    revision int NOT NULL DEFAULT 0
  );
  CREATE TABLE ${schema}.sent (
    n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    client int NOT NULL,
    transaction bigint NOT NULL
  );
  CREATE FUNCTION ${schema}.tell() RETURNS trigger LANGUAGE plpgsql AS $tell$
    DECLARE
      number bigint;
    BEGIN
      INSERT INTO ${schema}.sent (client, transaction)
        VALUES (NEW.client, pg_current_xact_id()::text::bigint)
        RETURNING n INTO number;
      PERFORM pg_notify(
        CASE TG_OP WHEN 'INSERT' THEN '${inserted}' ELSE '${updated}' END,
        json_build_object(
          'n', number,
          'client', NEW.client,
          'transaction', pg_current_xact_id()::text::bigint,
          'at', extract(epoch FROM clock_timestamp()) * 1000,
          'order', row_to_json(NEW)
        )::text
      );
      RETURN NULL;
    END
  $tell$;
  CREATE TRIGGER tell AFTER INSERT OR UPDATE ON ${schema}.orders
    FOR EACH ROW EXECUTE FUNCTION ${schema}.tell();
`

/** @param {Names} names */
export const drop = ({ schema }) => `DROP SCHEMA IF EXISTS ${schema} CASCADE`
