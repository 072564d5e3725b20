// Waiting for something, always with a deadline: no test sleeps and hopes.

import { setTimeout as sleep } from 'node:timers/promises'

const DEADLINE_MS = 15_000
const POLL_MS = 10

export interface WaitOptions {
  timeoutMs?: number
  /** What is waited for, for the error. */
  what?: string
}

/** Polls until the condition gives something truthy, and gives that. */
export async function waitFor<Value>(
  condition: () => Value | Promise<Value>,
  { timeoutMs = DEADLINE_MS, what = 'the condition' }: WaitOptions = {},
): Promise<Exclude<Value, false | 0 | 0n | '' | null | undefined>> {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    const value = await condition()
    if (value) return value as Exclude<Value, false | 0 | 0n | '' | null | undefined>
    if (performance.now() > deadline) throw new Error(`Waited ${timeoutMs} ms in vain for ${what}`)
    await sleep(POLL_MS)
  }
}

/** The promise, but rejecting after the deadline. */
export async function within<Value>(
  promise: PromiseLike<Value>,
  { timeoutMs = DEADLINE_MS, what = 'a promise' }: WaitOptions = {},
): Promise<Value> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`Waited ${timeoutMs} ms in vain for ${what}`)),
      timeoutMs,
    )
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/** The next `count` items. The iteration stays open. */
export async function collect<Item>(
  iterable: AsyncIterable<Item>,
  count: number,
  { timeoutMs = DEADLINE_MS }: WaitOptions = {},
): Promise<Item[]> {
  const iterator = iterable[Symbol.asyncIterator]()
  const items: Item[] = []
  while (items.length < count) {
    const what = `item ${items.length + 1} of ${count}`
    const result = await within(iterator.next(), { timeoutMs, what })
    if (result.done) throw new Error(`The iteration ended before ${what}`)
    items.push(result.value)
  }
  return items
}

/** Blocks the event loop, without taking a processor. */
export function block(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}

/** A promise, and what settles it. */
export interface Deferred<Value = void> {
  promise: Promise<Value>
  resolve: (value: Value) => void
  reject: (error: unknown) => void
}

export function deferred<Value = void>(): Deferred<Value> {
  let resolve!: (value: Value) => void
  let reject!: (error: unknown) => void
  const promise = new Promise<Value>((onResolved, onRejected) => {
    resolve = onResolved
    reject = onRejected
  })
  return { promise, resolve, reject }
}
