// The metrics of durable subscriptions: what diagnostics channels tell of them, and their lag, which the server is asked for.
import {
  ROOT_CONTEXT,
  type Attributes,
  type BatchObservableResult,
  type Counter,
  type Meter,
} from '@opentelemetry/api'
import type {
  Subscription,
  SubscriptionMessage,
  SubscriptionMoment,
  SubscriptionStats,
} from 'pglisten'
import { hear } from './calls.js'
import { Own } from './names.js'

/** A subscription with whatever events. */
export type AnySubscription = Pick<Subscription, 'name' | 'stats'>

/** How long the answer may take, in milliseconds: whoever collects waits for it. */
const TIMEOUT_MS = 5000

/** The subscriptions whose lag is asked for, held weakly. */
export class LagRegistry {
  readonly #references = new Set<WeakRef<AnySubscription>>()
  readonly #asked = new WeakMap<AnySubscription, Promise<SubscriptionStats>>()

  add(subscription: AnySubscription): void {
    if (this.live().includes(subscription)) return
    this.#references.add(new WeakRef(subscription))
  }

  live(): AnySubscription[] {
    const live: AnySubscription[] = []
    for (const reference of this.#references) {
      const subscription = reference.deref()
      if (subscription) live.push(subscription)
      else this.#references.delete(reference)
    }
    return live
  }

  /** Asks for the counts of a subscription. Whoever collects while the answer is awaited gets the same one. */
  ask(subscription: AnySubscription): Promise<SubscriptionStats> {
    let asked = this.#asked.get(subscription)
    if (!asked) {
      asked = subscription
        .stats({ timeoutMs: TIMEOUT_MS })
        .finally(() => this.#asked.delete(subscription))
      this.#asked.set(subscription, asked)
    }
    return asked
  }
}

/** Feeds the instruments of durable subscriptions. Returns a function that ends that. */
export function measureSubscriptions(meter: Meter, lags: LagRegistry): () => void {
  const counter = (name: string, unit: string, description: string) =>
    meter.createCounter(name, { unit, description })
  const done = counter(Own.subscriptionDone, '{event}', 'Events that are done.')
  const failures = counter(Own.subscriptionFailures, '{attempt}', 'Attempts that have failed.')
  const givenUp = counter(Own.subscriptionGivenUp, '{event}', 'Events that were set apart.')
  const takeovers = counter(
    Own.subscriptionTakeovers,
    '{takeover}',
    'Partitions that were taken over from another process.',
  )
  const counted = new Map<SubscriptionMoment, Counter>([
    ['done', done],
    ['failure', failures],
    ['givenUp', givenUp],
    ['takeover', takeovers],
  ])
  const onMessage = ({ event, subscription, count = 1 }: SubscriptionMessage) => {
    const about = attributes(subscription)
    // A rate begins with the first failure then.
    if (event === 'started') for (const each of counted.values()) each.add(0, about, ROOT_CONTEXT)
    else counted.get(event)?.add(count, about, ROOT_CONTEXT)
  }
  const lag = meter.createObservableGauge(Own.subscriptionLag, {
    unit: '{event}',
    description: 'Events that are committed and not done.',
  })
  const age = meter.createObservableGauge(Own.subscriptionLagAge, {
    unit: 's',
    description: 'How long ago the oldest of them was published; 0 without any.',
  })
  const ask = async (observe: BatchObservableResult) => {
    const asked = lags.live().map(async (subscription) => {
      const about = attributes(subscription.name)
      const stats = await lags.ask(subscription)
      observe.observe(lag, stats.lag.events, about)
      observe.observe(age, (stats.lag.ageMs ?? 0) / 1000, about)
    })
    // One whose pool is closed, or whose server is away or does not answer in time, has no value.
    await Promise.allSettled(asked)
  }
  meter.addBatchObservableCallback(ask, [lag, age])
  const end = hear('pglisten:subscription', onMessage)
  return () => {
    end()
    meter.removeBatchObservableCallback(ask, [lag, age])
  }
}

function attributes(name: string): Attributes {
  return { [Own.subscriptionName]: name }
}
