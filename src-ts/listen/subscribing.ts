// Lets the running session follow what changes in a listener's subscriptions.
import type { Registration, Subscription, Subscriptions } from '../deliver/subscriptions.js'
import { ListenerClosedError, ListenerOverflowError, ListenerTimeoutError } from '../errors.js'
import { settledWithin } from '../native/bounded-wait.js'
import type { Run } from './run.js'
import type { WaitOptions } from '../options/wait.js'

/** Of a listener without a run, or with one that has ended: it has no buffers. */
const NO_NUMBERS: ReadonlySet<number> = new Set()

/**
 * Asks the running session to LISTEN, unless that was done before, and waits for that within bounds. When the LISTEN fails,
 * or the wait is over, `undo` removes what was added. `present` gives the run, which may be another one by then.
 */
export async function subscribe(
  subscriptions: Subscriptions,
  present: () => Run | undefined,
  subscription: Subscription,
  bounds: WaitOptions,
  undo: () => void,
): Promise<void> {
  const run = present()
  if (!run?.lifecycle.isOpen) return
  let hasFailed = false
  const ready = (subscription.ready ??= run.subscribe(subscription))
  const listening = ready.catch((error: unknown) => {
    hasFailed = true
    throw error
  })
  try {
    await settledWithin(
      bounds,
      listening,
      (timeoutMs) =>
        new ListenerTimeoutError(
          `subscribing to channel \`${subscription.name}\` took longer than ${timeoutMs} ms`,
        ),
    )
  } catch (error) {
    undo()
    if (hasFailed && subscription.ready === ready) {
      if (!subscription.wanted) subscriptions.delete(subscription)
      subscription.ready = undefined
    } else {
      // A LISTEN is under way, this one or that of another run, and others may wait for it.
      unsubscribeUnwanted(subscriptions, present(), [subscription]).catch(() => {})
    }
    throw error
  }
  subscription.committed(ready)
}

/**
 * Removes those of some subscriptions that are not wanted any more. Resolves once the session has ended their LISTENs.
 */
export async function unsubscribeUnwanted(
  subscriptions: Subscriptions,
  run: Run | undefined,
  changed: readonly Subscription[],
): Promise<void> {
  const unwanted = changed.filter((subscription) => !subscription.wanted)
  for (const subscription of unwanted) {
    subscriptions.delete(subscription)
    run?.consumers.forget(subscription)
  }
  if (!run?.lifecycle.isOpen) return
  const asked = unwanted.filter((subscription) => subscription.ready !== undefined)
  await Promise.all(
    asked.map((subscription) =>
      run.unsubscribe(subscription).catch((error: unknown) => {
        // A session that is gone listens to no channel.
        const isGone =
          error instanceof ListenerClosedError || error instanceof ListenerOverflowError
        if (!isGone) throw error
      }),
    ),
  )
}

/**
 * Removes one registration of a callback. The callback is not started any more, not even for buffered notifications.
 */
export function unregister(
  subscriptions: Subscriptions,
  run: Run | undefined,
  subscription: Subscription,
  registration: Registration,
): void {
  registration.active = false
  subscription.registrations = subscription.registrations.filter((one) => one !== registration)
  if (subscription.isCalled) return
  run?.consumers.setWanted(subscription.name)
  // Buffered notifications were meant for the callbacks that are gone: a new number keeps them from new callbacks.
  const isKept = subscription.explicit || subscription.holds > 0
  if (!isKept || subscriptions.get(subscription.name) !== subscription) return
  subscriptions.renumber(subscription)
  const used = run && !run.lifecycle.hasEnded ? run.renumber(subscription) : NO_NUMBERS
  if (used) subscriptions.forgetFormer(used)
}
