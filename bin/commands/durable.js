// @ts-check
// `pglisten durable`: what durable subscriptions need in a database, what is told of them, and events to and from them.
'use strict'

const {
  COMMON,
  COMMON_HELP,
  checkAddress,
  flag,
  parse,
  shown,
  text,
} = require('../lib/arguments.js')
const { openPool, warnOfPassword } = require('../lib/connection.js')
const { EXIT, UsageError } = require('../lib/errors.js')
const { teller } = require('../lib/output.js')

const HELP = `Usage: pglisten durable ACTION [arguments] [options]

Durable subscriptions keep their place in a table: what was published while nobody was there is handled later, once, in order
(docs/durable.md). This looks after them, publishes events, and prints them.

Actions:
  install                  create what they need, the schema pglisten, or bring it to the present version
  uninstall                remove it, with all events and positions; needs --yes
  status                   what is installed, and each subscription with what it has not done
  publish CHANNEL [TEXT]   publish an event; with - one for each line of standard input
  tail CHANNEL…            print events as lines of JSON, from now on, until Ctrl-C; its subscription goes with it
  trim                     remove events that every subscription has done
  adopt                    make the positions of a restored dump mean here what they meant there
  drop NAME                remove a subscription
  failed NAME              the events that a subscription has given up, as lines of JSON
  retry NAME [ID…]         have those tried again; without ids all of them

  npx pglisten durable install --publishers shop --subscribers billing
  npx pglisten durable publish orders '{"id": 7}' --key customer-1
  npx pglisten durable tail orders --from beginning | jq .payload
  npx pglisten durable tail orders --name audit        # a subscription that stays, and goes on where it was
  npx pglisten durable status --json | jq '.subscriptions[].lag'

Options:
  --publishers A,B   install: roles that may publish
  --subscribers A,B  install: roles that may subscribe, and publish
  --retention SEC    install: how long events stay that every subscription has done (a day at first); never: until trim is called
  --yes              uninstall: do it
  --json             install, uninstall, status, publish, trim, adopt, drop, retry: one object
  --key KEY          publish: what the event is about
  --whole            publish: with - all of standard input is one payload
  --name NAME        tail: the subscription, which stays; made where there is none
  --from WHERE       tail: where a new subscription begins: now (default), or beginning, the oldest event that is kept
  --count N          tail: end after so many events
  --timeout SEC      tail: end after so many seconds
  --keep SEC         trim: only what is older; 0: all that is done (what the retention of install says; needed where that is never)
${COMMON_HELP}

tail stays through outages; standard error says when it listens, when the connection is lost and when it is back.
An event is acknowledged once its line was taken by the reader: with --name nothing is lost when the reader or this command is
killed, and the last lines may come again, as they may to a reader that stands still for longer than half a minute. Without --name
the subscription is dropped at the end; one that is left behind by a kill is dropped after an hour by whoever runs another one.

Exit codes: 0 done; 1 it could not be done: no connection, nothing installed, no such subscription; of status also: not installed,
another version, or positions to be adopted; 2 wrong arguments; 124 the time was over before --count was reached; 129, 130, 143 a
signal came before that.
`

const OPTIONS = {
  ...COMMON,
  ...{ json: flag, yes: flag, whole: flag, publishers: text, subscribers: text, retention: text },
  ...{ key: text, name: text, from: text, count: text, timeout: text, keep: text },
}

/** @typedef {ReturnType<typeof parse<typeof OPTIONS>>['values']} Values */

/**
 * What an action gets: its arguments, those that follow `--` among them, and how many of them stand before that.
 * @typedef {{ args: string[], before: number, values: Values, tell: (line: string) => void, tellError: (line: string) => void }} Call
 */

/**
 * @typedef {object} Action
 * @property {() => (pool: import('pglisten').ConnectionPool, call: Call) => Promise<number>} load
 * @property {string} takes Its arguments, as the usage has them.
 * @property {[least: number, most: number]} count
 * @property {(keyof Values)[]} [options]
 * @property {(call: Call) => void} [check] Refuses arguments, before anything connects.
 */

const admin = () => require('../durable/admin.js')
const publish = () => require('../durable/publish.js')
const tail = () => require('../durable/tail.js')

/** @type {Record<string, Action>} */
const TABLE = {
  install: {
    load: () => admin().install,
    takes: '',
    count: [0, 0],
    options: ['publishers', 'subscribers', 'retention', 'json'],
    check: ({ values }) => void admin().installOptions(values),
  },
  uninstall: {
    load: () => admin().uninstall,
    takes: '',
    count: [0, 0],
    options: ['yes', 'json'],
    check: ({ values }) => {
      if (values.yes !== true)
        throw new UsageError('It removes all events and positions: expected `--yes`')
    },
  },
  status: { load: () => admin().status, takes: '', count: [0, 0], options: ['json'] },
  publish: {
    load: () => publish().run,
    takes: 'CHANNEL [TEXT]',
    count: [1, 2],
    options: ['key', 'whole', 'json'],
    check: (call) => publish().check(call),
  },
  tail: {
    load: () => tail().run,
    takes: 'CHANNEL…',
    count: [1, Infinity],
    options: ['name', 'from', 'count', 'timeout'],
    check: (call) => void tail().settingsOf(call),
  },
  trim: {
    load: () => admin().trim,
    takes: '',
    count: [0, 0],
    options: ['keep', 'json'],
    check: ({ values }) => void admin().keepOf(values),
  },
  adopt: { load: () => admin().adopt, takes: '', count: [0, 0], options: ['json'] },
  drop: { load: () => admin().drop, takes: 'NAME', count: [1, 1], options: ['json'] },
  failed: { load: () => admin().failed, takes: 'NAME', count: [1, 1] },
  retry: {
    load: () => admin().retry,
    takes: 'NAME [ID…]',
    count: [1, Infinity],
    options: ['json'],
    check: ({ args }) => void admin().idsOf(args.slice(1)),
  },
}
const ACTIONS = new Map(Object.entries(TABLE))

/** @param {string[]} args @returns {Promise<number>} The exit code. */
async function run(args) {
  const { values, positionals, rest = [] } = parse(args, OPTIONS)
  if (values.help) {
    process.stdout.write(HELP)
    return EXIT.done
  }
  const [name, ...before] = positionals
  const expected = `expected one of ${[...ACTIONS.keys()].map((one) => `\`${one}\``).join(', ')}`
  if (name === undefined) throw new UsageError(`No action: ${expected}`)
  const action = ACTIONS.get(name)
  if (action === undefined) checkAddress(name)
  if (action === undefined) throw new UsageError(`Unknown action ${shown(name)}: ${expected}`)
  const tell = teller(values.quiet)
  const tellError = teller(false)
  const call = { args: [...before, ...rest], before: before.length, values, tell, tellError }
  checkCall(name, action, call)
  warnOfPassword(values.dsn, tell)
  // Work, the bell, and what is looked at beside them.
  const pool = openPool(values.dsn, `durable ${name}`, { maxDbPoolSize: 3 })
  try {
    return await action.load()(pool, call)
  } catch (error) {
    throw inWordsOfCommands(error)
  } finally {
    await pool.close({ timeoutMs: 1000 })
  }
}

/** Has an error name the command that helps, where the library names its function. @param {unknown} error */
function inWordsOfCommands(error) {
  if (error instanceof Error)
    error.message = error.message.replace(/`pool\.durable\.(\w+)\(\)`/g, '`pglisten durable $1`')
  return error
}

/** @param {string} name @param {Action} action @param {Call} call */
function checkCall(name, { takes, count: [least, most], options = [], check }, call) {
  const { args, values } = call
  if (args.length < least || args.length > most) {
    const usage = takes === '' ? 'no argument' : `\`${takes}\``
    throw new UsageError(`\`durable ${name}\` takes ${usage}, got ${args.length} arguments`)
  }
  for (const option of /** @type {(keyof Values)[]} */ (Object.keys(values))) {
    if (!(option in COMMON) && !options.includes(option))
      throw new UsageError(`\`--${option}\` is no option of \`durable ${name}\``)
  }
  check?.(call)
}

module.exports = { run }
