// `npm run fuzz`: sessions with a server one of whose messages is wrong.

import { runSeeded } from './lib/seeded-command.mjs'

const HELP = `Usage: npm run fuzz -- [options]

Each session runs statements and a listener against a real server, by a proxy that changes, cuts, doubles or swallows one of the
server's messages in each connection. Every call must end in time, with a result or an error of the package, and memory must stay
as it is.

  --sessions N  how many, 1 to 1000000 (default 10000)
  --seed S      repeat the changes of another run (default: random)
  --help        this text

Exit code: 0 when every promise was kept, 1 otherwise.`

await runSeeded({
  help: HELP,
  counted: 'sessions',
  least: 1,
  most: 1_000_000,
  usual: 10_000,
  program: ['--expose-gc', 'lab/fuzz/fuzz-main.mjs'],
})
