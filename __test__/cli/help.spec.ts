// What every command of `pglisten` has: help that teaches, errors that say what was expected, and completion in shells.

import test from 'ava'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { root } from '../support/code-blocks.js'
import { COMMAND, pglisten } from './command.js'

const COMMANDS = ['listen', 'notify', 'watch', 'durable', 'doctor', 'trigger', 'completion']

const has = (program: string) => spawnSync(program, ['--version']).status === 0
const inBash = has('bash') ? test : test.skip
const inZsh = has('zsh') ? test : test.skip
const inFish = has('fish') ? test : test.skip

for (const name of COMMANDS) {
  test(`${name} --help teaches, by examples and exit codes, and connects to nothing`, async (t) => {
    const command = await pglisten(t, [name, '--help'], { dsn: 'postgres://127.0.0.1:1/none' })
    t.is(await command.ended(), 0)
    t.is(command.err, '')
    t.true(command.out.startsWith(`Usage: pglisten ${name} `))
    t.regex(command.out, new RegExp(`npx pglisten ${name}`))
    t.regex(command.out, /^Exit codes: 0 /m)
    // Its options are those that the command takes.
    const source = readFileSync(path.join(root, 'bin/commands', `${name}.js`), 'utf8')
    const table = /const OPTIONS = \{.*?\n\}|const OPTIONS = .*|parse\(args, \{.*?\}\)/s.exec(
      source,
    )![0]
    const taken = [...table.matchAll(/([a-z]+): (?:text|flag)/g)].map(([, option]) => option)
    for (const option of taken) t.regex(command.out, new RegExp(`--${option}\\b`), option)
    for (const [, option] of command.out.matchAll(/^ {2}--([a-z]+)/gm))
      t.true([...taken, 'dsn', 'quiet', 'help'].includes(option), option)
    for (const line of command.out.split('\n')) t.true(line.length <= 132, line)
  })

  test(`${name} refuses an option that it does not have, without a trace of the code`, async (t) => {
    const command = await pglisten(t, [name, '--nonsense'])
    t.is(await command.ended(), 2)
    t.is(command.out, '')
    t.is(command.err.split('\n').length, 3, command.err)
    t.regex(command.err, /^pglisten: Unknown option '--nonsense'\nTry /)
  })
}

test('--help names every command, and --version the version', async (t) => {
  const help = await pglisten(t, ['--help'])
  t.is(await help.ended(), 0)
  for (const name of COMMANDS) t.regex(help.out, new RegExp(`^ {2}${name} `, 'm'))
  // No variable that it names is refused.
  for (const [name] of help.out.matchAll(/\bPG[A-Z]+/g)) {
    const options = { dsn: 'postgres://127.0.0.1:1/none', env: { [name]: 'x' } }
    const command = await pglisten(t, ['notify', 'x', 'y'], options)
    await command.ended()
    t.notRegex(command.err, /not supported/)
  }
  const version = await pglisten(t, ['--version'])
  t.is(await version.ended(), 0)
  const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))
  t.is(version.out, `${manifest.version}\n`)
})

for (const [args, message] of [
  [[], /No command: expected one of `listen`/],
  [['../commands/listen'], /Unknown command/],
  [['constructor'], /Unknown command `constructor`/],
  [['listen'], /Expected a channel, or a pattern/],
  [['listen', 'x', '--json', '--raw'], /Expected one of `--json`, `--raw` and `--exec`/],
  [['listen', 'x', '--count', '1.5'], /`--count` to be an integer from 1 .*, got `1.5`/],
  [['listen', 'x', '--timeout', 'soon'], /`--timeout` to be a number from 0 .*, got `soon`/],
  [['listen', 'x', '--parallel', '2'], /expected `--exec` too/],
  [['listen', 'x', '--exec', ''], /`--exec` to name a program/],
  [['listen', 'é'.repeat(32)], /name of 1 to 63 bytes, got 64 bytes/],
  [['listen', 'x', '--dsn'], /dsn.* argument missing/],
  [['watch', '--interval', '0'], /`--interval` to be a number from 0.1/],
  [['completion', 'csh'], /`bash`, `zsh` or `fish`/],
] as const) {
  test(`refused: ${args.join(' ').slice(0, 50)}`, async (t) => {
    const command = await pglisten(t, args)
    t.is(await command.ended(), 2)
    t.is(command.out, '')
    t.regex(command.err, message)
  })
}

for (const args of [
  ['listen'],
  ['watch'],
  ['notify'],
  ['durable', 'publish'],
  ['durable', 'tail'],
]) {
  test(`${args.join(' ')} takes the address of a server for no channel, and does not show it`, async (t) => {
    for (const rest of [
      ['postgres://a:hunter2@b/c'],
      ['--', 'postgres://a:hunter2@b/c'],
      ['--', 'postgres://a:hunter2@b/*'],
      ['postgress://a:hunter2@b/c'],
      ['host=b password=hunter2'],
      ['host=b dbname=hunter2'],
    ]) {
      if (rest[1]?.endsWith('*') && !['listen', 'watch'].includes(args[0]!)) continue
      const command = await pglisten(t, [...args, ...rest])
      t.is(await command.ended(), 2, rest.join(' '))
      t.is(command.out, '')
      t.regex(command.err, /the address of the server after `--dsn`/)
      t.false(command.err.includes('hunter2'))
    }
  })
}

for (const args of [
  ['listen', 'c', '--timeout', '3600'],
  ['watch', 'c', '--timeout', '3600'],
  ['notify', 'c'],
  ['durable', 'status'],
  ['durable', 'tail', 'c', '--timeout', '3600'],
  ['doctor'],
]) {
  test(`a wrong --dsn of ${args.join(' ')} is a wrong argument, at once`, async (t) => {
    for (const dsn of ['foo://bar', 'postgres://a:hunter2@b/c?nonsense=1']) {
      const command = await pglisten(t, [...args, '--dsn', dsn])
      t.is(await command.ended(), 2)
      t.is(command.out, '')
      t.regex(command.err, /`dsn`/)
      t.false(command.err.includes('hunter2'))
    }
  })
}

/** The script of a shell. */
const completion = (shell: string) =>
  spawnSync(process.execPath, [COMMAND, 'completion', shell], { encoding: 'utf8' }).stdout

inBash('bash completes commands and options', (t) => {
  const ask = (...words: string[]) => {
    const line = words.map((word) => `'${word}'`).join(' ')
    const program = `${completion('bash')}
      COMP_WORDS=(pglisten ${line}); COMP_CWORD=${words.length}; _pglisten; echo "\${COMPREPLY[*]}"`
    return spawnSync('bash', ['--norc'], { input: program, encoding: 'utf8' }).stdout.trim()
  }
  t.is(ask('li'), 'listen')
  t.is(ask('listen', '--ex'), '--exec --exact')
  t.is(ask('doctor', '--i'), '--idle')
  t.is(ask('completion', 'z'), 'zsh')
  t.is(ask('listen', 'orders', '--no'), '--no-gaps')
})

inZsh('zsh reads its script, and offers commands and options', (t) => {
  const ask = (words: string, current: number) => {
    // Outside of a line there is no completion system: what it would be handed is printed.
    const program = `compdef() { }
      _describe() { print -rl -- "\${(@P)2}" }
      ${completion('zsh')}
      words=(${words}); CURRENT=${current}; _pglisten`
    const { stdout, stderr } = spawnSync('zsh', ['-f'], { input: program, encoding: 'utf8' })
    t.is(stderr, '')
    return stdout.trim().split('\n')
  }
  t.deepEqual(
    ask(`pglisten ''`, 2).map((line) => line.split(':')[0]),
    COMMANDS,
  )
  const options = ask(`pglisten listen ''`, 3)
  t.true(options.some((line) => line.startsWith('--exec:run it for each notification')))
  t.true(options.some((line) => line.startsWith(String.raw`--json:a line of JSON\: {`)))
})

inFish('fish completes commands and options', (t) => {
  const ask = (line: string) => {
    const program = `${completion('fish')}\ncomplete -C '${line}'`
    const { stdout, stderr } = spawnSync('fish', ['--no-config', '-c', program], {
      encoding: 'utf8',
    })
    t.is(stderr, '')
    return stdout
      .trim()
      .split('\n')
      .map((one) => one.split('\t')[0])
  }
  t.deepEqual(ask('pglisten li'), ['listen'])
  t.deepEqual(
    ask('pglisten listen --ex').toSorted((a, b) => a!.localeCompare(b!)),
    ['--exact', '--exec'],
  )
  t.deepEqual(ask('pglisten completion z'), ['zsh'])
})
