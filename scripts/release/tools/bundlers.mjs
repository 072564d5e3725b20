// The bundlers. What each makes is run in an empty folder, so that nothing is found that was not bundled.

import { spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { once } from 'node:events'
import { currentAddon } from './platform.mjs'

const ADDON = currentAddon()

/**
 * Runs what was bundled, in a folder elsewhere.
 * @param {import('./tools.mjs').Home} home @param {string} file @param {(elsewhere: string) => void} [addTo]
 */
async function runElsewhere({ folder, execute }, file, addTo = () => {}) {
  const elsewhere = fs.mkdtempSync(`${folder}-elsewhere-`)
  try {
    fs.cpSync(path.join(folder, 'out'), elsewhere, { recursive: true })
    addTo(elsewhere)
    // A program of its own, or a script.
    const program = path.join(elsewhere, file)
    const output = /\.[cm]?js$/.test(file)
      ? await execute(process.execPath, [program], { cwd: elsewhere })
      : await execute(program, [], { cwd: elsewhere })
    if (!output.includes('works')) throw new Error(`printed ${JSON.stringify(output)}`)
  } finally {
    fs.rmSync(elsewhere, { recursive: true, force: true })
  }
}

/** Copies the package of the addon, for bundlers that leave it outside. @param {string} from */
const withAddon = (from) => (/** @type {string} */ to) =>
  fs.cpSync(path.join(from, 'node_modules', ADDON), path.join(to, 'node_modules', ADDON), {
    recursive: true,
  })

const ESBUILD = ['--bundle', '--platform=node', '--outdir=out', '--minify']

/** @type {readonly import('./tools.mjs').Tool[]} */
export const BUNDLERS = [
  {
    name: 'esbuild 0.28, minified, `--loader:.node=copy`, CommonJS',
    packages: ['esbuild@0.28.2'],
    files: {},
    run: async (home) => {
      await home.node('node_modules/esbuild/bin/esbuild', [
        ...['main.cjs', ...ESBUILD, '--loader:.node=copy'],
      ])
      await runElsewhere(home, 'main.js')
    },
  },
  {
    name: 'esbuild 0.28, minified, `--loader:.node=copy`, ES module',
    packages: ['esbuild@0.28.2'],
    files: {},
    run: async (home) => {
      const banner =
        "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url); const __dirname = import.meta.dirname;"
      await home.node('node_modules/esbuild/bin/esbuild', [
        ...['main.mjs', ...ESBUILD, '--loader:.node=copy', '--format=esm'],
        ...['--out-extension:.js=.mjs', `--banner:js=${banner}`],
      ])
      await runElsewhere(home, 'main.mjs')
    },
  },
  {
    name: 'webpack 5 with node-loader, production',
    packages: ['webpack@5.113.0', 'webpack-cli@7.3.1', 'node-loader@2.1.0'],
    files: {
      'webpack.config.cjs': `module.exports = {
  target: 'node', mode: 'production', entry: './main.cjs',
  output: { path: __dirname + '/out', filename: 'main.js' },
  node: { __dirname: false },
  module: { rules: [{ test: /\\.node$/, loader: 'node-loader' }] },
}`,
    },
    run: async (home) => {
      await home.node('node_modules/webpack-cli/bin/cli.js', ['--config', 'webpack.config.cjs'])
      await runElsewhere(home, 'main.js')
    },
  },
  {
    name: 'Rollup 4, the addon’s package beside it',
    packages: [
      'rollup@4.68.8',
      '@rollup/plugin-commonjs@29.0.3',
      '@rollup/plugin-node-resolve@16.0.3',
    ],
    files: {
      'rollup.config.mjs': `import commonjs from '@rollup/plugin-commonjs'
import resolve from '@rollup/plugin-node-resolve'
export default {
  input: 'main.mjs', output: { dir: 'out', format: 'cjs', inlineDynamicImports: true },
  external: [/^pglisten-/], plugins: [resolve(), commonjs()],
}`,
      'main.mjs':
        "import { check } from './check.mjs'\nvoid check().then(() => console.log('works'))\n",
    },
    run: async (home) => {
      await home.node('node_modules/rollup/dist/bin/rollup', ['-c', 'rollup.config.mjs'])
      await runElsewhere(home, 'main.js', withAddon(home.folder))
    },
  },
  {
    name: 'Vite 8, `build.ssr` with `ssr.noExternal: true`, the addon’s package beside it',
    packages: ['vite@8.3.8'],
    files: {
      'vite.config.mjs': `export default {
  build: { ssr: 'main.mjs', outDir: 'out', minify: true, rollupOptions: { external: [/^pglisten-/] } },
  ssr: { noExternal: true },
}`,
    },
    run: async (home) => {
      await home.node('node_modules/vite/bin/vite.js', ['build'])
      const file = fs.readdirSync(path.join(home.folder, 'out')).find((it) => it.startsWith('main'))
      await runElsewhere(home, `${file}`, withAddon(home.folder))
    },
  },
  {
    name: '`bun build --compile` 1.4: one file',
    packages: ['@oven/bun-linux-x64@1.4.5'],
    files: {},
    run: async (home) => {
      const bun = path.join(home.folder, 'node_modules/@oven/bun-linux-x64/bin/bun')
      fs.chmodSync(bun, 0o755)
      fs.mkdirSync(path.join(home.folder, 'out'))
      await home.execute(bun, ['build', '--compile', 'main.mjs', '--outfile', 'out/app'])
      await runElsewhere(home, 'app')
    },
  },
  {
    name: 'a single executable application of Node, bundled by esbuild, the addon beside it',
    packages: ['esbuild@0.28.2', 'postject@1.0.0-alpha.6'],
    files: {
      'sea.json': '{"main":"out/main.js","output":"sea.blob","disableExperimentalSEAWarning":true}',
    },
    run: async (home) => {
      const banner = "require = require('node:module').createRequire(process.execPath);"
      await home.node('node_modules/esbuild/bin/esbuild', [
        ...['main.cjs', ...ESBUILD, '--loader:.node=copy', `--banner:js=${banner}`],
      ])
      await home.execute(process.execPath, ['--experimental-sea-config', 'sea.json'])
      const application = path.join(home.folder, 'out', 'app')
      fs.copyFileSync(process.execPath, application)
      fs.chmodSync(application, 0o755)
      const fuse = 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2'
      await home.node('node_modules/postject/dist/cli.js', [
        ...[application, 'NODE_SEA_BLOB', 'sea.blob', '--sentinel-fuse', fuse],
      ])
      fs.rmSync(path.join(home.folder, 'out', 'main.js'))
      await runElsewhere(home, 'app')
    },
  },
  ...['--turbopack', '--webpack'].map((bundler) => ({
    name: `Next 16, \`next build ${bundler}\`, with \`serverExternalPackages\``,
    packages: ['next@16.4.6', 'react@19.3.1', 'react-dom@19.3.1'],
    files: {
      'next.config.mjs': "export default { serverExternalPackages: ['pglisten'] }",
      'app/layout.js':
        'export default function Layout({ children }) { return <html><body>{children}</body></html> }',
      'app/page.js': 'export default function Page() { return <p>page</p> }',
      'app/check/route.js': `import { check } from '../../check.mjs'
export const dynamic = 'force-dynamic'
export async function GET() {
  await check()
  return new Response('works')
}`,
    },
    run: (/** @type {import('./tools.mjs').Home} */ home) => next(home, bundler),
  })),
]

/** @param {import('./tools.mjs').Home} home @param {string} bundler */
async function next({ folder, dsn, node }, bundler) {
  const script = 'node_modules/next/dist/bin/next'
  const env = { NEXT_TELEMETRY_DISABLED: '1', NODE_ENV: 'production' }
  await node(script, ['build', bundler], { env })
  const server = spawn(process.execPath, [path.join(folder, script), 'start', '--port', '0'], {
    cwd: folder,
    env: { ...process.env, ...env, DATABASE_URL: dsn },
  })
  try {
    let output = ''
    const address = await new Promise((resolve, reject) => {
      const read = (/** @type {Buffer} */ chunk) => {
        output += chunk.toString()
        const found = /http:\/\/localhost:\d+/.exec(output)
        if (found) resolve(found[0])
      }
      server.stdout.on('data', read)
      server.stderr.on('data', read)
      server.on('exit', () => reject(new Error(output)))
      setTimeout(() => reject(new Error(`no address in ${output}`)), 30_000).unref()
    })
    const answer = await fetch(`${address}/check`)
    const text = await answer.text()
    if (text !== 'works') throw new Error(`answered ${answer.status} ${text} ${output}`)
  } finally {
    server.kill()
    if (server.exitCode === null) await once(server, 'exit')
  }
}
