// @ts-check
// `pglisten completion`: a script that completes the command in a shell. Its words are read from the help texts, so that they
// cannot be others than those.
'use strict'

const { spawnSync } = require('node:child_process')
const path = require('node:path')
const { flag, parse } = require('../lib/arguments.js')
const { EXIT, UsageError } = require('../lib/errors.js')

const HELP = `Usage: pglisten completion bash|zsh|fish

Prints a script that completes pglisten's commands and options in a shell:

  bash   source <(npx pglisten completion bash)
  zsh    source <(npx pglisten completion zsh)      # after compinit
  fish   npx pglisten completion fish | source

It completes \`pglisten\`, which has to be in the PATH: installed with -g, or as an alias for npx pglisten.

Options:
  --help             show this text

Exit codes: 0 printed, 2 wrong arguments.
`

/** @typedef {{ name: string, summary: string, options: [option: string, summary: string][] }} Described */

/** @param {string[]} args @returns {number} The exit code. */
function run(args) {
  const { values, positionals } = parse(args, { help: flag })
  if (values.help) {
    process.stdout.write(HELP)
    return EXIT.done
  }
  const [shell = '', ...more] = positionals
  const print = SHELLS.get(shell)
  if (print === undefined || more.length > 0)
    throw new UsageError('Expected the name of a shell: `bash`, `zsh` or `fish`')
  process.stdout.write(print(described()))
  return EXIT.done
}

/** @param {string[]} args */
function helpOf(...args) {
  const command = path.join(__dirname, '..', 'pglisten.js')
  return spawnSync(process.execPath, [command, ...args, '--help'], { encoding: 'utf8' }).stdout
}

/** The commands and their options, as the help texts have them. @returns {Described[]} */
function described() {
  const commands = [...helpOf().matchAll(/^ {2}([a-z]+) {2,}(\S.*)$/gm)]
  return commands.map(([, name = '', summary = '']) => {
    const lines = helpOf(name).matchAll(
      /^ {2}(--[a-z]+)(?:, (--[a-z-]+))?(?: [A-Z,|a-z]+)? {2,}(\S.*)$/gm,
    )
    /** @type {[string, string][]} */
    const options = []
    for (const [, first = '', second, text = ''] of lines) {
      options.push([first, text])
      if (second !== undefined) options.push([second, text])
    }
    return { name, summary, options }
  })
}

/** @param {Described[]} commands */
const bash = (commands) => `# pglisten completion bash
_pglisten() {
  local words current="\${COMP_WORDS[COMP_CWORD]}"
  case "\${COMP_CWORD}:\${COMP_WORDS[1]}" in
    1:*) words="${commands.map(({ name }) => name).join(' ')} --help --version" ;;
${commands
  .map(
    ({ name, options }) =>
      `    *:${name}) words="${[...extra(name), ...options.map(([option]) => option)].join(' ')}" ;;`,
  )
  .join('\n')}
    *) words="" ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _pglisten pglisten
`

/** @param {Described[]} commands */
const zsh = (commands) => `#compdef pglisten
# pglisten completion zsh
_pglisten() {
  local -a choices
  if (( CURRENT == 2 )); then
    choices=(${commands.map(({ name, summary }) => zshWord(name, summary)).join(' ')})
  else
    case "$words[2]" in
${commands
  .map(({ name, options }) => {
    const all = [
      ...extra(name).map((one) => zshWord(one, name === 'durable' ? 'an action' : 'a shell')),
      ...options.map(([option, summary]) => zshWord(option, summary)),
    ]
    return `      ${name}) choices=(${all.join(' ')}) ;;`
  })
  .join('\n')}
    esac
  fi
  _describe 'pglisten' choices
}
compdef _pglisten pglisten
`

/** @param {Described[]} commands */
const fish = (commands) => `# pglisten completion fish
complete -c pglisten -f
${commands
  .map(
    ({ name, summary }) =>
      `complete -c pglisten -n __fish_use_subcommand -a ${name} -d ${quoted(summary)}`,
  )
  .join('\n')}
${commands
  .flatMap(({ name, options }) => [
    ...extra(name).map(
      (one) => `complete -c pglisten -n '__fish_seen_subcommand_from ${name}' -a ${one}`,
    ),
    ...options.map(
      ([option, summary]) =>
        `complete -c pglisten -n '__fish_seen_subcommand_from ${name}' -l ${option.slice(2)} -d ${quoted(summary)}`,
    ),
  ])
  .join('\n')}
`

/** What a command takes besides options, where that is one of few words. @param {string} command */
const extra = (command) => {
  if (command === 'completion') return [...SHELLS.keys()]
  if (command !== 'durable') return []
  const [, actions = ''] = /Actions:\n(.*?)\n\n/s.exec(helpOf(command)) ?? []
  return [...actions.matchAll(/^ {2}([a-z]+)/gm)].map(([, name = '']) => name)
}

/** In single quotes; a quote within becomes an apostrophe, which no shell reads. @param {string} text */
const quoted = (text) => `'${text.replaceAll("'", '’')}'`

/** @param {string} word @param {string} summary */
const zshWord = (word, summary) => quoted(`${word}:${summary.replaceAll(':', '\\:')}`)

/** @type {Map<string, (commands: Described[]) => string>} */
const SHELLS = new Map([
  ['bash', bash],
  ['zsh', zsh],
  ['fish', fish],
])

module.exports = { run }
