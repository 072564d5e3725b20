// Compiles the facade to `dist/` and rolls its declarations up into `index.d.ts`, the public contract.

import fs from 'node:fs'
import path from 'node:path'
import { root, runTool } from './run.mjs'

const HEADER = '// Generated from index.ts by `npm run build:ts`: edit the sources instead.\n'

fs.rmSync(path.join(root, 'dist'), { recursive: true, force: true })
const compiled = await runTool('typescript/bin/tsc', ['-p', 'tsconfig.build.json'])
if (!compiled.ok) process.exit(1)

const { rollup } = await import('rollup')
const { dts } = await import('rollup-plugin-dts')
const bundle = await rollup({
  input: path.join(root, 'dist', 'index.d.ts'),
  // Anything unresolved would be a declaration that users cannot follow.
  onwarn: (warning) => {
    throw new Error(warning.message)
  },
  external: [/^node:/, 'events', 'stream'],
  plugins: [dts({ tsconfig: path.join(root, 'tsconfig.build.json'), sourcemap: true })],
})
const file = path.join(root, 'index.d.ts')
const { output } = await bundle.generate({ format: 'es', file, banner: HEADER, sourcemap: true })
await bundle.close()
const [{ code, map }] = output
// The sources are published as files: that is where editors go, and they read nothing else.
fs.writeFileSync(file, code)
fs.writeFileSync(`${file}.map`, JSON.stringify({ ...map, sourcesContent: undefined }))
