// Back-pressure of COPY: whoever is slow holds the other side up, and nothing piles up in between.

import test, { type ExecutionContext } from 'ava'
import { PassThrough } from 'node:stream'
import { connect, type Connection, type CopyStream } from 'pglisten'
import { startServer, type DevServer } from '../../lab/server/test-server.js'
import { waitFor, within } from '../../lab/wait.js'
import { ServerWitness } from '../../lab/witness.js'

const MIB = 1024 * 1024
const TOTAL = 200 * MIB
/** How much memory may come and go for other reasons, and for what is on the way. */
const FLAT = 48 * MIB

/** A server whose processes this test may stop. */
let server: Promise<DevServer> | undefined

test.after.always(async () => {
  await (await server)?.stop()
})

async function scene(t: ExecutionContext): Promise<{
  connection: Connection
  witness: ServerWitness
  waits: (event: string) => Promise<void>
}> {
  server ??= startServer()
  const { dsn } = await server
  const connection = await connect(dsn)
  const witness = new ServerWitness(dsn)
  t.teardown(async () => {
    await connection.close()
    await witness.close()
  })
  const { processId } = connection.info
  const waits = async (event: string) => {
    const sql = 'SELECT wait_event FROM pg_stat_activity WHERE pid = $1'
    await waitFor(async () => (await witness.ask<string | null>(sql, [processId])) === event, {
      what: `the wait for ${event}`,
    })
  }
  return { connection, witness, waits }
}

function memory(): number {
  globalThis.gc!()
  return process.memoryUsage.rss()
}

/** What a condition gives once it has given the same for some time. */
async function settled(look: () => number): Promise<number> {
  let [last, times] = [look(), 0]
  await waitFor(
    () => {
      const now = look()
      times = now === last ? times + 1 : 0
      last = now
      return times === 50
    },
    { what: 'it to settle' },
  )
  return last
}

const DATA = `COPY (SELECT repeat('x', 1023) FROM (SELECT generate_series(1, ${TOTAL / 1024})) n) TO STDOUT`

const READERS: Record<string, (stream: CopyStream) => AsyncIterator<Uint8Array>> = {
  'a loop': (stream) => stream[Symbol.asyncIterator](),
  'a stream of Node.js': (stream) =>
    stream.readable()[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>,
  'a stream of Node.js behind another': (stream) =>
    stream.readable().pipe(new PassThrough())[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>,
  'a stream of the web': (stream) => {
    const reader = stream.stream.getReader()
    return { next: () => reader.read() as Promise<IteratorResult<Uint8Array>> }
  },
}

test.serial('rows that are dropped are not kept', async (t) => {
  const { connection } = await scene(t)
  const before = memory()
  let most = 0
  const looking = setInterval(() => {
    most = Math.max(most, process.memoryUsage.rss() - before)
  }, 5)
  await connection.executeBatch(`SELECT repeat('x', 8192) FROM generate_series(1, ${TOTAL / 8192})`)
  clearInterval(looking)
  t.log(`at most ${Math.round(most / MIB)} MiB more`)
  t.true(most < FLAT, `${most} bytes`)
})

for (const [name, open] of Object.entries(READERS)) {
  test.serial(`${name} that stops reading stops the server, and memory stays flat`, async (t) => {
    const { connection, waits } = await scene(t)
    const before = memory()
    const chunks = open(connection.copyTo(DATA))
    const first = await chunks.next()
    let bytes: number = first.value.length
    await waits('ClientWrite')
    const grown = memory() - before
    t.log(`${Math.round(grown / MIB)} MiB more while the reader stands still`)
    t.true(grown < FLAT, `${grown} bytes`)
    let most = 0
    for (let item = await chunks.next(); !item.done; item = await chunks.next()) {
      const end = bytes + item.value.length
      // Now and then, since a look collects garbage.
      if (Math.floor(end / (20 * MIB)) !== Math.floor(bytes / (20 * MIB)))
        most = Math.max(most, memory() - before)
      bytes = end
    }
    t.is(bytes, TOTAL)
    t.log(`at most ${Math.round(most / MIB)} MiB more while it reads`)
    t.true(most < FLAT, `${most} bytes`)
  })
}

/** Gives as much data as it is asked for, in chunks of a size, and counts them. */
function* lines(bytes: number, given: { bytes: number }): Generator<string> {
  const line = `${'x'.repeat(1023)}\n`
  const chunk = line.repeat(bytes / 1024)
  while (given.bytes < TOTAL) {
    given.bytes += bytes
    yield chunk
  }
}

for (const size of [1024, 64 * 1024, 4 * MIB]) {
  test.serial(
    `a server that stops reading stops a source of ${size / 1024} KiB at a time, and memory stays flat`,
    async (t) => {
      if (process.platform === 'win32') return t.pass('no process can be stopped here')
      const { connection, witness } = await scene(t)
      const { processId } = connection.info
      const table = `stopped_${size}`
      await connection.execute(`CREATE TABLE ${table} (s text)`)
      const before = memory()
      const given = { bytes: 0 }
      const copy = connection.copyFrom(`COPY ${table} FROM STDIN`, lines(size, given))
      copy.catch(() => {})
      await waitFor(() => given.bytes > size, { what: 'the first chunks' })
      process.kill(processId, 'SIGSTOP')
      let atStop: number
      try {
        const began = given.bytes
        const stopped = await settled(() => given.bytes)
        atStop = stopped - began
        const grown = memory() - before
        t.log(
          `${Math.round(atStop / MIB)} MiB given to a server that stands still, ${Math.round(grown / MIB)} MiB more memory`,
        )
        t.true(stopped < TOTAL)
        t.true(grown < FLAT, `${grown} bytes`)
      } finally {
        process.kill(processId, 'SIGCONT')
      }
      // The buffers of both sockets, and what is on the way.
      t.true(atStop < 24 * MIB + size, `${atStop} bytes`)
      t.is(await within(copy, { timeoutMs: 60_000 }), TOTAL / 1024)
      t.true(memory() - before < FLAT)
      t.is(await witness.ask(`SELECT count(*) FROM ${table}`), BigInt(TOTAL / 1024))
      return undefined
    },
  )
}

test.serial('a stream is copied from one connection to another with a flat memory', async (t) => {
  const [from, to] = [await scene(t), await scene(t)]
  await to.connection.execute('CREATE TABLE piped (s text)')
  const before = memory()
  const rows = await to.connection.copyFrom('COPY piped FROM STDIN', from.connection.copyTo(DATA))
  t.is(rows, TOTAL / 1024)
  const grown = memory() - before
  t.log(`${Math.round(grown / MIB)} MiB more`)
  t.true(grown < FLAT, `${grown} bytes`)
})

test.serial('timers fire while data floods in and out', async (t) => {
  const { connection } = await scene(t)
  await connection.execute('CREATE TABLE flooded (s text)')
  // Counted in bytes and not in time: on a busy machine a thread may stand still, and moves nothing meanwhile.
  const moved = { bytes: 0 }
  let [most, last] = [0, 0]
  const look = () => {
    most = Math.max(most, moved.bytes - last)
    last = moved.bytes
  }
  const timer = setInterval(look, 1)
  try {
    await connection.copyFrom('COPY flooded FROM STDIN', lines(64 * 1024, moved))
    look()
    for await (const chunk of connection.copyTo(DATA)) moved.bytes += chunk.length
    look()
  } finally {
    clearInterval(timer)
  }
  t.is(moved.bytes, 2 * TOTAL)
  t.log(`at most ${Math.round(most / MIB)} MiB between two turns of a timer`)
  t.true(most < TOTAL / 4, `${most} bytes`)
})

test.serial('large records are in memory by few', async (t) => {
  const { connection } = await scene(t)
  await connection.executeBatch(
    'CREATE TABLE large (n int4, raw bytea); ALTER TABLE large ALTER raw SET STORAGE EXTERNAL',
  )
  const size = 8 * MIB
  const before = memory()
  let most = 0
  function* records() {
    for (let n = 0; n < 32; n += 1) {
      yield [n, Buffer.alloc(size, n)]
      most = Math.max(most, memory() - before)
    }
  }
  t.is(await connection.copyRecordsToTable('large', records()), 32)
  t.log(`at most ${Math.round(most / MIB)} MiB more`)
  t.true(most < 2 * FLAT, `${most} bytes`)
  const whole =
    'SELECT count(*)::int4 FROM large WHERE length(raw) = $1 AND get_byte(raw, $1 - 1) = n'
  t.is(await connection.fetchVal(whole, [size]), 32)
})
