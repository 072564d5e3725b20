// Listening to signals: the one place that adds listeners to them, so that each listener comes off again. A signal often
// lives as long as the program, and keeps what its listeners reach.

/** Takes a listener off its signal. A second call has no effect. */
export type Unwatch = () => void

/** Of whoever watches no signal. */
export const nothing: Unwatch = () => {}

/** Takes the listeners of owners off that were collected as garbage. */
const abandoned = new FinalizationRegistry<Unwatch>((unwatch) => unwatch())

/**
 * Calls `act` with the signal's reason when a signal is aborted that is not aborted yet. The caller must call the
 * returned function as soon as an abort is of no interest any more, on every way out.
 */
export function watchAbort(
  signal: AbortSignal | undefined,
  act: (reason: unknown) => void,
): Unwatch {
  if (!signal) return nothing
  const watch = watches.get(signal) ?? startWatch(signal)
  // A call of its own for each caller, also where two act alike.
  const call = () => act(signal.reason)
  watch.calls.add(call)
  return () => {
    watch.calls.delete(call)
    if (watch.calls.size > 0) return
    signal.removeEventListener('abort', watch.listener)
    if (watches.get(signal) === watch) watches.delete(signal)
  }
}

/** What waits for one signal. Node warns of a leak when a signal has more than ten listeners, so it gets one. */
interface Watch {
  calls: Set<() => void>
  listener: () => void
}

const watches = new WeakMap<AbortSignal, Watch>()

function startWatch(signal: AbortSignal): Watch {
  const calls: Watch['calls'] = new Set()
  const listener = () => {
    for (const call of calls) call()
  }
  const watch = { calls, listener }
  signal.addEventListener('abort', listener, { once: true })
  watches.set(signal, watch)
  return watch
}

/**
 * Like {@link watchAbort}, for an owner that the signal must not keep alive: `act` gets the owner, and must not reach it
 * otherwise. The collection of the owner takes the listener off too.
 */
export function watchAbortFor<Owner extends object>(
  signal: AbortSignal | undefined,
  owner: Owner,
  act: (owner: Owner, reason: unknown) => void,
): Unwatch {
  if (!signal) return nothing
  const held = new WeakRef(owner)
  const remove = watchAbort(signal, (reason) => {
    const present = held.deref()
    if (present) act(present, reason)
  })
  abandoned.register(owner, remove, remove)
  return () => {
    abandoned.unregister(remove)
    remove()
  }
}
