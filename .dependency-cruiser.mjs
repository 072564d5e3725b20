// The directions in which the project's modules may use each other; `npm test` checks them.

/** The parts of the facade from the highest to the lowest: each may use those below it. */
const FACADE = [
  'compat/',
  'connect',
  'pool',
  'durable/',
  'listen/',
  'deliver/',
  'query/',
  'observe/',
  'options/',
  'native/',
  'errors',
]

/** @type {import('dependency-cruiser').IForbiddenRuleType[]} */
const notUpwards = FACADE.slice(1).map((part, index) => ({
  name: `${part} uses nothing above it`,
  severity: 'error',
  from: { path: `^src-ts/${part}` },
  to: { path: FACADE.slice(0, index + 1).map((above) => `^src-ts/${above}`) },
}))

/** @type {import('dependency-cruiser').IConfiguration} */
export default {
  forbidden: [
    {
      name: 'no circles',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    ...notUpwards,
    {
      name: 'brand uses nothing above it',
      severity: 'error',
      from: { path: '^src-ts/brand' },
      to: { path: '^src-ts/' },
    },
    {
      name: 'every folder of the facade has its place in the order',
      severity: 'error',
      from: {
        path: '^src-ts/',
        pathNot: `^src-ts/(${FACADE.join('|')}|brand)`,
      },
      to: {},
    },
    {
      name: 'adapters use what is public, and timers',
      severity: 'error',
      from: { path: '^src-ts/compat/' },
      to: {
        path: '^src-ts/',
        pathNot: '^src-ts/(compat/|pool|errors|options/(listener|pool)|native/timers)',
      },
    },
    {
      name: 'the package itself loads no adapter',
      severity: 'error',
      from: { path: '^index\\.ts$' },
      to: { path: '^src-ts/compat/' },
    },
    {
      name: 'benchmarks do not use commands',
      severity: 'error',
      from: { path: '^bench/' },
      to: { path: '^scripts/[^/]+$' },
    },
    {
      name: 'the facade uses nothing outside itself',
      severity: 'error',
      from: { path: '^src-ts/' },
      to: { path: '^(index\\.ts|lab|scripts|bench|examples|__test__)' },
    },
    {
      name: 'packages use what is public',
      severity: 'error',
      from: { path: '^packages/' },
      to: { path: '^(src-ts|lab|scripts|bench|examples|__test__)/' },
    },
    {
      name: 'lab is below tests and commands',
      severity: 'error',
      from: { path: '^lab/' },
      to: { path: '^(__test__|bench|scripts/[^/]+$)' },
    },
    {
      name: 'libraries of scripts do not use commands',
      severity: 'error',
      from: { path: '^scripts/(lib|release)/' },
      to: { path: '^scripts/[^/]+$' },
    },
    {
      name: 'nothing but tests uses tests',
      severity: 'error',
      from: { pathNot: '^__test__/' },
      to: { path: '^__test__/' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^(dist|native|target)/' },
    tsConfig: { fileName: 'tsconfig.json' },
    // Types count too: a circle of types is a circle to whoever reads them.
    tsPreCompilationDeps: true,
    combinedDependencies: true,
  },
}
