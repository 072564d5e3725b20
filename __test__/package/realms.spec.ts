// Code in another context of `vm`, as test runners make one for each test file: objects that the package makes for it are
// instances of its own classes.

import { execFileSync } from 'node:child_process'
import { createRequire } from 'node:module'
import path from 'node:path'
import fs from 'node:fs'
import { Readable } from 'node:stream'
import vm from 'node:vm'
import test from 'ava'
import type * as Pglisten from 'pglisten'
import { serverDsn } from '../../lab/server/test-server.js'
import { root } from '../support/code-blocks.js'

const require = createRequire(import.meta.url)

/** Loads the package's files a second time, in a context of their own, as a test runner does; the addon is shared. */
function loadIn(context: vm.Context): typeof Pglisten {
  const loaded = new Map<string, { exports: unknown }>()
  const load = (file: string): unknown => {
    const known = loaded.get(file)
    if (known) return known.exports
    const module = { exports: {} }
    loaded.set(file, module)
    const source = fs.readFileSync(file, 'utf8')
    const parameters = ['exports', 'require', 'module', '__filename', '__dirname']
    const run = vm.compileFunction(source, parameters, { parsingContext: context, filename: file })
    const requireThere = (name: string) => {
      const isAddon = name.endsWith('/native.js')
      if (!name.startsWith('.') || isAddon || name.endsWith('.json'))
        return require(name.startsWith('.') ? path.resolve(path.dirname(file), name) : name)
      return load(path.resolve(path.dirname(file), name))
    }
    run(module.exports, requireThere, module, file, path.dirname(file))
    return module.exports
  }
  return load(path.join(root, 'dist/index.js')) as typeof Pglisten
}

/** A context with what test runners give to theirs. */
function testContext(): vm.Context {
  const { Buffer, Uint8Array, AbortSignal, AbortController, performance, process } = globalThis
  const { setTimeout, clearTimeout, setInterval, setImmediate, queueMicrotask } = globalThis
  return vm.createContext({
    ...{ Buffer, Uint8Array, AbortSignal, AbortController, performance, process },
    ...{ setTimeout, clearTimeout, setInterval, setImmediate, queueMicrotask },
  })
}

test('what a statement returns belongs to the context of the package', async (t) => {
  const context = testContext()
  const inContext = (code: string) => vm.runInContext(code, context) as new () => object
  const { ConnectionPool, PglistenError } = loadIn(context)
  const pool = new ConnectionPool(await serverDsn())
  t.teardown(() => pool.close())
  const connection = await pool.connection()
  const result = await connection.execute(
    `SELECT now() AS "Date", ARRAY[1, 2] AS "Array", ARRAY[ARRAY[now()]] AS "nested", '{"a": [1]}'::jsonb AS "Object",
       ARRAY['[1]'::json, NULL] AS "jsons", 'x'::bytea AS "Buffer", NULL::timestamptz AS "null"`,
  )
  await connection.close()
  const row = result[0]!
  for (const name of ['Date', 'Array', 'Object', 'Buffer']) {
    t.true(row[name] instanceof inContext(name), name)
  }
  const ArrayThere = inContext('Array')
  const nested = row['nested'] as unknown[][]
  t.true(nested instanceof ArrayThere && nested[0] instanceof ArrayThere)
  t.true(nested[0]?.[0] instanceof inContext('Date'))
  const jsons = row['jsons'] as unknown[]
  t.true(jsons instanceof ArrayThere && jsons[0] instanceof ArrayThere)
  t.deepEqual([...jsons].map(String), ['1', 'null'])
  t.is(row['null'], null)
  t.true(result instanceof ArrayThere && result.columns instanceof ArrayThere)
  t.true(pool.status() instanceof inContext('Object'))

  const error: unknown = await pool.execute('SELECT 1 / 0').catch((refusal: unknown) => refusal)
  t.true(error instanceof inContext('Error'))
  t.true(error instanceof PglistenError)
})

test('nothing needs what a context has not got on every Node', async (t) => {
  const context = testContext()
  // Node 20 and 22 add this symbol to their main context alone.
  vm.runInContext('delete Symbol.asyncDispose', context)
  t.is(vm.runInContext('typeof Symbol.asyncDispose', context), 'undefined')
  const { ConnectionPool } = loadIn(context)
  const pool = new ConnectionPool(await serverDsn())
  t.teardown(() => pool.close())
  const got: unknown[] = []
  const listener = await pool.listen({ realms_all: (_connection, payload) => got.push(payload) })
  const next = listener.once('realms_all')
  await listener.sync()
  await pool.notifyMany('realms_all', ['one', 'two'])
  t.is((await next).payload, 'one')
  await pool.notify('realms_all', 'three')
  await listener.sync()
  t.deepEqual(got, ['one', 'two', 'three'])
  t.is(await pool.fetchVal('SELECT 1'), 1)
  const connection = await pool.connection()
  await connection.transaction(async (tx) => tx.executeMany('SELECT $1::int', [[1], [2]]))
  await connection.execute('CREATE TEMPORARY TABLE copied (s text)')
  await connection.transaction((tx) =>
    tx.transaction((inner) =>
      inner.copyFrom('COPY copied FROM STDIN', ['é\n', Buffer.from('b\n')]),
    ),
  )
  t.is(await connection.copyRecordsToTable('copied', Readable.from([['a'], ['c']])), 2)
  await connection.execute("DELETE FROM copied WHERE s IN ('a', 'c')")
  const chunks: Uint8Array[] = []
  for await (const chunk of connection.copyTo('COPY copied TO STDOUT')) chunks.push(chunk)
  for await (const chunk of connection.copyTo('COPY copied TO STDOUT').readable())
    chunks.push(chunk as Buffer)
  const reader = connection.copyTo('COPY copied TO STDOUT').stream.getReader()
  chunks.push((await reader.read()).value!)
  t.true((await reader.read()).done)
  t.is(Buffer.concat(chunks).toString(), 'é\nb\n'.repeat(3))
  await connection.close()
  await listener.shutdown()
})

test('gaps, messages and events belong to the context of the package', async (t) => {
  const context = testContext()
  const DateThere = vm.runInContext('Date', context) as DateConstructor
  const { ConnectionPool, Gap } = loadIn(context)
  const pool = new ConnectionPool(await serverDsn())
  t.teardown(() => pool.close())
  const listener = pool.listener({ channels: ['realms'] })
  await listener.startup()
  const messages = listener.messages({ gaps: 'include' })
  const processId = await listener.connection.fetchVal<number>('SELECT pg_backend_pid()')
  const connection = await pool.connection()
  await connection.execute('SELECT pg_terminate_backend($1)', [processId])
  await connection.close()
  const { value: gap } = await messages.next()
  t.true(gap instanceof Gap)
  t.true((gap as Pglisten.Gap).lostAt instanceof DateThere)
  t.true(listener.channels instanceof (vm.runInContext('Array', context) as ArrayConstructor))
  t.true(listener.stats() instanceof (vm.runInContext('Object', context) as ObjectConstructor))
})

test('`instanceof` recognizes what another copy of the package made', async (t) => {
  const one = loadIn(testContext())
  const other = loadIn(testContext())
  t.not(one.PglistenError, other.PglistenError)
  const pool = new one.ConnectionPool('postgres://127.0.0.1:1/none')
  t.teardown(() => pool.close())
  const error: unknown = await pool.connection().catch((refusal: unknown) => refusal)
  t.true(error instanceof other.ConnectionFailedError)
  t.true(error instanceof other.ConnectionError)
  t.true(error instanceof other.PglistenError)
  t.false(error instanceof other.ConnectionTlsError)
  t.false(error instanceof other.ListenerError)
  t.true(pool instanceof other.ConnectionPool)
  t.true(pool.listener() instanceof other.Listener)
  t.false(pool.listener() instanceof other.ConnectionPool)

  class Mine extends other.PglistenError {}
  t.false(error instanceof Mine)
  t.true(new Mine('mine') instanceof Mine)
  t.true(new Mine('mine') instanceof one.PglistenError)
  for (const value of [null, undefined, 1, 'text', {}, new Error('x')] as unknown[])
    t.false(value instanceof one.PglistenError)
})

test('the import of the package leaves no handle', (t) => {
  const program = `
    const types = new Set()
    require('node:async_hooks').createHook({ init: (id, type) => types.add(type) }).enable()
    const { ConnectionPool } = require('pglisten')
    const before = [...types].filter((type) => type.startsWith('napi'))
    new ConnectionPool('postgres://127.0.0.1:1/none')
    console.log(before.length, [...types].filter((type) => type.startsWith('napi')).length)`
  const output = execFileSync(process.execPath, ['--input-type=commonjs', '--eval', program], {
    cwd: root,
    encoding: 'utf8',
  })
  t.is(output.trim(), '0 1')
})
