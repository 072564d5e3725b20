// A short soak: every kind of fault once, judged by the table. `npm run soak` runs it for longer, at random.

import test from 'ava'
import { reportLines } from '../../lab/soak/soak-report.js'
import { FAULT_NAMES } from '../../lab/soak/soak-faults.js'
import { soak } from '../../lab/soak/soak.js'

test('under every kind of fault nothing is lost outside a gap, nothing comes twice, nothing out of order', async (t) => {
  t.timeout(150_000)
  const report = await soak({ seed: 20, faults: FAULT_NAMES, crowd: 20 })
  if (report.violations.length > 0) t.log(reportLines(report).join('\n'))
  t.deepEqual(report.violations, [])
  t.deepEqual(
    report.strikes.map(({ name }) => name),
    FAULT_NAMES,
  )
  t.true(report.overflowsCompared > 0, 'an overflow was compared with a consumer that saw it all')
  for (const [name, { compared, delivered }] of report.selected) {
    t.true(compared > 10 && delivered > 100, `${name}: ${compared} parts, ${delivered} delivered`)
  }
  t.is(report.selected.get('filtered')?.merged, 0)
  t.true(report.selected.get('newest')!.merged > 100, 'something waited long enough to be merged')
  t.is(report.crowd.listeners, 20)
  t.true(report.crowd.moves > 0, 'some moved to a session of their own')
  for (const { delivered, lostInsideGaps } of [...report.verdicts.values(), report.crowd.verdict]) {
    t.true(delivered > 1000, `delivered ${delivered}`)
    t.true(lostInsideGaps > 100, `lost inside gaps ${lostInsideGaps}: the faults had no effect`)
  }
})
