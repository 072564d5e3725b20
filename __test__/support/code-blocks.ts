// The code blocks of the documentation: what each one is, and how programs among them are compiled and run.
//
//   ```ts            compiled; without a pool of its own it is a fragment, and `pool`, `listener`, `connection` are given
//   ```js            a program: what every supported Node.js takes as `.mjs`, with its types checked all the same
//   ```js run        also run as it stands, in a database of its own; the environment has its `DATABASE_URL`
//   ```sql run       executed before what runs after it on the same page
//   ```text output   what the block that ran before it printed
//
// In an output, a number of four digits or more stands for any number, and `…` for anything within a line.

import { execFile } from 'node:child_process'
import { readFileSync, readdirSync } from 'node:fs'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import type { ExecutionContext } from 'ava'
import { ConnectionPool } from 'pglisten'
import ts from 'typescript'
import { createDatabase } from './database.js'
import type { Account } from '../../lab/server/server-account.mjs'
import { serverDsn } from '../../lab/server/test-server.js'

export const root = path.resolve(import.meta.dirname, '../..')

/** The Node.js that checks and runs programs: another one than that of the tests where the matrix says so. */
export const NODE = process.env['PGLISTEN_DOCS_NODE'] ?? process.execPath

/** Inside node_modules, from where `pglisten` is found as for any user of the package. */
const folder = path.join(root, 'node_modules', '.cache', `code-blocks-${process.pid}`)

export interface CodeBlock {
  /** The page, as a path from the project's folder. */
  page: string
  /** Of the block's first line of code, from 1. */
  line: number
  language: string
  /** What stands after the language: `run`, `output`. */
  mark: string
  code: string
}

const GENERATED = new Set(['node_modules', 'target', 'dist', '.git', 'api'])

/** Every Markdown file of the project, as paths from its folder. */
export function pages(below = ''): string[] {
  const entries = readdirSync(path.join(root, below), { withFileTypes: true })
  const found: string[] = []
  for (const entry of entries.sort((a, b) => a.name.localeCompare(b.name))) {
    const name = path.posix.join(below, entry.name)
    if (entry.isDirectory() && !GENERATED.has(entry.name)) found.push(...pages(name))
    else if (entry.isFile() && entry.name.endsWith('.md')) found.push(name)
  }
  return found
}

export function codeBlocks(page: string): CodeBlock[] {
  const text = readFileSync(path.join(root, page), 'utf8')
  const blocks = text.matchAll(/^( *)(`{3,})([^\s`]*)[ \t]*([^\n`]*)\n(.*?)^\1\2[ \t]*$/gms)
  return [...blocks].map(({ index, 1: indent, 3: language, 4: mark, 5: code }) => ({
    page,
    line: text.slice(0, index).split('\n').length + 1,
    language: language!,
    mark: mark!.trim(),
    code: code!.replaceAll(new RegExp(`^${indent}`, 'gm'), ''),
  }))
}

const GIVEN = { pool: 'ConnectionPool', listener: 'Listener', connection: 'Connection' }

/** A fragment speaks of a pool, a listener or a connection that the text around it has made. */
function withContext({ language, code }: CodeBlock): string {
  if (language === 'js' || /new ConnectionPool|from '(?:pg|postgres|pg-listen)'/.test(code))
    return code
  // On the first line, so that the numbers of the others stay.
  const declarations = Object.entries(GIVEN)
    .filter(([name]) => !new RegExp(`(?:const|let|using) ${name}\\b`).test(code))
    .map(([name, type]) => `declare const ${name}: import('pglisten').${type}; `)
  return `${declarations.join('')}${code}`
}

/** Plain JavaScript cannot say the type of what `parse` returns. */
const UNKNOWN_PROPERTY = 2339

/** What the TypeScript compiler says of the blocks, with `strict` and more, as `page:line message`. */
export async function compile(blocks: readonly CodeBlock[]): Promise<string[]> {
  await mkdir(folder, { recursive: true })
  const byFile = new Map<string, CodeBlock>()
  for (const [index, block] of blocks.entries()) {
    const file = path.join(folder, `${index}.${block.language === 'js' ? 'mjs' : 'mts'}`)
    byFile.set(file, block)
    await writeFile(file, `${withContext(block)}\nexport {}\n`)
  }
  const program = ts.createProgram([...byFile.keys()], {
    target: ts.ScriptTarget.ES2022,
    lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    types: ['node'],
    typeRoots: [path.join(root, 'node_modules/@types')],
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    noImplicitReturns: true,
    esModuleInterop: true,
    skipLibCheck: true,
    allowJs: true,
    checkJs: true,
    noEmit: true,
  })
  const found = ts
    .getPreEmitDiagnostics(program)
    .flatMap(({ file, start = 0, code, messageText }) => {
      const message = ts.flattenDiagnosticMessageText(messageText, '\n')
      const block = file && byFile.get(path.normalize(file.fileName))
      if (!file || !block) return [message]
      if (block.language === 'js' && code === UNKNOWN_PROPERTY) return []
      const line = block.line + file.getLineAndCharacterOfPosition(start).line
      return [`${block.page}:${line} ${message}`]
    })
  return found
}

/**
 * Says what keeps a program from running as it stands on every supported Node.js; `undefined` if nothing does. The Node.js
 * at hand is asked, and the compiler whether there is anything to translate for the oldest one.
 */
export async function syntaxProblem({ page, line, code }: CodeBlock): Promise<string | undefined> {
  const compilerOptions = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext }
  if (ts.transpileModule(code, { compilerOptions }).outputText.includes('__addDisposableResource'))
    return `${page}:${line} has \`using\`, which Node.js 20 and 22 refuse`
  await mkdir(folder, { recursive: true })
  const file = path.join(folder, `check-${page.replaceAll(/\W/g, '-')}-${line}.mjs`)
  await writeFile(file, code)
  try {
    await promisify(execFile)(NODE, ['--check', file])
    return undefined
  } catch (error) {
    return `${page}:${line} ${(error as { stderr: string }).stderr}`
  }
}

/** Runs those blocks of a page that are marked so; each must end well and print what the page says. */
export async function runBlocks(t: ExecutionContext, blocks: readonly CodeBlock[]): Promise<void> {
  const url = new URL(await serverDsn())
  // Of its own, so that nobody else notifies on the channels of the page.
  url.pathname = `/${await createDatabase(t)}`
  let printed: string | undefined
  for (const block of blocks) {
    const place = `${block.page}:${block.line}`
    if (block.language === 'sql' && block.mark === 'run') await execute(url.href, block.code)
    if (block.language === 'js' && block.mark === 'run') printed = await runProgram(block, url.href)
    if (block.mark !== 'output') continue
    if (printed === undefined) throw new Error(`${place}: nothing ran before this output`)
    t.regex(printed, outputPattern(block.code), `${place}; it printed:\n${printed}`)
    printed = undefined
  }
}

async function execute(dsn: string, sql: string): Promise<void> {
  await using pool = new ConnectionPool(dsn)
  await using connection = await pool.connection()
  await connection.executeBatch(sql)
}

let programs = 0

/** Runs a program in a process of its own, and as another account if one is given; gives what it printed. */
export async function runProgram(
  { page, line, code }: CodeBlock,
  dsn: string,
  account: Account = {},
): Promise<string> {
  await mkdir(folder, { recursive: true })
  // Of its own for each run: a file that is written while another run reads it is an empty program.
  programs += 1
  const file = path.join(folder, `${page.replaceAll(/\W/g, '-')}-${line}-${programs}.mjs`)
  await writeFile(file, code)
  const { stdout, stderr } = await promisify(execFile)(NODE, [file], {
    ...account,
    cwd: root,
    env: { ...process.env, NODE_OPTIONS: '', DATABASE_URL: dsn },
    timeout: 60_000,
  })
  return stdout + stderr
}

export function outputPattern(expected: string): RegExp {
  const pattern = expected
    .replaceAll(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`)
    .replaceAll(/\d{4,}/g, String.raw`\d+`)
    .replaceAll('…', '.*')
  return new RegExp(`^${pattern}$`)
}

export const cleanUp = () => rm(folder, { recursive: true, force: true })
