// Loads the addon for this platform, which is `#native` when the package runs, or throws an error that says how to get
// one.
import fs from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import type * as Native from '#native'
import { AddonLoadError } from './addon-error.js'
import { contained } from './contained.js'
import { currentTarget, isTarget, TARGETS, type Target } from './platform.js'

type Addon = typeof Native

/** The version of this package, which the build puts in: in a bundle there is no `package.json` to read. */
declare const PGLISTEN_VERSION: string
const version = PGLISTEN_VERSION

/**
 * The folder of the package: this file becomes `dist/native.js`. `undefined` in a bundle that is an ES module, where there
 * is no such variable.
 */
const packageFolder = typeof __dirname === 'string' ? path.join(__dirname, '..') : undefined
/** For paths and names that are known only when the package runs: a bundler would try to find them. */
const requireAtRunTime = createRequire(path.join(packageFolder ?? process.cwd(), 'package.json'))

function load(): Addon {
  const target = currentTarget()
  if (!isTarget(target)) throw unsupported(target)
  // An addon that was built in a clone takes precedence.
  const built = packageFolder && path.join(packageFolder, 'native', `pglisten.${target}.node`)
  const [from, addon] =
    built !== undefined && fs.existsSync(built)
      ? [built, openFile(built)]
      : [`pglisten-${target}`, openPackage(target)]
  if ((addon as Partial<Addon> | undefined)?.ADDON_VERSION === undefined) throw wronglyBundled(from)
  if (addon.ADDON_VERSION !== version) throw otherVersion(from, addon.ADDON_VERSION)
  return addon
}

function openFile(file: string): Addon {
  try {
    return requireAtRunTime(file) as Addon
  } catch (error) {
    throw unloadable(file, error)
  }
}

/**
 * Opens the package with the addon. The names are spelled out, because bundlers find packages by literal `require` calls;
 * the calls stand within a `try`, because a bundler fails at a package that it does not find anywhere else, and usually only
 * one of these is installed.
 */
function openPackage(target: Target): Addon {
  try {
    switch (target) {
      case 'darwin-arm64':
        return require('pglisten-darwin-arm64')
      case 'darwin-x64':
        return require('pglisten-darwin-x64')
      case 'linux-arm64-gnu':
        return require('pglisten-linux-arm64-gnu')
      case 'linux-arm64-musl':
        return require('pglisten-linux-arm64-musl')
      case 'linux-x64-gnu':
        return require('pglisten-linux-x64-gnu')
      case 'linux-x64-musl':
        return require('pglisten-linux-x64-musl')
      case 'win32-arm64-msvc':
        return require('pglisten-win32-arm64-msvc')
      case 'win32-x64-msvc':
        return require('pglisten-win32-x64-msvc')
    }
  } catch (error) {
    if ((error as { code?: unknown }).code === 'MODULE_NOT_FOUND') throw missing(target, error)
    throw unloadable(`pglisten-${target}`, error)
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
    requireAtRunTime.resolve(`${name}/package.json`)
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
    'It needs no library that Windows has not, such as the Visual C++ redistributable; a virus scanner may hold the file back. ',
}

/** What a bundler made of the file is no addon: a path, or the file's bytes. */
function wronglyBundled(from: string): AddonLoadError {
  return new AddonLoadError(
    'ERR_PGLISTEN_ADDON_UNLOADABLE',
    `The addon ${from} was put into a bundle by a loader that does not load it. Its \`.node\` file needs one that copies ` +
      "the file: `--loader:.node=copy` of esbuild, `node-loader` of webpack. Or leave it out of the bundle: `--external:pglisten`.",
  )
}

export default contained(load())
