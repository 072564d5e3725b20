// Compiles the facade to `dist/` and rolls its declarations up into `index.d.ts`, the public contract.
//
// What runs is a few CommonJS files instead of one for each source: Node needs more time to find and open a file than to
// compile what is in it. The entry is kept apart and short, because `import` searches it for names, and slowly. So are the
// adapters to other clients' APIs, entries of their own in `dist/compat/`, which the package itself does not load.
// Packages of the workspace are compiled file by file.

import fs from 'node:fs'
import path from 'node:path'
import { decode, encode } from '@jridgewell/sourcemap-codec'
import { rollup } from 'rollup'
import { dts } from 'rollup-plugin-dts'
import { root, runTool } from './lib/run.mjs'

const HEADER = '// Generated from index.ts by `npm run build:ts`: edit the sources instead.\n'
const compiled = path.join(root, 'target', 'ts')
const dist = path.join(root, 'dist')
/** The entries below `compat`, and the function that each exports. */
const ADAPTERS = { 'pg-listen': 'createPostgresSubscriber', postgres: 'postgres' }
const { version } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'))
// Anything unresolved would be something that users do not have.
/** @param {import('rollup').RollupLog} warning */
const onwarn = ({ code, message }) => {
  // TypeScript's helpers look whether there is one on `this` already.
  if (code !== 'THIS_IS_UNDEFINED') throw new Error(message)
}

fs.rmSync(compiled, { recursive: true, force: true })
await compile()
// Declarations keep the comments; in what runs they would be a third of its size.
await compile('--removeComments', '--declaration', 'false', '--declarationMap', 'false')
fs.rmSync(dist, { recursive: true, force: true })
await bundle()
await rollUpDeclarations()
for (const [name, exported] of Object.entries(ADAPTERS)) await declareAdapter(name, exported)
// They are written against the declarations above.
for (const name of ['opentelemetry', 'relay-nats']) await compilePackage(name)

/** @param {string[]} flags */
async function compile(...flags) {
  const { ok } = await runTool('typescript/bin/tsc', ['-p', 'tsconfig.build.json', ...flags])
  if (!ok) process.exit(1)
}

/** Compiles a package of the workspace. @param {string} name */
async function compilePackage(name) {
  const folder = path.join('packages', name)
  fs.rmSync(path.join(root, folder, 'dist'), { recursive: true, force: true })
  const { ok } = await runTool('typescript/bin/tsc', ['-p', folder])
  if (!ok) process.exit(1)
}

async function bundle() {
  const build = await rollup({
    input: {
      index: path.join(compiled, 'index.js'),
      native: path.join(compiled, 'src-ts', 'native', 'addon.js'),
      ...Object.fromEntries(
        Object.keys(ADAPTERS).map((name) => [
          `compat/${name}`,
          path.join(compiled, 'src-ts', 'compat', `${name}.js`),
        ]),
      ),
    },
    onwarn,
    external: [/^node:/, '#native'],
    plugins: [{ name: 'maps of the compiler', load: withMap, generateBundle: withLines }],
  })
  const facade = path.join(compiled, 'src-ts') + path.sep
  // The errors are shared by the facade and by what looks for the addon, which is an entry of its own.
  const errors = new Set(
    ['errors.js', 'brand.js', path.join('native', 'defect.js')].map((name) =>
      path.join(facade, name),
    ),
  )
  const alone = new Set(
    ['addon', 'addon-error', 'contained', 'platform'].map((name) =>
      path.join(facade, 'native', `${name}.js`),
    ),
  )
  await build.write({
    dir: dist,
    format: 'cjs',
    exports: 'auto',
    paths: { '#native': './native.js' },
    chunkFileNames: '[name].js',
    // The path of the addon's file is that of its one importer.
    hoistTransitiveImports: false,
    manualChunks: (id) => {
      if (errors.has(id)) return 'errors'
      if (id === path.join(facade, 'compat', 'settings.js')) return 'compat/settings'
      if (id.startsWith(path.join(facade, 'compat'))) return null
      return id.startsWith(facade) && !alone.has(id) ? 'pglisten' : null
    },
    generatedCode: { preset: 'es2015', symbols: false },
    sourcemap: true,
    // They are published as files.
    sourcemapExcludeSources: true,
  })
  await build.close()
}

/** @param {string} file */
function withMap(file) {
  const code = fs.readFileSync(file, 'utf8').replace(/^\/\/# sourceMappingURL=.*$/m, '')
  return {
    code: code
      .replace('= PGLISTEN_VERSION', `= ${JSON.stringify(version)}`)
      .replace(/PGLISTEN_SQL\('([^']+)'\)/g, (_, name) => JSON.stringify(sqlOf(name))),
    map: fs.readFileSync(`${file}.map`, 'utf8'),
  }
}

/** The text of a file of SQL, without comments between statements, which the server would not keep. @param {string} name */
function sqlOf(name) {
  const text = fs.readFileSync(path.join(root, 'src-ts', 'durable', 'sql', name), 'utf8')
  let isBody = false
  const kept = text.split('\n').filter((line) => {
    if (line.split('$$').length % 2 === 0) isBody = !isBody
    return isBody || !/^(--.*)?$/.test(line)
  })
  return `${kept.join('\n')}\n`
}

/**
 * Maps of lines: a trace names the same files and lines as with the column of every word, which take seven times the room.
 * @param {unknown} _options @param {import('rollup').OutputBundle} bundle
 */
function withLines(_options, bundle) {
  for (const file of Object.values(bundle)) {
    if (file.type !== 'asset' || !file.fileName.endsWith('.map')) continue
    const map = JSON.parse(String(file.source))
    const lines = decode(map.mappings).map((line) =>
      line.filter(([, source, at], index) => {
        const before = line[index - 1]
        return before === undefined || before[1] !== source || before[2] !== at
      }),
    )
    // What follows in a segment is the index of a name.
    const places = lines.map((line) =>
      line.map((segment) => /** @type {typeof segment} */ (segment.slice(0, 4))),
    )
    file.source = JSON.stringify({ ...map, names: [], mappings: encode(places) })
  }
}

async function rollUpDeclarations() {
  const build = await rollup({
    input: path.join(compiled, 'index.d.ts'),
    onwarn,
    external: [/^node:/, 'events', 'stream'],
    plugins: [dts({ tsconfig: path.join(root, 'tsconfig.build.json'), sourcemap: true })],
  })
  const file = path.join(root, 'index.d.ts')
  const { output } = await build.generate({ format: 'es', file, banner: HEADER, sourcemap: true })
  await build.close()
  const [{ code, map }] = output
  // The sources are published as files: that is where editors go, and they read nothing else.
  fs.writeFileSync(file, code)
  fs.writeFileSync(`${file}.map`, JSON.stringify({ ...map, sourcesContent: undefined }))
}

/**
 * Rolls the declarations of an adapter up. What runs exports its function alone (`module.exports`), which `export =` says; the
 * types that belong to it are in a namespace of its name.
 * @param {string} name @param {string} exported
 */
async function declareAdapter(name, exported) {
  const build = await rollup({
    input: path.join(compiled, 'src-ts', 'compat', `${name}.d.ts`),
    onwarn,
    external: [/^node:/],
    plugins: [dts({ tsconfig: path.join(root, 'tsconfig.build.json') })],
  })
  const { output } = await build.generate({ format: 'es' })
  await build.close()
  const exports = /^export (type )?\{.*\};$/gm
  const { code } = output[0]
  const members = [...code.matchAll(exports)].map(([statement]) => `    ${statement}\n`)
  if (members.length === 0) throw new Error(`The declarations of ${name} export nothing`)
  fs.writeFileSync(
    path.join(dist, 'compat', `${name}.d.ts`),
    `${code.replace(exports, '').trimEnd()}\n\ndeclare namespace ${exported} {\n${members.join('')}}\nexport = ${exported};\n`,
  )
}
