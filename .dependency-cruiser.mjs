// In which direction modules import each other. `npm test` checks it in the step "import directions"; the rules beside
// each other are the architecture in short:
//
//   index.ts → pool.ts → listen → deliver, query → options → native → errors.ts

/** The rooms of src-ts, the highest first. A module imports from its own room and from lower ones. */
const ROOMS = [
  '^index\\.ts$',
  '^src-ts/pool\\.ts$',
  '^src-ts/listen/',
  '^src-ts/deliver/',
  '^src-ts/query/',
  '^src-ts/options/',
  '^src-ts/native/',
  '^src-ts/errors\\.ts$',
]

const upwards = ROOMS.slice(1).map((room, index) => ({
  name: `no import upwards from ${room}`,
  comment: 'A lower room that knows a higher one can be neither understood nor tested without it.',
  severity: 'error',
  from: { path: room },
  to: { path: ROOMS.slice(0, index + 1) },
}))

/** @type {import('dependency-cruiser').IConfiguration} */
export default {
  forbidden: [
    {
      name: 'no circle',
      comment:
        'Modules in a circle are one module in several files. Imports of types count as well.',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    ...upwards,
    {
      name: 'the package stands alone',
      comment: 'What is published must not need what is not.',
      severity: 'error',
      from: { path: ['^src-ts/', '^index\\.ts$'] },
      to: { path: ['^lab/', '^scripts/', '^__test__/', '^bench/', '^examples/'] },
    },
    {
      name: 'no unknown room',
      comment: 'A new folder of src-ts gets its place in the list of rooms.',
      severity: 'error',
      from: {},
      to: { path: '^src-ts/', pathNot: ROOMS },
    },
    {
      name: 'the lab knows no test',
      comment: 'Benchmarks and measurements use the lab too.',
      severity: 'error',
      from: { path: '^lab/' },
      to: { path: ['^__test__/', '^bench/', '^scripts/'] },
    },
    {
      name: 'a library knows no command',
      severity: 'error',
      from: { path: '^scripts/lib/' },
      to: { path: '^scripts/', pathNot: '^scripts/lib/' },
    },
    {
      name: 'a benchmark uses the lab and the libraries of the scripts',
      severity: 'error',
      from: { path: '^bench/' },
      to: { path: ['^__test__/', '^scripts/(?!lib/)', '^src-ts/'] },
    },
  ],
  options: {
    // Imports that only types need are imports: the reader follows them.
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: ['node_modules', '^dist/', '^native/', '^bench/results/'] },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'default', 'types'],
      mainFields: ['module', 'main', 'types', 'typings'],
    },
  },
}
