// The sleep of a worker: publishers ring a bell while it sleeps, and only then.
import { randomUUID } from 'node:crypto'
import type { Bell } from './bell.js'
import { withConnection, type DurableOwner } from './owner.js'
import type { Partition } from './partition.js'
import type { WorkerSettings } from './settings.js'
import { waited } from './wait.js'

/** How soon it is looked again, at first and at last, while a publisher is open that may not have seen that the worker sleeps, in milliseconds. */
const OPEN_PUBLISHER_POLL_MS = 5
const MAX_OPEN_PUBLISHER_POLL_MS = 1000

/** Puts a worker to sleep, and wakes it. */
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
  /** Whether publishers ring for the worker. */
  #isFlagged = false
  /** Takes that back. */
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

  /** Sleeps until there may be something to do. */
  async sleep(): Promise<void> {
    await this.#rousing
    let poll = OPEN_PUBLISHER_POLL_MS
    let fence: bigint | undefined
    while (!this.#stop.aborted) {
      const { rung, cancel } = this.#bell.next(this.#channels)
      try {
        const seen = await withConnection(this.#owner, async (connection) => {
          // All are sent before the first is answered: one round trip.
          const dozing = fence ?? this.#partition.doze(connection, this.#id)
          const [flagged, look] = await Promise.all([dozing, this.#partition.look(connection)])
          return { flagged, ...look }
        })
        fence = seen.flagged
        if (!this.#isFlagged) this.#onAsleep(true)
        this.#isFlagged = true
        if (seen.hasMore) break
        const isQuiet = seen.openFrom > fence
        await waited(isQuiet ? this.#safetyNetMs : poll, this.#stop, rung)
        if (!isQuiet) poll = Math.min(2 * poll, MAX_OPEN_PUBLISHER_POLL_MS)
        // The flag would be taken for that of a worker that is gone.
        else if (!this.#stop.aborted) break
      } finally {
        cancel()
      }
    }
    this.#rouse()
  }

  /** Takes the flag back, if there is one, and waits for that. */
  async end(): Promise<void> {
    this.#rouse()
    await this.#rousing
  }

  /** Has publishers no longer ring for the worker. It does not wait for that: a bell too many does no harm. */
  #rouse(): void {
    if (!this.#isFlagged) return
    this.#isFlagged = false
    this.#onAsleep(false)
    this.#rousing = this.#partition.rouse(this.#id).catch(() => {})
  }
}
