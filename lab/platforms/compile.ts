// Compiles for other platforms: the addon where it can be linked here, and else as far as its C and its Rust go.

import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { root, run } from '../../scripts/lib/run.mjs'
import { buildAddon, has, hasRust } from '../../scripts/release/build-addon.mjs'
import { type Build, TARGETS, buildPlan } from '../../scripts/release/targets.mjs'
import type { Row } from './rows.js'

const work = path.join(root, 'target', 'platforms')

/** Whether Rust's standard library can be compiled here: its source is installed. */
function hasRustSource(): boolean {
  const sysroot = execFileSync('rustc', ['--print', 'sysroot'], { encoding: 'utf8' }).trim()
  return fs.existsSync(path.join(sysroot, 'lib/rustlib/src/rust/library/Cargo.lock'))
}

/** Variables with which cargo compiles the standard library of a target too, where it is not installed. */
const standardLibrary = (triple: string): Record<string, string> =>
  hasRust(triple) ? {} : { CARGO_UNSTABLE_BUILD_STD: 'std,panic_unwind', RUSTC_BOOTSTRAP: '1' }

const hasRustFor = (triple: string) => hasRust(triple) || hasRustSource()

const NO_RUST = (triple: string) =>
  `Rust's half (\`rustup target add ${triple}\`), or its source (Debian's \`rust-src\`)`

/** The addon's file, or what is missing. */
export async function compileAddon(
  triple: string,
): Promise<{ addon: string } | { missing: string }> {
  const plan = planFor(triple)
  if ('reason' in plan) return { missing: plan.reason }
  const env = { ...plan.env, ...standardLibrary(triple) }
  return { addon: await buildAddon(triple, { ...plan, env }, work) }
}

function planFor(triple: string): Build | { reason: string } {
  if (triple in TARGETS) return buildPlan(triple, { hasRust: hasRustFor, has })
  if (!hasRustFor(triple)) return { reason: NO_RUST(triple) }
  if (!has('x86_64-w64-mingw32-gcc')) return { reason: "Debian's `gcc-mingw-w64-x86-64`" }
  return { flags: [], env: { LIBNODE_PATH: emptyNodeLibrary() } }
}

/**
 * The folder of a DLL with nothing in it, which napi's build wants to link with for MinGW. The addon looks Node.js' functions up
 * when it is loaded, so it imports nothing from the DLL.
 */
function emptyNodeLibrary(): string {
  const folder = path.join(work, 'libnode')
  fs.mkdirSync(folder, { recursive: true })
  const library = path.join(folder, 'libnode.dll')
  execFileSync('x86_64-w64-mingw32-gcc', ['-shared', '-o', library, '-xc', '/dev/null'])
  return folder
}

/** zig's name of the system whose headers the C is compiled with. Windows' are those of MinGW. */
const ZIG_TARGETS: Readonly<Record<string, string>> = {
  'x86_64-pc-windows-msvc': 'x86_64-windows-gnu',
  'aarch64-pc-windows-msvc': 'aarch64-windows-gnu',
  'x86_64-apple-darwin': 'x86_64-macos',
  'aarch64-apple-darwin': 'aarch64-macos',
}

/** Compiles without linking, where every warning is a failure. Returns what is wrong, or what is missing. */
export async function check({ triple }: Row): Promise<{ ok: boolean } | { missing: string }> {
  if (!hasRustFor(triple)) return { missing: NO_RUST(triple) }
  if (!has('zig')) return { missing: '`zig`, which compiles the C' }
  const [cc, ar] = zigFor(triple)
  const variable = triple.replaceAll('-', '_')
  console.log(`Checking ${triple}`)
  const { ok, output } = await run(
    'cargo',
    ['check', '--locked', '-ppglisten', '-ppglisten-core', '--lib', '--target', triple],
    {
      output: 'both',
      env: {
        ...standardLibrary(triple),
        [`CC_${variable}`]: cc,
        [`AR_${variable}`]: ar,
        // ring's build asks for it by this name on arm64.
        PATH: `${path.dirname(cc)}${path.delimiter}${process.env['PATH']}`,
      },
    },
  )
  // Warnings of the code name its place; cargo has others, such as of links in node_modules.
  return { ok: ok && !/^warning: .*\n *-->/m.test(output) }
}

/** Writes programs that call zig's compiler and archiver like clang's, whose arguments for the target zig does not take. */
function zigFor(triple: string): [cc: string, ar: string] {
  const folder = path.join(work, 'zig', triple)
  fs.mkdirSync(folder, { recursive: true })
  const write = (name: string, text: string) => {
    const file = path.join(folder, name)
    fs.writeFileSync(file, text, { mode: 0o755 })
    return file
  }
  const cc = write(
    'clang',
    `#!/bin/sh
for argument do
  shift
  case $argument in
    --target=* | -mmacosx-version-min=* | -arch | arm64 | x86_64) ;;
    *) set -- "$@" "$argument" ;;
  esac
done
exec zig cc -target ${ZIG_TARGETS[triple]} "$@"
`,
  )
  return [cc, write('llvm-ar', '#!/bin/sh\nexec zig ar "$@"\n')]
}
