// How the behaviour tests run: each spec file in a process of its own, TypeScript compiled on the fly.

export default {
  files: ['__test__/**/*.spec.ts'],
  extensions: { ts: 'module' },
  nodeArguments: ['--import=tsx', '--expose-gc'],
  workerThreads: false,
  // Two at a time: the files share one server, and several of them measure time.
  concurrency: 2,
  timeout: '3m',
}
