// Processes of a test's own.

import { fork, type ChildProcess } from 'node:child_process'

const children = new Set<ChildProcess>()

// One that is frozen goes on without us, and whoever reads the output that it holds open waits for ever.
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL')
})

/** Ends a child with this process, also when that ends by an error. */
export function tied<Child extends ChildProcess>(child: Child): Child {
  children.add(child)
  child.once('exit', () => children.delete(child))
  return child
}

/** Starts a module with its settings, as JSON. It ends with this process. */
export function forked(module: string, settings: object): ChildProcess {
  return tied(fork(module, [JSON.stringify(settings)], { execArgv: [] }))
}

/** Sends a message, unless the child is gone or about to be. */
export function tell(child: ChildProcess, message: string): void {
  if (child.connected) child.send(message, () => {})
}
