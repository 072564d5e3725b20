// What is published: which files, how they install without scripts, and what is said where the addon cannot be loaded.

import { execFile } from 'node:child_process'
import fs from 'node:fs'
import { SourceMap } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import test from 'ava'
import ts from 'typescript'
import { npm, pack } from '../../scripts/lib/npm.mjs'
import { stageMain, stagePlatform } from '../../scripts/release/staging.mjs'
import { runtimeOf } from '../../scripts/release/notices.mjs'
import { exampleOf, withoutIds } from '../../scripts/release/readme-example.mjs'
import { TARGETS, addonFile, buildPlan } from '../../scripts/release/targets.mjs'
import { currentTarget, TARGETS as LOADED } from '../../src-ts/native/platform.js'

const root = path.resolve(import.meta.dirname, '../..')

/** The paths of all files in a folder and below it, as npm names them. */
const filesBelow = (folder: string): string[] =>
  fs.readdirSync(path.join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const name = `${folder}/${entry.name}`
    return entry.isDirectory() ? filesBelow(name) : [name]
  })
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'pglisten-package-'))
const [triple, target] = Object.entries(TARGETS).find(([, { name }]) => name === currentTarget())!
const platformPackage = `pglisten-${target.name}`

/** What `import` of a path below the package's name loads, and what runs in all. */
const ADAPTERS = ['compat/pg-listen', 'compat/postgres']
const MODULES = ['index', 'pglisten', 'native', 'errors', 'compat/settings', ...ADAPTERS]

type Packed = Awaited<ReturnType<typeof pack>>
let main: Packed
let platform: Packed
/** A folder with both packages, which the tests of refusals copy and spoil. */
let user: string

const readJson = (file: string) => JSON.parse(fs.readFileSync(path.join(root, file), 'utf8'))
const { version } = readJson('package.json') as { version: string }

test.before(async () => {
  const staged = stagePlatform(
    path.join(folder, 'platform'),
    triple,
    path.join(root, 'native', addonFile(target)),
  )
  fs.writeFileSync(path.join(staged, 'THIRD-PARTY-NOTICES.md'), 'Made by npm run package.')
  main = await pack(stageMain(path.join(folder, 'main')), folder)
  platform = await pack(staged, folder)
  user = await installed('user', [main, platform])
})

test.after.always(() => fs.rmSync(folder, { recursive: true, force: true }))

/** An empty folder with the packages in it, installed as a user without network and without scripts does. */
async function installed(name: string, tarballs: Packed[], flags: string[] = []): Promise<string> {
  const cwd = path.join(folder, name)
  fs.mkdirSync(cwd)
  fs.writeFileSync(path.join(cwd, 'package.json'), '{"private":true}')
  const files = tarballs.map(({ file }) => file)
  await npm(
    ['install', '--offline', '--ignore-scripts', '--no-audit', '--no-fund', ...flags, ...files],
    { cwd },
  )
  return cwd
}

/** A copy of the user's folder, and where in it the platform's package is. */
function copy(name: string): { cwd: string; addonFolder: string } {
  const cwd = path.join(folder, name)
  fs.cpSync(user, cwd, { recursive: true })
  return { cwd, addonFolder: path.join(cwd, 'node_modules', platformPackage) }
}

/** Puts a program of JavaScript in the place of an addon. */
function spoil(addonFolder: string, program: string): void {
  const file = path.join(addonFolder, 'package.json')
  const manifest = JSON.parse(fs.readFileSync(file, 'utf8'))
  fs.writeFileSync(file, JSON.stringify({ ...manifest, main: 'instead.js' }))
  fs.writeFileSync(path.join(addonFolder, 'instead.js'), program)
}

/** What a program prints that runs in a folder. */
async function output(cwd: string, source: string, flags: string[] = []): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, '--eval', source], {
    cwd,
  })
  return stdout.trim()
}

/** What the package's users see of its refusal to load. */
async function refusal(
  cwd: string,
  before = '',
  flags: string[] = [],
): Promise<{ code: string; message: string }> {
  const source = `${before}
    try { require('pglisten') }
    catch ({ name, code, message, cause }) {
      console.log(JSON.stringify({ name, code, message, cause: cause?.message }))
    }`
  const error = JSON.parse(await output(cwd, source, ['--input-type=commonjs', ...flags]))
  if (error.name !== 'AddonLoadError')
    throw new Error(`Not refused by the loader: ${error.message}`)
  return error
}

test('the manifests of all packages are of one version and name their platform', (t) => {
  const { napi, engines, license, author } = readJson('package.json')
  t.deepEqual([...(napi.targets as string[])].sort(), Object.keys(TARGETS).sort())
  t.deepEqual(
    [...LOADED].sort(),
    Object.values(TARGETS)
      .map(({ name }) => name)
      .sort(),
  )
  t.deepEqual(fs.readdirSync(path.join(root, 'npm')).sort(), [...LOADED].sort())
  const cargo = fs.readFileSync(path.join(root, 'Cargo.toml'), 'utf8')
  t.is(/^version = "(.+)"$/m.exec(cargo)?.[1], version)
  for (const one of Object.values(TARGETS)) {
    const { description, ...manifest } = readJson(`npm/${one.name}/package.json`)
    t.true(description.includes(one.label), description)
    t.deepEqual(manifest, {
      ...{ name: `pglisten-${one.name}`, version, license, author, engines },
      ...{ type: 'commonjs', main: addonFile(one) },
      files: [addonFile(one), 'THIRD-PARTY-NOTICES.md'],
      ...{ os: [one.os], cpu: [one.cpu] },
      ...(one.libc && { libc: [one.libc] }),
    })
  }
})

test('the packages hold what a user needs, and nothing else', (t) => {
  t.deepEqual(
    main.files,
    [
      ...['CHANGELOG.md', 'LICENSE', 'README.md', 'llms.txt', 'package.json'],
      ...['index.d.ts', 'index.d.ts.map', 'index.ts', 'native/index.d.ts'],
      ...MODULES.flatMap((name) => [`dist/${name}.js`, `dist/${name}.js.map`]),
      ...ADAPTERS.map((name) => `dist/${name}.d.ts`),
      ...filesBelow('bin'),
      ...filesBelow('src-ts'),
      ...filesBelow('docs').filter(
        (name) => /\.(md|svg)$/.test(name) && !name.startsWith('docs/api/'),
      ),
    ].sort(),
  )
  t.deepEqual(
    platform.files,
    ['LICENSE', 'README.md', 'THIRD-PARTY-NOTICES.md', addonFile(target), 'package.json'].sort(),
  )
  // A third of it are the sources, to which the maps of the code and of the declarations lead, and a quarter the pages of docs/, so that
  // people and programs read those of the version that they have.
  t.true(main.unpackedSize < 2_500_000, `${main.unpackedSize} bytes`)
})

test('every link of the pages in the package leads to a file that is in it', (t) => {
  const staged = path.join(folder, 'main')
  let count = 0
  const dead: string[] = []
  for (const page of main.files.filter((file) => /\.(md|txt)$/.test(file))) {
    const text = fs
      .readFileSync(path.join(staged, page), 'utf8')
      .replaceAll(/^ *```.*?^ *```$/gms, '')
    for (const [, target = ''] of text.matchAll(/\]\(([^)\s#]+)[^)\s]*\)/g)) {
      if (/^[a-z]+:/.test(target)) continue
      count += 1
      const linked = path.posix.join(path.posix.dirname(page), target)
      if (!main.files.includes(linked)) dead.push(`${page}: ${target}`)
    }
  }
  t.deepEqual(dead, [])
  t.true(count > 200, `${count}`)
  t.regex(fs.readFileSync(path.join(staged, 'llms.txt'), 'utf8'), /\(docs\/start\.md\)/)
})

test('every source that a map names is in the package', (t) => {
  const staged = path.join(folder, 'main')
  const maps = main.files.filter((file) => file.endsWith('.map'))
  t.is(maps.length, MODULES.length + 1)
  const named = new Set<string>()
  for (const map of maps) {
    const { sources } = JSON.parse(fs.readFileSync(path.join(staged, map), 'utf8'))
    for (const source of sources as string[]) {
      named.add(path.posix.join(path.posix.dirname(map), source))
    }
  }
  t.true(named.has('src-ts/listen/listener.ts'))
  t.deepEqual(
    [...named].filter((source) => !main.files.includes(source)),
    [],
  )
})

test('the maps lead from each line that defines a class to the one that does so in the sources', (t) => {
  const staged = path.join(folder, 'main')
  const code = fs.readFileSync(path.join(staged, 'dist/pglisten.js'), 'utf8')
  const map = new SourceMap(
    JSON.parse(fs.readFileSync(path.join(staged, 'dist/pglisten.js.map'), 'utf8')),
  )
  let found = 0
  for (const [line, text] of code.split('\n').entries()) {
    const name = /^class (\w+)/.exec(text)?.[1]
    if (name === undefined) continue
    const entry = map.findEntry(line, 'class '.length)
    if (!('originalSource' in entry)) throw new Error(`class ${name} is not mapped`)
    const source = fs.readFileSync(path.join(staged, 'dist', entry.originalSource), 'utf8')
    t.regex(source.split('\n')[entry.originalLine]!, new RegExp(`class ${name}\\b`))
    found += 1
  }
  t.true(found > 10, `${found} classes`)
})

test('the published manifest has the platforms, and no script and nothing of development', (t) => {
  const manifest = JSON.parse(fs.readFileSync(path.join(folder, 'main', 'package.json'), 'utf8'))
  t.deepEqual(
    manifest.optionalDependencies,
    Object.fromEntries(LOADED.map((name) => [`pglisten-${name}`, version])),
  )
  for (const key of ['scripts', 'private', 'dependencies', 'devDependencies', 'overrides']) {
    t.false(key in manifest, key)
  }
})

test('installed without scripts it is two packages, which import and require load as one', async (t) => {
  const cwd = user
  t.deepEqual(
    fs
      .readdirSync(path.join(cwd, 'node_modules'))
      .filter((name) => !name.startsWith('.'))
      .sort(),
    ['pglisten', platformPackage].sort(),
  )
  t.is(
    await output(
      cwd,
      `import { createRequire } from 'node:module'
       import * as imported from 'pglisten'
       const required = createRequire(process.cwd() + '/')('pglisten')
       const { ConnectionPool, ListenerStartError } = imported
       try { new ConnectionPool('host=localhost').listener().listen() }
       catch (error) {
         console.log(error instanceof required.ListenerStartError, ConnectionPool === required.ConnectionPool)
       }`,
      ['--input-type=module'],
    ),
    'true true',
  )
})

test('the adapters are loaded by their own names alone, by import and by require', async (t) => {
  const loaded = 'Object.keys(require.cache).filter((file) => /dist.compat/.test(file)).length'
  const source = `
    require('pglisten')
    console.log(${loaded})
    const subscriber = require('pglisten/compat/pg-listen')
    const postgres = require('pglisten/compat/postgres')
    console.log(${loaded}, subscriber.default === subscriber, postgres.default === postgres)
    Promise.all([import('pglisten/compat/pg-listen'), import('pglisten/compat/postgres')]).then((imported) =>
      console.log(imported[0].default === subscriber, imported[1].default === postgres))
    try { postgres({ port: 'none' }) }
    catch (error) { console.log(error instanceof require('pglisten').ConnectionPoolConfigurationError) }`
  t.is(await output(user, source, ['--input-type=commonjs']), '0\n3 true true\ntrue\ntrue true')
})

test('the adapters’ declarations compile for both systems of modules, and need no other package', (t) => {
  const program = `
    import createSubscriber, { type Subscriber } from 'pglisten/compat/pg-listen'
    import postgres, { type Sql } from 'pglisten/compat/postgres'
    interface Payloads { orders: { id: number }; wake: void }
    const hub: Subscriber<Payloads> = createSubscriber<Payloads>({ host: 'db' }, { parse: JSON.parse })
    hub.notifications.on('orders', (order) => order.id.toFixed())
    void hub.notify('orders', { id: 1 })
    void hub.notify('wake')
    // @ts-expect-error -- not the type of the payload.
    void hub.notify('orders', 'text')
    void createSubscriber().notify('orders', { anything: 1 })
    hub.events.on('notification', ({ payload, channel }) => payload.id + channel.length)
    const sql: Sql = postgres('postgres://db', { max: 1 })
    void sql.listen('orders', async (payload) => payload.length).then(({ unlisten }) => unlisten())
    // @ts-expect-error -- a query.
    void sql\`SELECT 1\``
  const files = ['uses.mts', 'uses.cts'].map((name) => path.join(user, name))
  for (const file of files) fs.writeFileSync(file, program)
  const found = ts.getPreEmitDiagnostics(
    ts.createProgram(files, {
      ...{ module: ts.ModuleKind.NodeNext, target: ts.ScriptTarget.ES2022, esModuleInterop: true },
      ...{ strict: true, noEmit: true, skipLibCheck: true },
      ...{ types: ['node'], typeRoots: [path.join(root, 'node_modules/@types')] },
    }),
  )
  t.deepEqual(
    found.map((one) => ts.flattenDiagnosticMessageText(one.messageText, '\n')),
    [],
  )
  for (const name of ADAPTERS) {
    const code = fs.readFileSync(path.join(user, `node_modules/pglisten/dist/${name}.d.ts`), 'utf8')
    for (const [, module] of code.matchAll(/from '(.*)'/g)) t.regex(module!, /^node:/)
  }
})

test('without its optional dependencies it names the missing package and the remedy', async (t) => {
  const cwd = await installed('omitted', [main], ['--omit=optional'])
  const { code, message } = await refusal(cwd)
  t.is(code, 'ERR_PGLISTEN_ADDON_MISSING')
  t.true(message.includes(`The package ${platformPackage}@${version}`), message)
  t.regex(message, /without `--omit=optional`/)
  t.notRegex(message, /Found/)
})

test('node_modules of another platform are recognised', async (t) => {
  const { cwd, addonFolder } = copy('foreign')
  fs.rmSync(addonFolder, { recursive: true })
  const other = LOADED.find((name) => name !== target.name)!
  fs.cpSync(path.join(root, 'npm', other), path.join(cwd, 'node_modules', `pglisten-${other}`), {
    recursive: true,
  })
  const { code, message } = await refusal(cwd)
  t.is(code, 'ERR_PGLISTEN_ADDON_MISSING')
  t.regex(message, new RegExp(`Found pglisten-${other} instead`))
})

test('a platform without an addon is named, with those that have one', async (t) => {
  const { code, message } = await refusal(
    user,
    "Object.defineProperty(process, 'platform', { value: 'freebsd' })",
  )
  t.is(code, 'ERR_PGLISTEN_UNSUPPORTED_PLATFORM')
  t.true(message.includes(`no prebuilt addon for freebsd-${process.arch}`), message)
  for (const name of LOADED) t.true(message.includes(name), name)
})

test('the README’s first example is found, for each system of modules', (t) => {
  const { source, commonjs, output: expected } = exampleOf(path.join(root, 'README.md'))
  t.regex(source, /^import \{ ConnectionPool \} from 'pglisten'$/m)
  t.regex(commonjs, /^const \{ ConnectionPool \} = require\('pglisten'\)$/m)
  t.is(withoutIds(expected), 'orders: order 42, notified by backend N')
})

test('the notices name what zig links into the addons for musl, with its licence', (t) => {
  const names = (triple: string) => runtimeOf(triple).map(({ name }) => name)
  t.deepEqual(names('aarch64-unknown-linux-musl'), ['LLVM libunwind', 'Zig compiler-rt'])
  t.deepEqual(names('x86_64-unknown-linux-gnu'), [])
  t.regex(runtimeOf('x86_64-unknown-linux-musl')[0]!.text!, /LLVM Exceptions to the Apache 2\.0/)
})

test('each target is built with pinned tools, or it is told what is missing', (t) => {
  const machine = (...programs: string[]) => ({
    hasRust: (wanted: string) => !wanted.includes('riscv'),
    has: (command: string) => programs.includes(command),
  })
  const musl = 'x86_64-unknown-linux-musl'
  const plan = (wanted: string, ...programs: string[]) => buildPlan(wanted, machine(...programs))
  if (process.platform !== 'linux') {
    t.deepEqual(plan(musl), { reason: 'built on linux only' })
    return
  }
  t.regex(JSON.stringify(plan(musl)), /`zig`/)
  const zigbuild = plan(musl, 'zig')
  const workflow = fs.readFileSync(path.join(root, '.github/workflows/packages.yml'), 'utf8')
  t.true(
    'reason' in zigbuild && workflow.includes(zigbuild.reason.match(/`(cargo install .*)`/)![1]!),
  )
  t.regex(JSON.stringify(zigbuild), /install --locked cargo-zigbuild@\d+\.\d+\.\d+`/)
  t.deepEqual(plan(musl, 'zig', 'cargo-zigbuild'), { flags: ['--cross-compile'], env: {} })
  t.deepEqual(plan('x86_64-pc-windows-msvc'), { reason: 'built on win32 only' })
  t.deepEqual(plan('aarch64-unknown-linux-gnu'), {
    flags: ['--use-napi-cross'],
    env: { CFLAGS_aarch64_unknown_linux_gnu: '-D__ARM_ARCH=8' },
  })
})

const onGlibc = target.libc === 'glibc' ? test : test.skip

onGlibc('a Node that is linked with musl asks for the package for musl', async (t) => {
  // The head of this very Node, but for the dynamic linker that it names.
  const program = path.join(folder, 'node-for-musl')
  const head = Buffer.alloc(1 << 16)
  const node = fs.openSync(process.execPath, 'r')
  fs.readSync(node, head)
  fs.closeSync(node)
  const linker = /\/[\w./-]*\/ld-linux[\w.-]*\0/.exec(head.toString('latin1'))
  const musl = `/lib/ld-musl-${process.arch === 'x64' ? 'x86_64' : 'aarch64'}.so.1`
  head.write(musl.padEnd(linker![0].length, '\0'), linker!.index, 'latin1')
  fs.writeFileSync(program, head)
  const { code, message } = await refusal(
    user,
    `Object.defineProperty(process, 'execPath', { value: ${JSON.stringify(program)} })`,
  )
  t.is(code, 'ERR_PGLISTEN_ADDON_MISSING')
  const wanted = `pglisten-${target.name.replace('gnu', 'musl')}@${version}`
  t.true(message.includes(wanted), message)
  t.regex(message, new RegExp(`Found ${platformPackage} instead`))
})

onGlibc('a Node that was started as an argument of its dynamic linker is recognised', async (t) => {
  // `process.execPath` is the linker then. This system's is glibc's; musl's is the same but for what it calls itself.
  const name = process.arch === 'x64' ? 'x86-64.so.2' : 'aarch64.so.1'
  const linker = [`/lib64/ld-linux-${name}`, `/lib/ld-linux-${name}`].find((it) =>
    fs.existsSync(it),
  )!
  const musl = path.join(folder, 'libc.so')
  fs.writeFileSync(
    musl,
    Buffer.concat([fs.readFileSync(linker), Buffer.from('musl libc (x86_64)\nVersion %s\n')]),
  )
  const isThere = `try { require('pglisten'); console.log('loaded') } catch ({ message }) { console.log(message) }`
  const started = (program: string) =>
    output(
      user,
      `Object.defineProperty(process, 'execPath', { value: ${JSON.stringify(program)} })\n${isThere}`,
      ['--input-type=commonjs'],
    )
  t.is(await started(linker), 'loaded')
  t.regex(await started(musl), new RegExp(`pglisten-${target.name.replace('gnu', 'musl')}@`))
})

test('an addon that the system refuses is reported with the system’s reason', async (t) => {
  const { cwd, addonFolder } = copy('damaged')
  fs.writeFileSync(path.join(addonFolder, addonFile(target)), 'damaged')
  const { code, message, cause } = (await refusal(cwd)) as Record<string, string>
  t.is(code, 'ERR_PGLISTEN_ADDON_UNLOADABLE')
  t.true(message!.includes(platformPackage) && message!.includes(cause!), message)
  t.notRegex(message!, /\.\./)
})

/** The flag of this Node.js for the permission model, whose name lost its prefix. */
const permission = process.allowedNodeEnvironmentFlags.has('--permission')
  ? '--permission'
  : '--experimental-permission'

for (const flags of [['--no-addons'], [permission, '--allow-fs-read=*']]) {
  test(`started with ${flags[0]}, the message names the flag that is missing or too much`, async (t) => {
    const { code, message } = await refusal(user, '', flags)
    t.is(code, 'ERR_PGLISTEN_ADDON_UNLOADABLE')
    t.regex(message, /may not load addons.*`--allow-addons`.*`--no-addons`/)
    t.notRegex(message, /glibc|\.\./)
  })
}

test('what a wrong loader of a bundler made of the addon is recognised', async (t) => {
  for (const [name, made] of Object.entries({
    path: '"./pglisten.node"',
    namespace: '{ default: "./pglisten.node" }',
    nothing: 'undefined',
  })) {
    const { cwd, addonFolder } = copy(`loader-${name}`)
    spoil(addonFolder, `module.exports = ${made}`)
    const { code, message } = await refusal(cwd)
    t.is(code, 'ERR_PGLISTEN_ADDON_UNLOADABLE')
    t.regex(message, /bundle.*`--loader:\.node=copy`.*`node-loader`.*`--external:pglisten`/)
  }
})

test('a runtime that asks for --allow-ffi is quoted with that flag alone', async (t) => {
  const { cwd, addonFolder } = copy('ffi')
  const words = 'Requires ffi access to \\"x.node\\", run again with the --allow-ffi flag'
  spoil(addonFolder, `throw new Error("${words}")`)
  const { message } = await refusal(cwd)
  t.regex(message, /start Deno with `--allow-ffi`\.$/)
})

test('Windows has a sentence of its own', async (t) => {
  const { cwd, addonFolder } = copy('windows')
  const name = 'win32-x64-msvc'
  const there = path.join(path.dirname(addonFolder), `pglisten-${name}`)
  fs.cpSync(path.join(root, 'npm', name), there, { recursive: true })
  fs.writeFileSync(path.join(there, `pglisten.${name}.node`), 'damaged')
  const { code, message } = await refusal(
    cwd,
    `Object.defineProperties(process, { platform: { value: 'win32' }, arch: { value: 'x64' } })`,
  )
  t.is(code, 'ERR_PGLISTEN_ADDON_UNLOADABLE')
  t.regex(message, /needs no library that Windows has not.*virus scanner/)
  t.notRegex(message, /glibc/)
})

test('an addon of another version is refused', async (t) => {
  const { cwd, addonFolder } = copy('other-version')
  spoil(addonFolder, "exports.ADDON_VERSION = '9.9.9'")
  const { code, message } = await refusal(cwd)
  t.is(code, 'ERR_PGLISTEN_ADDON_VERSION')
  t.true(message.includes(`pglisten is ${version}, but its addon ${platformPackage} is 9.9.9`))
})

for (const name of fs.readdirSync(path.join(root, 'packages'))) {
  test(`the package beside the main one is of its version, asks for it, and has what it runs (${name})`, async (t) => {
    const folderOf = path.join('packages', name)
    const manifest = readJson(path.join(folderOf, 'package.json')) as {
      version: string
      license: string
      peerDependencies: Record<string, string>
    }
    t.like(manifest, { version, license: 'MIT' })
    t.is(manifest.peerDependencies['pglisten'], `^${version}`)
    const { files } = await pack(path.join(root, folderOf), folder)
    t.true(files.includes('README.md'))
    t.true(files.includes('LICENSE'))
    t.false(
      files.some((file) => /(^|\/)(test|node_modules)\//.test(file) || file.endsWith('.spec.ts')),
    )
  })
}
