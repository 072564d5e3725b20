// A run of the source `durable`: it stands by for the lock, and works a durable subscription while it has it.
import type { Listener, Transaction } from 'pglisten'
import { RelayError, textOf } from '../errors.js'
import { TermEnded, type Outlet } from '../nats/outlet.js'
import { Backoff, untilEither } from '../nats/sleep.js'
import type { StreamReader } from '../nats/stream.js'
import { DurableTerm, readTail, relayDurable, withinShare } from '../postgres/durable.js'
import { gapSubjectOf, ownSubjectsOf, subjectOf } from '../wire/subjects.js'
import { isFinal, makeLeader } from './postgres.js'
import type { Scene } from './scene.js'
import { openOutlet, readEnd, readerOf } from './stream.js'

/** Runs until `soft` is aborted. Rejects with what going on would not mend. */
export async function runDurable(scene: Scene, listener: Listener): Promise<void> {
  const { options, status, pool, link, soft, hard } = scene
  const { name: _, ...given } = options.durable!
  const subscription = pool.subscription(options.durable!.name, {
    channels: options.channels,
    ...given,
    // What fails is NATS, and not an event.
    maxAttempts: 2_147_483_647,
    onFailure: 'stop',
  })
  subscription.on('warning', ({ message, error }) => status.warn(message, error))
  const backoff = new Backoff(50, 1000)
  const terms = new Terms(scene, backoff)
  const leader = makeLeader(scene, listener)
  await listener.startup({ retry: true, signal: soft })
  while (!soft.aborted) {
    await link.connected(soft)
    await leader.acquire(soft)
    const lost = new AbortController()
    const end = (error: unknown) => {
      lost.abort(error)
      status.endTerm()
      status.become('connecting', textOf(error))
    }
    const notLost = link.whenLost(end)
    const onDisconnected = ({ error }: { error: unknown }) => end(error)
    listener.on('disconnected', onDisconnected)
    try {
      if (!link.isConnected) throw new TermEnded('lock', 'the connection to NATS was lost')
      if (!(await leader.keeps(soft)))
        throw new TermEnded('lock', 'the session that had the lock was lost')
      // Its epoch begins with its first event.
      status.become('leading')
      await untilEither(soft, lost.signal, (taking) =>
        untilEither(hard, lost.signal, (storing) =>
          relayDurable(subscription, (tx, signal) => terms.begin(tx, signal), { taking, storing }),
        ),
      )
    } catch (error) {
      terms.failed(error)
      if (!soft.aborted) {
        if (!lost.signal.aborted && isFinal(error)) throw error
        status.warn('the events could not be stored, and are tried again', error)
      }
    } finally {
      notLost()
      listener.off('disconnected', onDisconnected)
      terms.end()
      status.endTerm()
      if (!soft.aborted) status.become('connecting')
    }
    if (soft.aborted) return
    // Another relay may be able to store them.
    await leader.release()
    await backoff.wait(soft)
  }
}

/** The times of leading of a run, of which the stream has the beginnings. */
class Terms {
  readonly #scene: Scene
  readonly #backoff: Backoff
  readonly #stream: StreamReader
  #outlet: Outlet | undefined
  #hasLed = false
  #isReset = false

  constructor(scene: Scene, backoff: Backoff) {
    this.#scene = scene
    this.#backoff = backoff
    this.#stream = readerOf(scene)
  }

  /** Begins to lead, in the transaction of the first batch. */
  async begin(tx: Transaction, storing: AbortSignal): Promise<DurableTerm> {
    const { options, status, database } = this.#scene
    const { prefix, durable } = options
    const { name: subscription, maxHandlerMs } = durable!
    const { tail, ...end } = await this.#read(storing)
    this.end()
    const outlet = openOutlet(this.#scene, this.#stream, end)
    this.#outlet = outlet
    const other = tail.previous !== null || this.#hasLed ? 'takeover' : 'relay-start'
    const term = new DurableTerm(outlet, tail, {
      subscription,
      subjectOf: (channel) => subjectOf(prefix, database, channel),
      gapSubject: gapSubjectOf(prefix, database),
      reason: this.#isReset ? 'stream-reset' : other,
      maxHandlerMs,
    })
    await term.begin(tx, storing)
    storing.throwIfAborted()
    this.#hasLed = true
    this.#isReset = false
    status.lead(outlet.counters.epoch)
    this.#backoff.reset()
    return term
  }

  /** Where the stream ends, back to where the position of the subscription has moved for certain. */
  #read(storing: AbortSignal) {
    const { options, database, soft } = this.#scene
    const { prefix, channels, durable } = options
    const subjects = channels.map((channel) => subjectOf(prefix, database, channel))
    const read = async (asking: AbortSignal) => {
      const end = await readEnd(this.#scene, this.#stream, asking)
      const [hole] = end.holes
      if (hole) {
        throw new RelayError(
          `a durable source needs a stream without holes, and of ${options.stream} ${hole.what}; ${hole.advice}`,
        )
      }
      const own = ownSubjectsOf(prefix, database)
      return { ...end, tail: await readTail(this.#stream, own, subjects, asking) }
    }
    // A relay that is ended has nothing to store yet.
    return withinShare(durable!.maxHandlerMs, storing, (signal) => untilEither(soft, signal, read))
  }

  /** Why a time of leading has ended. */
  failed(error: unknown): void {
    if (error instanceof TermEnded && error.reason === 'reset') this.#isReset = true
  }

  end(): void {
    this.#outlet?.close()
    this.#outlet = undefined
  }
}
