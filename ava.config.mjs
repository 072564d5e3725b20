// How the behaviour tests run: each spec file in a process of its own, TypeScript compiled on the fly.

/** Those of `examples/with/` need packages that only `npm run examples` installs. */
const EXAMPLES = '__test__/with/**/*.spec.ts'

export default {
  files: process.env.PGLISTEN_EXAMPLES ? [EXAMPLES] : ['__test__/**/*.spec.ts', `!${EXAMPLES}`],
  extensions: { ts: 'module' },
  nodeArguments: ['--import=tsx', '--expose-gc'],
  workerThreads: false,
  // Two at a time: the files share one server, and several of them measure time.
  concurrency: 2,
  timeout: '3m',
}
