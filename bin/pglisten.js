#!/usr/bin/env node
// The command `pglisten`: finds the command that is asked for, and loads that file alone.
'use strict'

const { UsageError, describeError, EXIT, isUsage } = require('./lib/errors.js')
const { guardOutput } = require('./lib/output.js')
const { version } = require('./lib/version.js')

const COMMANDS = ['listen', 'notify', 'watch', 'durable', 'doctor', 'trigger', 'completion']

const HELP = `Usage: pglisten COMMAND [arguments]

Commands:
  listen      print the notifications of channels, or run a program for each; survives outages
  notify      send notifications, from an argument or from the lines of standard input
  watch       a live view of channels, rates, the server's sessions and its queue
  durable     durable subscriptions: install, status, publish, tail, trim, drop, failed, retry and others
  doctor      look for what keeps notifications from arriving on this server, and say what to do
  trigger     print the SQL of a trigger that notifies when rows of a table change
  completion  print a script that completes this command in bash, zsh or fish

  pglisten COMMAND --help    what a command does, with examples
  pglisten --version         the version

The server is the one of --dsn, else of DATABASE_URL, else of libpq's variables (PGHOST, PGUSER, PGPASSWORD, PGDATABASE, …).
Keep passwords out of --dsn: other users of this machine can see the arguments of a program.

Try it, in two terminals:
  npx pglisten listen orders
  npx pglisten notify orders '{"id": 7}'
`

/** @param {string[]} args @returns {Promise<number>} The exit code. */
async function main(args) {
  const [command, ...rest] = args
  if (command === '--help' || command === '-h' || command === 'help') {
    process.stdout.write(HELP)
    return EXIT.done
  }
  if (command === '--version' || command === '-v') {
    process.stdout.write(`${version()}\n`)
    return EXIT.done
  }
  const expected = `expected one of ${COMMANDS.map((name) => `\`${name}\``).join(', ')}`
  if (command === undefined) throw new UsageError(`No command: ${expected}`)
  // Only the names of the list lead to a file.
  if (!COMMANDS.includes(command)) {
    const { shown } = require('./lib/arguments.js')
    throw new UsageError(`Unknown command ${shown(command)}: ${expected}`)
  }
  // What other users see in a list of processes is no longer the arguments, which may hold a password.
  process.title = `pglisten ${command}`
  return require(`./commands/${command}.js`).run(rest)
}

guardOutput()
main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code
  },
  (error) => {
    const isWrong = isUsage(error)
    const hint = isWrong ? '\nTry `pglisten --help`, or `pglisten COMMAND --help`.' : ''
    process.stderr.write(`pglisten: ${describeError(error)}${hint}\n`)
    process.exitCode = isWrong ? EXIT.usage : EXIT.failed
  },
)
