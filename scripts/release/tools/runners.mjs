// The test runners. The check is a test of each, and so runs in the context that the runner gives to tests.

const TEST = "test('pglisten works', () => check())\n"
const IMPORT = "import { check } from './check.mjs'\n"

/** @type {readonly import('./tools.mjs').Tool[]} */
export const RUNNERS = [
  {
    name: 'Jest 30, CommonJS, `--detectOpenHandles`',
    packages: ['jest@30.5.2'],
    files: {
      'works.test.js': `const { check } = require('./check.cjs')\n${TEST}
test('it can be loaded again', async () => {
  const before = require('pglisten')
  jest.resetModules()
  const after = require('pglisten')
  expect(after.ConnectionPool).not.toBe(before.ConnectionPool)
  const error = await new after.ConnectionPool('postgres://127.0.0.1:1').connection().catch((e) => e)
  expect(error).toBeInstanceOf(before.ConnectionFailedError)
  expect(error).not.toBeInstanceOf(before.DatabaseError)
})\n`,
      'import.test.js':
        "test('an import leaves no handle', () => { expect(typeof require('pglisten').Gap).toBe('function') })\n",
      'jest.config.json': '{"transform":{}}',
    },
    run: async (home) => {
      await home.node('node_modules/jest/bin/jest.js', ['works'])
      const output = await home.node('node_modules/jest/bin/jest.js', [
        ...['import', '--detectOpenHandles'],
      ])
      if (output.includes('open handle')) throw new Error(output)
    },
  },
  {
    name: 'Jest 30, ES modules',
    packages: ['jest@30.5.2'],
    files: {
      'works.test.mjs': IMPORT + TEST,
      'jest.config.json': '{"transform":{},"testMatch":["**/*.test.mjs"]}',
    },
    run: async (home) => {
      await home.node('node_modules/jest/bin/jest.js', [], {
        env: { NODE_OPTIONS: '--experimental-vm-modules' },
      })
    },
  },
  ...['forks', 'threads', 'vmThreads', 'vmForks'].map((pool) => ({
    name: `Vitest 4, pool ${pool}`,
    packages: ['vitest@4.1.12'],
    files: { 'works.test.mjs': `import { test } from 'vitest'\n${IMPORT}${TEST}` },
    run: async (/** @type {import('./tools.mjs').Home} */ home) => {
      await home.node('node_modules/vitest/vitest.mjs', ['run', `--pool=${pool}`])
    },
  })),
  {
    name: 'mocha 11',
    packages: ['mocha@11.8.0'],
    files: { 'works.test.mjs': `import { it as test } from 'mocha'\n${IMPORT}${TEST}` },
    run: async (home) => {
      await home.node('node_modules/mocha/bin/mocha.js', ['works.test.mjs'])
    },
  },
  {
    name: '`node --test`',
    packages: [],
    files: { 'works.test.mjs': `import { test } from 'node:test'\n${IMPORT}${TEST}` },
    run: async (home) => {
      await home.execute(process.execPath, ['--test', 'works.test.mjs'])
    },
  },
]
