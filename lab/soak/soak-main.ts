// The soak's process: `npm run soak` starts it when everything is built.

import { reportLines, strikeLine } from './soak-report.js'
import { soak } from './soak.js'

const CROWD = 50

const [minutes, seed] = process.argv.slice(2).map(Number)
if (minutes === undefined || seed === undefined) throw new Error('Use `npm run soak`.')

// Ctrl-C ends the run; the servers and the writer are ended by those who guard them.
process.once('SIGINT', () => process.exit(130))
process.once('SIGTERM', () => process.exit(143))

console.log(`seed ${seed}, ${minutes} min`)
const report = await soak({
  seed,
  faults: { forMs: minutes * 60_000 },
  crowd: CROWD,
  onFault: (strike, count) => console.log(strikeLine(strike, count)),
})
console.log(`\n${reportLines(report).join('\n')}\nseed ${seed}`)
process.exitCode = report.violations.length === 0 ? 0 : 1
