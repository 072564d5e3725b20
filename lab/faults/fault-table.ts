// Lets every fault strike several times, and prints how long it took to be noticed and got over, as Markdown.

import { Arena } from './arena.js'
import { FAULTS, type Fault, HEARTBEAT } from './faults.js'
import { observe, type Observation } from './witness.js'

/** Those of the options: 10 s and 5 s. */
const DEFAULT_HEARTBEAT = { intervalMs: 10_000, timeoutMs: 5000 }

/** The server, as it is away for longer. */
function away(seconds: number): Fault {
  return {
    name: `server away for ${seconds} s`,
    isSilent: false,
    sqlState: '57P01',
    restarts: true,
    strike: ({ server }) => server.halt('fast'),
    async heal({ server }) {
      await new Promise((resolve) => setTimeout(resolve, seconds * 1000))
      await server.start()
    },
  }
}

const range = (values: number[]): string => {
  const [least, most] = [Math.round(Math.min(...values)), Math.round(Math.max(...values))]
  return least === most ? `${least}` : `${least}–${most}`
}

function row(fault: Fault, seen: Observation[]): string {
  const { gap } = seen[0]!
  const cells = [
    fault.name,
    fault.isSilent ? 'heartbeat' : 'at once',
    range(seen.map(({ noticedMs }) => noticedMs)),
    range(seen.map(({ recoveredMs }) => recoveredMs)),
    range(seen.map((one) => one.gap.attempts)),
    `${gap.reason}, ${gap.sqlState ?? 'no SQLSTATE'}${gap.serverRestarted === true ? ', restarted' : ''}`,
    seen.every(({ violations }) => violations.length === 0) ? '0' : 'WRONG',
  ]
  return `| ${cells.join(' | ')} |`
}

const times = Number(process.argv[2] ?? 3)
const arena = await Arena.open()
let failed = false
try {
  console.log(
    `Heartbeat for the silent ones: every ${HEARTBEAT.intervalMs} ms, ${HEARTBEAT.timeoutMs} ms each; attempts at most 400 ms apart; each fault ${times} times.\n`,
  )
  console.log(
    '| fault | noticed by | noticed (ms) | back (ms) | attempts | gap | lost outside of it |',
  )
  console.log('| --- | --- | --- | --- | --- | --- | --- |')
  for (const fault of [...FAULTS, away(60)]) {
    const seen: Observation[] = []
    for (let time = 0; time < (fault.name.includes('60 s') ? 1 : times); time += 1) {
      const heartbeat = fault.isSilent ? HEARTBEAT : DEFAULT_HEARTBEAT
      const one = await observe(arena, { ...fault, options: { heartbeat, ...fault.options } })
      seen.push(one)
      if (one.violations.length > 0) {
        failed = true
        console.error(fault.name, one.violations)
      }
    }
    console.log(row(fault, seen))
  }
} finally {
  await arena.close()
}
process.exitCode = failed ? 1 : 0
