// What no client can be faster than: "bare socket" reads or sends the bytes and looks at none of them, "bare rows" makes the rows of
// nothing, and "bare data" makes what is copied and sends it nowhere. The server is at work for the first alone.

import { Client } from 'pg'
import * as tables from '../tables.mjs'
import { check } from '../work.mjs'

/** The bytes that end an answer: ReadyForQuery, outside of a transaction. */
const READY = Buffer.from([0x5a, 0, 0, 0, 5, 0x49])
const CHUNK = 64 * 1024
/** The signature of COPY's binary format, flags, and the length of a header extension. */
const BINARY_HEADER = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1')
/** Milliseconds from 1970 to 2000, where PostgreSQL counts from. */
const EPOCH_MS = 946_684_800_000

/** @type {import('../work.mjs').Connect} */
export async function connect(dsn, count) {
  const client = new Client({ connectionString: dsn })
  await client.connect()
  /** @type {import('node:net').Socket} */
  const socket = /** @type {any} */ (client).connection.stream
  socket.removeAllListeners('data')
  /** A transaction of many statements. @type {Buffer | undefined} */
  let block

  /** @param {string} sql */
  const reading = (sql) => ({
    run: async () => check((await ask(socket, fetchOf(sql))) > count, true),
  })
  /** @param {() => Buffer[]} make @param {string} format */
  const copying = (make, format) => {
    /** @type {Buffer[]} */
    let chunks = []
    return {
      before: async () => {
        chunks = make().map((data) => message('d', data))
        await ask(socket, query(`DROP TABLE IF EXISTS ${tables.COPY_TABLE}`))
        await ask(socket, query(tables.CREATE_COPIED))
      },
      run: async () => {
        socket.write(query(`${tables.COPY_IN} (FORMAT ${format})`))
        for (const chunk of chunks)
          if (!socket.write(chunk)) await new Promise((resolve) => socket.once('drain', resolve))
        await ask(socket, message('c', Buffer.alloc(0)))
      },
    }
  }

  return {
    'bare socket': {
      fetch5: reading(tables.fiveColumns(count)),
      fetch20: reading(tables.FETCH_TWENTY),
      pipeline: {
        before: async () => {
          if (block) return
          await ask(socket, prepareOf(tables.ONE_VALUE))
          const all = Array.from({ length: count }, (_, n) => executionOf(n))
          block = Buffer.concat([query('BEGIN'), ...all, SYNC, query('COMMIT')])
        },
        // The answers to what stands within the transaction have another end.
        run: () => ask(socket, block ?? SYNC),
      },
      copyIn: copying(() => [...tables.textToCopy(count)], 'text'),
      copyOut: {
        run: async () => check((await ask(socket, query(tables.copyOut(count)))) > count, true),
      },
    },
    'bare socket binary': { copyIn: copying(() => binaryToCopy(count), 'binary') },
    'bare rows': { fetch5: making(count, fiveColumns), fetch20: making(count, twentyColumns) },
    'bare data': {
      copyIn: {
        run: async () => {
          let bytes = 0
          for (const chunk of tables.textToCopy(count)) bytes += chunk.length
          check(bytes > count, true)
        },
      },
    },
  }
}

/**
 * Sends messages, and resolves to how many bytes were answered, once the answer has ended.
 * @param {import('node:net').Socket} socket @param {Buffer} messages
 * @returns {Promise<number>}
 */
function ask(socket, messages) {
  return new Promise((resolve, reject) => {
    let bytes = 0
    /** @type {Buffer} */
    let last = Buffer.alloc(0)
    const take = (/** @type {Buffer} */ data) => {
      bytes += data.length
      last = data.length >= READY.length ? data : Buffer.concat([last, data])
      if (!last.subarray(-READY.length).equals(READY)) return
      socket.off('data', take).off('error', reject)
      resolve(bytes)
    }
    socket.on('data', take).once('error', reject)
    socket.write(messages)
  })
}

/** @param {string} kind @param {Buffer} body */
function message(kind, body) {
  const head = Buffer.alloc(5)
  head.write(kind, 'latin1')
  head.writeInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}

/** @param {string} sql */
const query = (sql) => message('Q', Buffer.from(`${sql}\0`))

const SYNC = message('S', Buffer.alloc(0))

/** @param {string} sql */
const prepareOf = (sql) => Buffer.concat([message('P', Buffer.from(`one\0${sql}\0\0\0`)), SYNC])

/** The prepared statement with an integer. @param {number} value */
function executionOf(value) {
  const parameter = Buffer.from(String(value))
  const bind = Buffer.from('\0one\0\0\0\0\x01\0\0\0\0', 'latin1')
  bind.writeInt32BE(parameter.length, bind.length - 4)
  const formats = Buffer.from([0, 1, 0, 1])
  return Buffer.concat([
    message('B', Buffer.concat([bind, parameter, formats])),
    message('E', Buffer.alloc(5)),
  ])
}

/** A statement whose rows come in the binary format. @param {string} sql */
const fetchOf = (sql) =>
  Buffer.concat([
    message('P', Buffer.from(`\0${sql}\0\0\0`)),
    message('B', Buffer.from([0, 0, 0, 0, 0, 0, 0, 1, 0, 1])),
    message('E', Buffer.alloc(5)),
    SYNC,
  ])

/** @param {number} count @param {(n: number) => object} row */
const making = (count, row) => ({
  run: async () => {
    const rows = []
    for (let n = 0; n < count; n += 1) {
      rows.push(row(n))
      // As with a client, the event loop goes on now and then.
      if (n % 1000 === 999) await new Promise((resolve) => setImmediate(resolve))
    }
    check(rows.length, count)
  },
})

// Each text is a string of its own, as a client makes it of bytes.
const bytes = Buffer.from('0123456789abcdef'.repeat(20))
/** @param {number} length @param {number} from */
const text = (length, from) => bytes.toString('latin1', from & 15, (from & 15) + length)
const START = Date.UTC(2026, 0, 1)
const integers = new BigInt64Array(1)

/** @param {number} n */
const int8 = (n) => {
  integers[0] = BigInt(n)
  return integers[0]
}

/** @param {number} n */
const fiveColumns = (n) => ({
  id: n,
  name: text(9, n),
  ratio: n / 7,
  created: new Date(START + n * 1000),
  even: n % 2 === 0,
})

/** @param {number} n */
const twentyColumns = (n) => ({
  id: n,
  small: n % 30_000,
  sometimes: n % 7 || null,
  big: int8(n * 1_000_003),
  big_sometimes: n % 5 ? int8(n % 5) : null,
  amount: text(12, n),
  price: text(6, n),
  short: text(10, n),
  middle: text(64, n),
  long: text(256, n),
  note: n % 3 > 0 ? text(10, n) : null,
  code: text(12, n),
  created: new Date(START + n * 1000),
  updated: n % 4 > 0 ? new Date(START + n * 60_000) : null,
  day: new Date(START + (n % 1000) * 86_400_000),
  key: text(36, n),
  data: JSON.parse(`{"id": ${n}, "tags": ["a", "b", ${n % 10}], "nested": {"ok": true}}`),
  even: n % 2 === 0,
  ratio: n / 3,
  bytes: Buffer.allocUnsafe(16),
})

/** The rows of `rowsToCopy` in COPY's binary format. @param {number} count */
function binaryToCopy(count) {
  const chunks = [BINARY_HEADER]
  let chunk = Buffer.alloc(CHUNK + 256)
  let at = 0
  const int32 = (/** @type {number} */ value) => (at = chunk.writeInt32BE(value, at))
  for (const [id, name, ratio, created, even] of tables.rowsToCopy(count)) {
    at = chunk.writeInt16BE(5, at)
    int32(4)
    int32(id)
    int32(name.length)
    at += chunk.write(name, at, 'latin1')
    int32(8)
    at = chunk.writeDoubleBE(ratio, at)
    int32(8)
    at = chunk.writeBigInt64BE(BigInt(created.getTime() - EPOCH_MS) * 1000n, at)
    int32(1)
    at = chunk.writeUInt8(even ? 1 : 0, at)
    if (at >= CHUNK) {
      chunks.push(chunk.subarray(0, at))
      chunk = Buffer.alloc(CHUNK + 256)
      at = 0
    }
  }
  return [...chunks, chunk.subarray(0, at), Buffer.from([0xff, 0xff])]
}
