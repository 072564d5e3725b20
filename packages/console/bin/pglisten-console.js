#!/usr/bin/env node
// The command `pglisten-console`: serves the page until a signal ends it. What it prints holds no payload.

import { readFileSync } from 'node:fs'
import { HELP, UsageError, isLoopback, parseOptions } from '../src/options.js'
import { ConsoleService } from '../src/service.js'
import { ConsoleWeb } from '../src/web.js'

/** Text that cannot drive a terminal: servers and proxies are quoted. @param {string} text */
const printable = (text) => text.replaceAll(/[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}]+/gu, ' ')

/** @param {import('../src/options.js').ConsoleOptions} options */
async function serve(options) {
  const service = new ConsoleService(options, (line) => console.log(printable(line)))
  const web = new ConsoleWeb(service)
  const end = async () => {
    web.close()
    await service.close()
  }
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
    process.once(signal, () => void end())
  }
  try {
    console.log(await web.listen(options))
    if (!isLoopback(options.host)) {
      console.log(
        `Served on ${options.host}: whoever has the address above can read every payload.`,
      )
    }
    await service.run()
  } finally {
    await end()
  }
}

// A reader that has gone is none of the console's business.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})

try {
  const parsed = parseOptions(process.argv.slice(2), process.env)
  if ('help' in parsed) process.stdout.write(HELP)
  else if ('version' in parsed) {
    const file = new URL('../package.json', import.meta.url)
    console.log(JSON.parse(readFileSync(file, 'utf8')).version)
  } else await serve(parsed.options)
} catch (error) {
  const text = error instanceof Error ? error.message : String(error)
  console.error(`pglisten-console: ${printable(text)}`)
  process.exitCode = error instanceof UsageError ? 2 : 1
}
