// `npm run demo`: brings the clone to where the demo can run, gives it a server, and cleans up however it ends.

import { HELP, parseOptions } from '../examples/demo/options.mjs'
import { onInterrupt } from './lib/run.mjs'
import { runMain, setup } from './lib/setup.mjs'

/** Newest first, because what came last stands on what came before. @type {(() => unknown)[]} */
const cleanUps = []
const interruption = new AbortController()
const { signal } = interruption

async function cleanUp() {
  for (let work = cleanUps.pop(); work !== undefined; work = cleanUps.pop()) {
    try {
      await work()
    } catch (error) {
      console.error(error)
    }
  }
}

async function demo() {
  const options = parseOptions(process.argv.slice(2))
  if ('problem' in options) {
    console.error(`${options.problem}\n\n${HELP}`)
    return 2
  }
  if (options.help) {
    console.log(HELP)
    return 0
  }
  onInterrupt(() => {
    interruption.abort()
    return cleanUp()
  })
  try {
    await setup()
    const { runDemo } = await import('../examples/demo/main.mjs')
    const dsn = options.dsn ?? (await disposableServer())
    return await runDemo({ ...options, dsn }, (work) => cleanUps.push(work), signal)
  } catch (error) {
    // What is torn down fails in the end; the user knows why.
    if (signal.aborted) return await new Promise(() => {})
    throw error
  } finally {
    if (!signal.aborted) await cleanUp()
  }
}

async function disposableServer() {
  const { startServer } = await import('../lab/server/dev-server.mjs')
  const server = await startServer()
  cleanUps.push(() => server.stop())
  return server.dsn
}

await runMain(demo)
