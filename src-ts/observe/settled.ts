// Tells how long callbacks take that return promises: of as many as can be told at little cost.
import { setTimeout } from '../native/timers.js'
import { settledChannel, type SettledMessage } from './channels.js'

/** The most messages of a window. Whoever records one needs some microseconds: for all of them, one percent of the time. */
const MOST = 100
/** The length of a window, in milliseconds. */
const WINDOW_MS = 100

let left = MOST
let windowEnds = 0
let isFull = false

/** Whether somebody is told of the next callback. */
export const areSettledTold = (): boolean => settledChannel.hasSubscribers && !isFull

/** Tells of a callback. What is beyond the bound of the window is not told. */
export function tellSettled(message: SettledMessage): void {
  const now = performance.now()
  if (now >= windowEnds) {
    windowEnds = now + WINDOW_MS
    left = MOST
  }
  if (left === 0) return
  left -= 1
  settledChannel.publish(message)
  if (left > 0) return
  isFull = true
  setTimeout(() => (isFull = false), windowEnds - now).unref()
}
