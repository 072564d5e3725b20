// `npm run mixed`: operations of all kinds by chance, and what they leave behind.

import { runSeeded } from './lib/seeded-command.mjs'

const HELP = `Usage: npm run mixed -- [options]

Runs statements of all kinds, cursors, copies and transactions by chance, among them such that fail, are cancelled, end early or lose their
backend. Each judges its own outcome. Between a fifth of the operations and the end memory, file descriptors and threads must not grow,
and afterwards the pool and the server are idle.

  --operations N  how many, 100 to 10000000 (default 100000)
  --seed S        repeat the operations of another run (default: random)
  --help          this text

Exit code: 0 when every promise was kept, 1 otherwise.`

await runSeeded({
  help: HELP,
  counted: 'operations',
  least: 100,
  most: 10_000_000,
  usual: 100_000,
  program: ['--expose-gc', '--import=tsx', 'lab/mixed/mixed-main.ts'],
})
