// What both kinds of run share with the terminal and the machine that they run on.

import os from 'node:os'

/** Says what is being done: in one line of a terminal, which each text replaces, or in a line for each. @param {string} text */
export function progress(text) {
  process.stderr.write(process.stderr.isTTY ? `\r\u001B[K${text}` : `${text}\n`)
}

/** Processors, memory and system. */
export function machine() {
  const [cpu] = os.cpus()
  return `${os.cpus().length} × ${cpu?.model ?? 'unknown'}, ${Math.round(os.totalmem() / 2 ** 30)} GiB, ${os.type()} ${os.release()}`
}
