// The versions of TypeScript, from the oldest that is supported to the newest: the declarations are checked as they are, with
// the strictest settings, as an ES module and as CommonJS.

const PROGRAM = `import { ConnectionPool, Gap, type Listener } from 'pglisten'

interface Order {
  id: number
}

export async function use(host: string | undefined): Promise<void> {
  const pool = new ConnectionPool({ host })
  const listener = pool.listener<{ orders: Order; jobs: string }>({ parse: JSON.parse })
  const remove = await listener.addCallback('orders', async (connection, order, channel) => {
    const id: number = order.id
    const name: 'orders' = channel
    await connection.execute('SELECT $1, $2', [id, name])
  })
  await remove()
  const inferred: Listener<Record<string, number>> = pool.listener({ parse: Number })
  for await (const item of inferred.messages({ gaps: 'include' })) {
    const number: number = item instanceof Gap ? 0 : item.payload
    void number
  }
  const stream = await listener.subscribe(['jobs'])
  const next = await stream.next({ timeoutMs: 5 })
  if (!next.done) next.value.payload.trim()
  await pool.listen({ any: (_connection, payload) => payload.trim() })
  listener.once('gap', (gap) => gap.reason)
  // @ts-expect-error -- no channel of the listener.
  await listener.addChannel('order')
}
`

const CONFIG = JSON.stringify({
  compilerOptions: {
    ...{ target: 'ES2022', lib: ['ES2022', 'ESNext.Disposable'], types: ['node'] },
    ...{ module: 'Node16', moduleResolution: 'Node16', noEmit: true, skipLibCheck: false },
    ...{ strict: true, exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true },
  },
  files: ['use.mts', 'use.cts'],
})

/** @type {readonly import('./tools.mjs').Tool[]} */
export const COMPILERS = [
  ['5.2.2', '20.19.43'],
  ['5.4.5', '20.19.43'],
  ['5.9.3', '24'],
  ['6.0.3', '24'],
  ['7', '24'],
].map(([version, types]) => ({
  name: `TypeScript ${version}, strict, with \`@types/node\` ${types}`,
  packages: [`typescript@${version}`, `@types/node@${types}`],
  files: { 'use.mts': PROGRAM, 'use.cts': PROGRAM, 'tsconfig.json': CONFIG },
  run: async (/** @type {import('./tools.mjs').Home} */ home) => {
    await home.node('node_modules/typescript/bin/tsc', ['-p', '.'])
  },
}))
