// The sleep of a worker: publishers ring a bell while it sleeps, and only then.
import { randomUUID } from 'node:crypto'
import type { Connection } from '../query/connection.js'
import type { Bell } from './bell.js'
import { withConnection, type DurableOwner } from './owner.js'
import type { Partition } from './partition.js'
import type { WorkerSettings } from './settings.js'
import { outlasting, waited } from './wait.js'

/** How soon it is looked again, at first and at last, while a publisher is open that may not have seen that the worker sleeps, in milliseconds. */
const OPEN_PUBLISHER_POLL_MS = 5
const MAX_OPEN_PUBLISHER_POLL_MS = 250

/** The flag by which publishers know that they have to ring. */
interface Flag {
  /** Publishers whose transaction ids come after it have seen the flag. */
  readonly fence: bigint
  /** When it was set, by `performance.now()`. */
  readonly since: number
  /** Whether all publishers that may have missed it have ended. */
  isSeen: boolean
}

/**
 * Puts a worker to sleep, and wakes it. Publishers ring while it is flagged. The flag outlasts the sleep: for as long as little comes, each
 * event costs its bell, and no flag that is set and taken back.
 */
export class Sleep {
  readonly #owner: DurableOwner
  readonly #partition: Partition
  readonly #bell: Bell
  readonly #channels: ReadonlySet<string>
  readonly #safetyNetMs: number
  readonly #stop: AbortSignal
  readonly #onAsleep: (isAsleep: boolean) => void
  /** Names the worker. */
  readonly #id = randomUUID()
  #flag: Flag | undefined
  /** Whether there may be a flag, good or not. */
  #isFlagged = false
  /** Takes the last one back. */
  #rousing: Promise<void> | undefined

  constructor({ owner, options, bell, events, stop }: WorkerSettings, partition: Partition) {
    this.#owner = owner
    this.#partition = partition
    this.#bell = bell
    this.#channels = new Set(options.channels)
    this.#safetyNetMs = options.safetyNetMs
    this.#stop = stop
    this.#onAsleep = (isAsleep) => events.onAsleep(isAsleep)
  }

  /** Whether publishers ring for the worker. */
  get isFlagged(): boolean {
    return this.#isFlagged
  }

  /** Sleeps until there may be something to do. */
  async sleep(): Promise<void> {
    await this.#rousing
    let poll = OPEN_PUBLISHER_POLL_MS
    let isAsleep = false
    try {
      while (!this.#stop.aborted) {
        const { rung, cancel } = this.#bell.next(this.#channels)
        try {
          const look = (await this.#look()) ?? (await this.#look())
          // The subscription was dropped: who takes from it is told.
          if (!look) return
          const { flag, hasMore } = look
          if (!isAsleep) this.#onAsleep(true)
          isAsleep = true
          if (hasMore) return
          await waited(flag.isSeen ? this.#safetyNetMs : poll, this.#stop, rung)
          if (!flag.isSeen) poll = Math.min(2 * poll, MAX_OPEN_PUBLISHER_POLL_MS)
          // The next sleep sets another one, before this one is taken for that of a worker that is gone.
          else return
        } finally {
          cancel()
        }
      }
    } finally {
      if (isAsleep) this.#onAsleep(false)
    }
  }

  /** Looks whether there is something to do, with a flag that is up. `undefined`: it was not, and is to be set. */
  async #look(): Promise<{ flag: Flag; hasMore: boolean } | undefined> {
    const since = performance.now()
    const known = this.#flag
    const isGood = known && since - known.since < this.#safetyNetMs
    const signal = this.#stop
    const asking = async (connection: Connection) => {
      this.#isFlagged = true
      // All are sent before the first is answered: one round trip.
      const dozing = isGood ? known.fence : this.#partition.doze(connection, this.#id, signal)
      const [fence, { hasMore, openFrom, isFlagged }] = await Promise.all([
        dozing,
        this.#partition.look(connection, this.#id, signal),
      ])
      // A crash may have undone it, and whoever dropped the subscription, or adopted a dump, has.
      this.#flag = undefined
      if (!isFlagged) return undefined
      const flag = isGood ? known : { fence, since, isSeen: false }
      flag.isSeen ||= openFrom > fence
      this.#flag = flag
      return { flag, hasMore }
    }
    return withConnection(this.#owner, asking, { signal })
  }

  /** Takes the flag back, if there is one, and waits for that, though not for long. */
  async end(): Promise<void> {
    this.rouse()
    await this.#rousing
  }

  /** Has publishers no longer ring for the worker. It does not wait for that: a bell too many does no harm. */
  rouse(): void {
    if (!this.#isFlagged) return
    this.#isFlagged = false
    this.#flag = undefined
    const rousing = outlasting(this.#stop, (signal) => this.#partition.rouse(this.#id, signal))
    this.#rousing = rousing.catch(() => {})
  }
}
