// `npm run bench`: this package beside other clients and the bare socket, or beside another commit of itself; installs and
// builds what that needs.

import { onInterrupt, root, run } from '../lib/run.mjs'
import { SetupError, runMain, setup } from '../lib/setup.mjs'
import { installPeers } from '../lib/install-peers.mjs'
import { baselineOf, buildBaseline, stopBuilding } from '../../bench/speed/baseline.mjs'
import { comparedCases } from '../../bench/speed/compared-cases.mjs'
import { readOptions } from '../../bench/speed/options.mjs'

await runMain(async () => {
  const options = readOptions()
  const { against = options.beside } = options
  onInterrupt(stopBuilding)
  if (against !== undefined) {
    // A commit or a case that does not exist is told before minutes are spent on building.
    await baselineOf(against)
    if (options.against !== undefined) comparedCases(options)
  }
  await setup()
  await installPeers()
  const build = ['build', '--release', '--locked', '--package', 'pglisten-bench-raw']
  const { ok, output } = await run('cargo', build, { output: 'keep' })
  if (!ok) throw new SetupError(`Building the raw ends of the wire failed:\n${output}`)
  if (against !== undefined) await buildBaseline(against)
  const alone = options.against === undefined ? 'speed/main.mjs' : 'speed/against.mjs'
  const program = options.sessions ? 'sessions/main.mjs' : alone
  const bench = await run(process.execPath, [`${root}bench/${program}`, ...process.argv.slice(2)])
  return bench.ok ? 0 : 1
})
