// What a Node.js of each platform runs: a session is lost, 10,000 notifications come in order, worker threads load the addon
// and end. Prints what it saw in one line.

const assert = require('node:assert/strict')
const fs = require('node:fs')
const { Worker, isMainThread } = require('node:worker_threads')
const { ConnectionPool } = require('pglisten')

const COUNT = 10_000
const { DATABASE_URL: dsn, TRIAL_CA: caFile } = process.env
const options = {
  dsn,
  // Every option of sockets crosses to the system.
  ...{ keepalivesIdleSec: 30, keepalivesIntervalSec: 5, keepalivesRetries: 4 },
  ...(caFile !== undefined && { ca: fs.readFileSync(caFile, 'utf8') }),
}

async function main() {
  const pool = new ConnectionPool(options)
  const listener = pool.listener()
  /** @type {string[]} */
  const received = []
  /** @type {(gap: import('pglisten').Gap) => void} */
  let onGap = () => {}
  await listener.addCallback('platforms', (_connection, payload) => {
    received.push(payload)
  })
  listener.addGapCallback((_connection, gap) => onGap(gap))
  await listener.startup()
  listener.listen()
  await pool.notify('platforms', 'before')
  await listener.sync()
  assert.deepEqual(received, ['before'])

  const gone = new Promise((resolve) => (onGap = resolve))
  const pid = /** @type {number} */ (await listener.connection.fetchVal('SELECT pg_backend_pid()'))
  const connection = await pool.connection()
  await connection.execute('SELECT pg_terminate_backend($1)', [pid])
  const gap = /** @type {import('pglisten').Gap} */ (await gone)
  assert.equal(gap.oldProcessId, pid)

  received.length = 0
  await connection.execute(
    "SELECT pg_notify('platforms', 'é ' || n) FROM generate_series(1, $1::int) AS n",
    [COUNT],
  )
  await listener.sync()
  assert.deepEqual(
    received,
    Array.from({ length: COUNT }, (_, index) => `é ${index + 1}`),
  )
  const cipher = await connection.fetchVal(
    "SELECT coalesce(version || ' ' || cipher, '') FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
  )
  assert.equal(cipher === '', caFile === undefined)
  for (let round = 0; round < 2; round += 1) {
    const code = await new Promise((resolve, reject) =>
      new Worker(__filename).once('error', reject).once('exit', resolve),
    )
    assert.equal(code, 0)
  }
  await connection.close()
  await listener.shutdown()
  await pool.close()
  if (process.platform === 'win32') {
    assert.throws(() => new ConnectionPool('host=/var/run/postgresql'), /Unix only/)
  }
  const { platform, arch, versions } = process
  console.log(
    cipher ||
      `Node.js ${versions.node} (${platform}-${arch}), gap ${gap.reason}, ${COUNT} in order`,
  )
}

async function inWorker() {
  const pool = new ConnectionPool(options)
  await pool.notify('elsewhere', 'from a worker')
  await pool.close()
}

void (isMainThread ? main() : inWorker())
