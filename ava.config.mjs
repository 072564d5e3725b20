// How the behaviour tests run: each spec file in a process of its own, TypeScript compiled on the fly.

/** Those of `examples/with/` need packages that only `npm run examples` installs. */
const EXAMPLES = '__test__/with/**/*.spec.ts'

export default {
  files: process.env.PGLISTEN_EXAMPLES ? [EXAMPLES] : ['__test__/**/*.spec.ts', `!${EXAMPLES}`],
  extensions: { ts: 'module' },
  nodeArguments: ['--import=tsx', '--expose-gc'],
  workerThreads: false,
  // Half as many again as the processors that a small machine has: a file often waits. They share one server, and several measure time.
  concurrency: 3,
  timeout: '3m',
}
