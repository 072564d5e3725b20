// What the command says while it runs: lines on standard error, or JSON on standard output.
import { textOf } from '../errors.js'
import type { RelayRole } from '../diagnostics.js'

/** The same warning is said once in this time, with how often it came. */
const REPEAT_MS = 5000

const ROLES: Record<RelayRole, string> = {
  connecting: 'connects',
  standby: 'stands by: another relay leads',
  leading: 'leads',
  stopped: 'has ended',
}

/** See the file. */
export class Narrator {
  readonly #isJson: boolean
  readonly #isQuiet: boolean
  readonly #said = new Map<string, { at: number; since: number }>()

  constructor({ isJson, isQuiet }: { isJson: boolean; isQuiet: boolean }) {
    this.#isJson = isJson
    this.#isQuiet = isQuiet
    // A reader that has gone is none of the relay's business.
    for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})
  }

  /** Says something that is as it should be. */
  say(event: string, message: string, more: object = {}): void {
    if (this.#isQuiet) return
    if (this.#isJson) this.#json({ event, message, ...more })
    else process.stderr.write(`pglisten-relay-nats: ${message}\n`)
  }

  role(role: RelayRole, epoch: string | undefined, reason: string | undefined): void {
    const why = reason === undefined ? '' : `: ${printable(reason)}`
    const about = epoch === undefined ? '' : ` (epoch ${epoch})`
    this.say('role', `${ROLES[role]}${about}${why}`, { role, epoch, reason })
  }

  warn(message: string, error: unknown): void {
    const cause = error === undefined ? '' : `: ${printable(textOf(error))}`
    const text = `${message}${cause}`
    const now = Date.now()
    const before = this.#said.get(text)
    if (before && now - before.at < REPEAT_MS) {
      before.since += 1
      return
    }
    if (this.#said.size > 1000) this.#said.clear()
    this.#said.set(text, { at: now, since: 0 })
    const times = before && before.since > 0 ? ` (${before.since} times since)` : ''
    this.say('warning', `${text}${times}`)
  }

  /** Says why the command fails, also if it is quiet. */
  fail(error: unknown): void {
    const { code } = (error ?? {}) as { code?: unknown }
    const about = typeof code === 'string' ? ` (${code})` : ''
    const message = `${printable(textOf(error))}${about}`
    if (this.#isJson) this.#json({ event: 'error', message })
    process.stderr.write(`pglisten-relay-nats: ${message}\n`)
  }

  #json(line: object): void {
    process.stdout.write(`${JSON.stringify({ time: new Date().toISOString(), ...line })}\n`)
  }
}

/** Text that cannot steer a terminal. */
// eslint-disable-next-line no-control-regex -- those are what is to be replaced.
const printable = (text: string) => text.replaceAll(/[\u0000-\u001F\u007F-\u009F]+/g, ' ')
