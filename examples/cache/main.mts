// A cache that a change in the database empties at once, in every process, and that knows when it may be out of date.

import { once } from 'node:events'
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http'
import { text } from 'node:stream/consumers'
import { ConnectionPool } from 'pglisten'

const pool = new ConnectionPool(process.env['DATABASE_URL'])
/** A key that changes a thousand times while this process is busy is dropped once. */
const listener = pool.listener({ coalesce: 'payload' })

/**
 * Promises, not values: a notification that comes while a value is read takes the promise out, so what was read before
 * the change cannot stay.
 */
const cache = new Map<string, Promise<string | undefined>>()
/** So many keys are kept, those that do not exist among them. */
const MOST = 10_000
/** Lost sessions whose gap is still to come. Until then changes may go untold, and nothing is taken from the cache. */
let breaks = 0

async function read(key: string): Promise<string | undefined> {
  await using connection = await pool.connection()
  const [row] = await connection.execute<{ value: string }>(
    'SELECT value FROM settings WHERE key = $1',
    [key],
  )
  return row?.value
}

function get(key: string): { value: Promise<string | undefined>; hit: boolean } {
  const cached = breaks === 0 ? cache.get(key) : undefined
  if (cached !== undefined) return { value: cached, hit: true }
  const value = read(key)
  if (breaks === 0) {
    const [oldest] = cache.keys()
    if (oldest !== undefined && cache.size >= MOST) cache.delete(oldest)
    cache.set(key, value)
    value.catch(() => {
      if (cache.get(key) === value) cache.delete(key)
    })
  }
  return { value, hit: false }
}

async function set(key: string, value: string): Promise<void> {
  await using connection = await pool.connection()
  await connection.execute(
    'INSERT INTO settings VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value',
    [key, value],
  )
  // The notification will do it too; but who writes wants to read what he wrote at once.
  cache.delete(key)
}

{
  await using connection = await pool.connection()
  await connection.executeBatch(`
    SELECT pg_advisory_xact_lock(hashtext('settings'));
    CREATE TABLE IF NOT EXISTS settings (key text PRIMARY KEY CHECK (octet_length(key) < 1000), value text NOT NULL);
    CREATE OR REPLACE FUNCTION settings_changed() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        -- A key may change too: then both are told.
        IF TG_OP <> 'INSERT' THEN PERFORM pg_notify('settings', OLD.key); END IF;
        IF TG_OP <> 'DELETE' THEN PERFORM pg_notify('settings', NEW.key); END IF;
        RETURN NULL;
      END $$;
    CREATE OR REPLACE FUNCTION settings_emptied() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN PERFORM pg_notify('settings_emptied', ''); RETURN NULL; END $$;
    CREATE OR REPLACE TRIGGER settings_changed AFTER INSERT OR UPDATE OR DELETE ON settings
      FOR EACH ROW EXECUTE FUNCTION settings_changed();
    CREATE OR REPLACE TRIGGER settings_emptied AFTER TRUNCATE ON settings
      FOR EACH STATEMENT EXECUTE FUNCTION settings_emptied()`)
}

await listener.addCallback('settings', (_connection, key) => {
  cache.delete(key)
})
await listener.addCallback('settings_emptied', () => cache.clear())
listener.on('disconnected', () => {
  breaks += 1
})
listener.addGapCallback((_connection, gap) => {
  cache.clear()
  if (gap.reason !== 'overflow') breaks -= 1
})
await listener.startup()
listener.listen()

/** The key that a path names; `undefined` for one that names none, such as `/%`. */
function keyOf(path = '/'): string | undefined {
  try {
    return decodeURIComponent(path.slice(1))
  } catch {
    return undefined
  }
}

async function respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const key = keyOf(request.url)
  if (key === undefined) {
    response.writeHead(400).end('Expected a path whose escapes are UTF-8')
    return
  }
  try {
    if (request.method === 'PUT') {
      await set(key, await text(request))
      response.writeHead(204).end()
      return
    }
    const { value, hit } = get(key)
    const found = await value
    response
      .writeHead(found === undefined ? 404 : 200, { 'x-cache': hit ? 'hit' : 'miss' })
      .end(found)
  } catch (error) {
    response.writeHead(503).end(String(error))
  }
}

const server = createServer((request, response) => void respond(request, response))

async function shutDown(): Promise<void> {
  server.close()
  server.closeAllConnections()
  await pool.close()
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void shutDown())

server.listen(Number(process.env['PORT'] ?? 8080), '127.0.0.1')
await once(server, 'listening')
console.log(`http://127.0.0.1:${(server.address() as { port: number }).port}`)
