// Server-sent events from a table: one listener for all browsers, and each browser as fast as it reads. The server may be away, and
// the database may come back as another one.

import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { ConnectionPool, Gap } from 'pglisten'

/** How many rows are read at once: what one browser can make this process hold. */
const PAGE_ROWS = 200
/** How many events a browser gets that was not there before. */
const HISTORY = 50n
/** How many events stay in the table. */
const KEEP = BigInt(process.env['KEEP'] ?? 10_000)
/** Comments keep proxies from closing a stream on which nothing happens. */
const KEEP_ALIVE_MS = 15_000
const RETRY_MS = 500

/** A place among the events: the one that somebody has read last. */
interface Place {
  id: bigint
  /** Tells the event from one that has its id in another database, or since a backup was restored. */
  uid: string
}

interface Event extends Place {
  body: string
}

interface Browser {
  response: ServerResponse
  /** The last event that was written to it. */
  last: Place
  /** Whether it reads from the table by itself, because it is not where the others are. */
  isBehind: boolean
}

const pool = new ConnectionPool(process.env['DATABASE_URL'])
const browsers = new Set<Browser>()
/** Before the first event. */
const BEGINNING: Place = { id: 0n, uid: '' }
/** The last event that is published. */
let head = BEGINNING

/** Makes what is missing in the database. */
async function install(): Promise<void> {
  await using connection = await pool.connection()
  // Ids are given out under a lock that is held until the commit, so a lower one never becomes visible after a higher
  // one, and "everything above the last id" is everything.
  await connection.executeBatch(`
    SELECT pg_advisory_xact_lock(hashtext('events'));
    CREATE TABLE IF NOT EXISTS events (
      id bigint PRIMARY KEY, uid uuid NOT NULL DEFAULT gen_random_uuid(), body text NOT NULL);
    CREATE SEQUENCE IF NOT EXISTS events_id OWNED BY events.id;
    CREATE OR REPLACE FUNCTION events_in_order() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        PERFORM pg_advisory_xact_lock(hashtext('events'));
        NEW.id := nextval('events_id');
        PERFORM pg_notify('events', '');
        RETURN NEW;
      END $$;
    CREATE OR REPLACE TRIGGER events_in_order BEFORE INSERT ON events
      FOR EACH ROW EXECUTE FUNCTION events_in_order()`)
}

/** Goes on with the last event that there is, and lets every browser come back and say what it has. */
async function begin(): Promise<void> {
  const rows = await pool.execute<Place>(
    'SELECT id, uid::text FROM events ORDER BY id DESC LIMIT 1',
  )
  head = rows[0] ?? BEGINNING
  for (const browser of browsers) sendAway(browser)
}

/** Ends a stream. Its browser comes back by itself, says what it has, and is told to begin anew if that is no more. */
function sendAway(browser: Browser): void {
  browsers.delete(browser)
  browser.response.end()
}

/**
 * The next events behind a place. `undefined` when the place is not there: so much has happened since that it is not kept any more, or
 * the database is another one.
 */
async function eventsAfter({ id, uid }: Place, upTo?: bigint): Promise<Event[] | undefined> {
  const events = await pool.execute<Event>(
    `SELECT id, uid::text, body FROM events
      WHERE id >= $1 AND ($2::int8 IS NULL OR id <= $2) ORDER BY id LIMIT $3`,
    [id, upTo ?? null, BigInt(PAGE_ROWS + 1)],
  )
  if (id === BEGINNING.id) return events
  const [first, ...others] = events
  return first?.id === id && first.uid === uid ? others : undefined
}

/** Whether the browser takes more at once. What it does not take now stays in the table, not in our memory. */
function write({ response }: Browser, { id, uid, body }: Event): boolean {
  const data = body.split(/\r\n|\r|\n/).map((line) => `data: ${line}\n`)
  return response.write(`id: ${uid}_${id}\n${data.join('')}\n`)
}

/** Hands what is new to every browser that is up to date, and leaves the others to themselves. */
async function publish(): Promise<void> {
  for (;;) {
    const events = await eventsAfter(head)
    if (events === undefined) return await begin()
    for (const event of events) {
      for (const browser of browsers) {
        // Another process may have told it of more than we have read.
        if (browser.isBehind || browser.last.id >= event.id) continue
        browser.last = event
        if (!write(browser, event)) void catchUp(browser)
      }
      head = event
    }
    if (events.length < PAGE_ROWS) break
  }
  if (head.id > KEEP) await pool.execute('DELETE FROM events WHERE id <= $1', [head.id - KEEP])
}

/** Brings one browser from where it is to where the others are, no faster than it reads. */
async function catchUp(browser: Browser): Promise<void> {
  browser.isBehind = true
  const { response } = browser
  try {
    await drained(response)
    // Each page in a call of its own, so that one is let go before the next is read.
    while (browsers.has(browser) && browser.last.id < head.id) await writePage(browser)
    browser.isBehind = false
  } catch (error) {
    // It connects again by itself, with the id of what it has.
    console.error(String(error))
    response.destroy()
  }
}

async function writePage(browser: Browser): Promise<void> {
  const { response } = browser
  const events = await eventsAfter(browser.last, head.id)
  if (events === undefined) sendAway(browser)
  for (const event of events ?? []) {
    browser.last = event
    if (!write(browser, event)) await drained(response)
    if (response.closed) return
  }
}

/** Waits until the response takes more, or is closed. */
async function drained(response: ServerResponse): Promise<void> {
  if (response.closed || !response.writableNeedDrain) return
  const first = new AbortController()
  const { signal } = first
  await Promise.race([once(response, 'drain', { signal }), once(response, 'close', { signal })])
  first.abort()
}

/** Where a browser goes on; `isKnown` is whether what it has is still a part of what there is. */
async function placeOf(known: string | undefined): Promise<{ last: Place; isKnown: boolean }> {
  const [uid, id] = known?.split('_') ?? []
  if (uid !== undefined && id !== undefined) {
    const [last] = await pool.execute<Place>(
      'SELECT id, uid::text FROM events WHERE id = $1 AND uid = $2',
      [BigInt(id), uid],
    )
    if (last !== undefined) return { last, isKnown: true }
  }
  const [recent] = await pool.execute<Place>(
    'SELECT id, uid::text FROM events ORDER BY id DESC OFFSET $1 LIMIT 1',
    [HISTORY],
  )
  return { last: recent ?? BEGINNING, isKnown: false }
}

async function connectBrowser(response: ServerResponse, known: string | undefined): Promise<void> {
  const { last, isKnown } = await placeOf(known)
  // It has left meanwhile, and says so no more.
  if (response.closed) return
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
  // The page forgets what it shows: there is more that it missed than is kept, or the database is another one.
  response.write(isKnown ? ': connected\n\n' : 'event: anew\ndata:\n\n')
  const browser: Browser = { response, last, isBehind: false }
  browsers.add(browser)
  response.once('close', () => browsers.delete(browser))
  if (last.id < head.id) void catchUp(browser)
}

/** Goes on trying while the server is away. */
async function untilDone(work: () => Promise<void>): Promise<void> {
  while (listener.isStarted) {
    try {
      await work()
      return
    } catch (error) {
      console.error(`will try again: ${String(error)}`)
      await sleep(RETRY_MS)
    }
  }
}

const listener = pool.listener({ channels: ['events'] })
await listener.startup({ retry: true })
await untilDone(async () => {
  await install()
  await begin()
})

const page = await readFile(new URL('index.html', import.meta.url))
async function respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
  try {
    if (request.url === '/events' && request.method === 'POST') {
      await using connection = await pool.connection()
      await connection.execute('INSERT INTO events (body) VALUES ($1)', [await text(request)])
      response.writeHead(204).end()
    } else if (request.url === '/events') {
      const known = request.headers['last-event-id']?.toString()
      if (known === undefined || /^[\da-f-]{36}_\d{1,18}$/.test(known))
        await connectBrowser(response, known)
      else response.writeHead(400).end('Expected Last-Event-ID to be one that was sent from here')
    } else if (request.url === '/') {
      response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(page)
    } else response.writeHead(404).end()
  } catch (error) {
    if (response.headersSent) response.destroy()
    else response.writeHead(503).end(String(error))
  }
}

const server = createServer((request, response) => void respond(request, response))

const keepAlive = setInterval(() => {
  for (const { response, isBehind } of browsers) if (!isBehind) response.write(': still here\n\n')
}, KEEP_ALIVE_MS)

async function shutDown(): Promise<void> {
  clearInterval(keepAlive)
  server.close()
  server.closeAllConnections()
  await pool.close()
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void shutDown())

server.listen(Number(process.env['PORT'] ?? 8080), '127.0.0.1')
await once(server, 'listening')
console.log(`http://127.0.0.1:${(server.address() as { port: number }).port}`)

// A notification says that there is something to read, and so does a gap. A batch of them costs one look.
for await (const batch of listener.batches({ gaps: 'include' })) {
  await untilDone(async () => {
    // The database may be a new one.
    if (batch.some((item) => item instanceof Gap)) await install()
    await publish()
  })
}
