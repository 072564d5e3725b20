// Loads the addon for this platform, which is `#native` when the package runs, or throws an error that says how to get
// one.
import fs from 'node:fs'
import path from 'node:path'
import type * as Native from '#native'
import { AddonLoadError } from './addon-error.js'
import { currentTarget, isTarget, TARGETS, type Target } from './platform.js'

type Addon = typeof Native

// This file becomes `dist/native.js`.
const packageFolder = path.join(__dirname, '..')
const { version } = require('../package.json') as { version: string }

function load(): Addon {
  const target = currentTarget()
  if (!isTarget(target)) throw unsupported(target)
  // An addon that was built in a clone takes precedence.
  const built = path.join(packageFolder, 'native', `pglisten.${target}.node`)
  const [from, addon] = fs.existsSync(built)
    ? [built, attempt(built, () => require(built))]
    : [`pglisten-${target}`, attempt(`pglisten-${target}`, packages[target], target)]
  if ((addon as Partial<Addon> | undefined)?.ADDON_VERSION === undefined) throw wronglyBundled(from)
  if (addon.ADDON_VERSION !== version) throw otherVersion(from, addon.ADDON_VERSION)
  return addon
}

/** The packages with addons. The names are spelled out, because bundlers find packages by literal `require` calls. */
const packages: Record<Target, () => unknown> = {
  'darwin-arm64': () => require('pglisten-darwin-arm64'),
  'darwin-x64': () => require('pglisten-darwin-x64'),
  'linux-arm64-gnu': () => require('pglisten-linux-arm64-gnu'),
  'linux-arm64-musl': () => require('pglisten-linux-arm64-musl'),
  'linux-x64-gnu': () => require('pglisten-linux-x64-gnu'),
  'linux-x64-musl': () => require('pglisten-linux-x64-musl'),
  'win32-arm64-msvc': () => require('pglisten-win32-arm64-msvc'),
  'win32-x64-msvc': () => require('pglisten-win32-x64-msvc'),
}

function attempt(from: string, open: () => unknown, target?: Target): Addon {
  try {
    return open() as Addon
  } catch (error) {
    if (target !== undefined && (error as { code?: unknown }).code === 'MODULE_NOT_FOUND') {
      throw missing(target, error)
    }
    throw unloadable(from, error)
  }
}

function unsupported(target: string): AddonLoadError {
  return new AddonLoadError(
    'ERR_PGLISTEN_UNSUPPORTED_PLATFORM',
    `pglisten has no prebuilt addon for ${target}, only for ${TARGETS.join(', ')}. ` +
      'On other platforms it has to be built from its source, with Rust: see CONTRIBUTING.md there.',
  )
}

function missing(target: Target, cause: unknown): AddonLoadError {
  const others = TARGETS.filter((other) => other !== target && isInstalled(`pglisten-${other}`))
  const found =
    others.length === 0
      ? ''
      : ` Found ${others.map((other) => `pglisten-${other}`).join(', ')} instead: node_modules, or the lock file, comes from another platform.`
  return new AddonLoadError(
    'ERR_PGLISTEN_ADDON_MISSING',
    `The package pglisten-${target}@${version}, which holds the addon for this platform, is not installed.${found} ` +
      'It is an optional dependency of pglisten. Install again on this platform, without `--omit=optional` or ' +
      '`--no-optional`; if it is still missing, remove node_modules and the lock file first. To install for another ' +
      'platform, tell npm so: `npm install --os=linux --cpu=x64 --libc=musl`.',
    { cause },
  )
}

function isInstalled(name: string): boolean {
  try {
    require.resolve(`${name}/package.json`)
    return true
  } catch {
    return false
  }
}

function otherVersion(from: string, found: unknown): AddonLoadError {
  return new AddonLoadError(
    'ERR_PGLISTEN_ADDON_VERSION',
    `pglisten is ${version}, but its addon ${from} is ${String(found)}. They have to be of one version: remove ` +
      'node_modules and install again, or build again in a clone.',
  )
}

function unloadable(from: string, cause: unknown): AddonLoadError {
  return new AddonLoadError('ERR_PGLISTEN_ADDON_UNLOADABLE', whyUnloadable(from, cause), { cause })
}

function whyUnloadable(from: string, cause: unknown): string {
  const why = (cause instanceof Error ? cause.message : String(cause)).replace(/\.$/, '')
  if ((cause as { code?: unknown } | null)?.code === 'ERR_DLOPEN_DISABLED') {
    return (
      `The addon ${from} is there, but this process may not load addons. With \`--permission\`, start it with ` +
      '`--allow-addons` too; leave `--no-addons` out.'
    )
  }
  if (why.includes('--allow-ffi')) {
    return `The addon ${from} is there, but this process may not load it: start Deno with \`--allow-ffi\`.`
  }
  const platform = PLATFORM_HINTS[process.platform] ?? ''
  return (
    `The addon ${from} is there, but this system cannot load it: ${why}. ${platform}If the file is damaged, remove ` +
    'node_modules and install again.'
  )
}

const PLATFORM_HINTS: Readonly<Record<string, string>> = {
  linux:
    'With glibc it needs glibc 2.17 or newer, and its folder must not be mounted with `noexec`. ',
  win32:
    'If Windows misses a module, install the Microsoft Visual C++ redistributable; a virus scanner may also hold the file back. ',
}

/** What a bundler made of the file is no addon: a path, or the file's bytes. */
function wronglyBundled(from: string): AddonLoadError {
  return new AddonLoadError(
    'ERR_PGLISTEN_ADDON_UNLOADABLE',
    `The addon ${from} was put into a bundle by a loader that does not load it. Its \`.node\` file needs one that copies ` +
      "the file: `--loader:.node=copy` of esbuild, `node-loader` of webpack. Or leave it out of the bundle: `--external:pglisten`.",
  )
}

export default load()
