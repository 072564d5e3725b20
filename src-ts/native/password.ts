// The password as a function of the user's: Rust asks for one for each new connection, and the function is called here, in
// the environment to which it belongs.
import { NativePasswordQuestions } from '#native'
import { bridge, type Consumer } from './bridge.js'
import { RETRY_MS, warnOfDefect } from './defect.js'
import { setTimeout } from './timers.js'

/** The askers of native pools and listeners: each is kept for as long as connections of one of these may ask. */
const kept = new WeakMap<object, PasswordAsker>()

/** Calls a function for passwords. What it throws, or gives instead of a string, goes nowhere: it may hold a secret. */
export class PasswordAsker implements Consumer {
  /** The native half, which Rust asks. */
  readonly handle: NativePasswordQuestions
  readonly #ask: () => unknown

  constructor(ask: () => unknown) {
    this.#ask = ask
    this.handle = new NativePasswordQuestions(bridge.handle, bridge.register(this))
  }

  /** Keeps this asker from being collected before `owner`. */
  keepWith(owner: object): void {
    kept.set(owner, this)
  }

  onReady(): void {
    let questions: number[]
    try {
      questions = this.handle.take()
    } catch (error) {
      warnOfDefect(error)
      setTimeout(() => this.onReady(), RETRY_MS).unref()
      return
    }
    // A question that gets no answer is over when its attempt to connect has taken too long.
    for (const question of questions) this.#answer(question).catch(warnOfDefect)
  }

  async #answer(question: number): Promise<void> {
    const ask = this.#ask
    let password: unknown
    try {
      password = await ask()
    } catch {
      this.handle.answer(question, null, 'threw')
      return
    }
    const isPassword = typeof password === 'string' && !password.includes('\0')
    this.handle.answer(question, isPassword ? (password as string) : null, 'noString')
  }
}

/** Keeps the asker of a native pool, if it has one, from being collected before `owner` too. */
export function keepAskerOf(pool: object, owner: object): void {
  kept.get(pool)?.keepWith(owner)
}
