// What the page knows. All of it is bounded, however long the page is open.

const MAX_ITEMS = 1000
const MAX_GAPS = 100

/**
 * @typedef {import('../src/wire.js').Message} Message
 * @typedef {import('../src/wire.js').GapRecord} GapRecord
 * @typedef {import('../src/wire.js').ServerState} ServerState
 * @typedef {import('../src/wire.js').Activity} Activity
 *
 * @typedef {object} Channel
 * @property {string} name
 * @property {number} slot The place of its colour.
 * @property {number} total
 * @property {number[]} seconds Counts of the last seconds, the newest last.
 *
 * @typedef {{ kind: 'message', key: string, message: Message }} MessageItem
 * @typedef {{ kind: 'note', key: string, at: number, text: string }} NoteItem A break in the list.
 * @typedef {MessageItem | NoteItem} Item
 *
 * @typedef {'channels' | 'items' | 'second' | 'server' | 'gaps' | 'activity' | 'settings' | 'link'} Change
 */

export class Store {
  /** @type {Map<string, Channel>} */
  channels = new Map()
  /** The last messages and the breaks among them, the newest last. @type {Item[]} */
  items = []
  /** @type {GapRecord[]} */
  gaps = []
  secondEndedAt = 0
  /** How many messages of the last second are shown, and how many there were. */
  lastSecond = { shown: 0, seen: 0 }
  /** @type {ServerState | null} */
  server = null
  /** @type {Activity | null} */
  activity = null
  /** @type {import('../src/wire.js').Settings} */
  settings = { allowSend: false, rate: 50, seconds: 300 }
  /** Whether the console can be reached, and since when. */
  link = { isOpen: false, since: Date.now() }
  #startedAt = 0
  #lastId = 0
  #lastGapId = 0
  #noteCount = 0
  /** @type {Map<Change, Array<() => void>>} */
  #followers = new Map()

  /** Calls the function after each change of one of these kinds. @param {Change[]} changes @param {() => void} follower */
  follow(changes, follower) {
    for (const change of changes) {
      this.#followers.set(change, [...(this.#followers.get(change) ?? []), follower])
    }
  }

  /** @param {import('../src/wire.js').Snapshot} snapshot */
  replace(snapshot) {
    const isSame = snapshot.startedAt === this.#startedAt
    const isFirst = this.#startedAt === 0
    if (!isSame) {
      this.#lastId = 0
      this.#lastGapId = 0
      this.channels.clear()
      if (!isFirst) this.#note(snapshot.startedAt, 'The console was started again')
    }
    this.#startedAt = snapshot.startedAt
    const before = this.channels
    this.channels = new Map()
    for (const { name, total, seconds } of snapshot.channels) {
      const slot = before.get(name)?.slot ?? this.#freeSlot(before)
      this.channels.set(name, { name, slot, total, seconds })
    }
    this.secondEndedAt = snapshot.secondEndedAt
    this.gaps = snapshot.gaps
    this.server = snapshot.server
    this.activity = snapshot.activity
    this.settings = snapshot.settings
    const [oldest] = snapshot.messages
    // The page had no connection, or did not read.
    if (isSame && oldest !== undefined && oldest.id > this.#lastId + 1)
      this.#note(oldest.at, 'Messages are left out here: the page shows the newest')
    this.#addItems(snapshot.messages, snapshot.gaps)
    this.#tell('channels', 'items', 'second', 'server', 'gaps', 'activity', 'settings')
  }

  /** @param {import('../src/wire.js').Sample} sample */
  addMessages({ totals, messages }) {
    for (const [name, total] of totals) {
      const channel = this.channels.get(name)
      if (channel) channel.total = total
    }
    this.#addItems(messages, [])
    this.#tell('items')
  }

  /** @param {import('../src/wire.js').Second} second */
  endSecond({ at, counts, shown, seen }) {
    this.secondEndedAt = at
    this.lastSecond = { shown, seen }
    for (const [name, count] of counts) {
      const seconds = this.channels.get(name)?.seconds
      if (seconds === undefined) continue
      seconds.push(count)
      if (seconds.length > this.settings.seconds) seconds.shift()
    }
    this.#tell('second')
  }

  /** @param {GapRecord} gap */
  addGap(gap) {
    this.gaps = [...this.gaps, gap].slice(-MAX_GAPS)
    this.#addItems([], [gap])
    this.#tell('gaps', 'items')
  }

  /** @param {ServerState} server */
  setServer(server) {
    this.server = server
    this.#tell('server')
  }

  /** @param {Activity} activity */
  setActivity(activity) {
    this.activity = activity
    this.#tell('activity')
  }

  /** @param {boolean} isOpen Whether the console can be reached. */
  setLink(isOpen) {
    if (this.link.isOpen === isOpen) return
    const { since } = this.link
    this.link = { isOpen, since: Date.now() }
    if (isOpen && this.#startedAt !== 0) {
      this.#note(
        since,
        `This page had no connection for ${((Date.now() - since) / 1000).toFixed(1)} s`,
      )
      this.#tell('items')
    }
    this.#tell('link')
  }

  /** Adds what is not there yet. @param {Message[]} messages @param {GapRecord[]} gaps Both in their order. */
  #addItems(messages, gaps) {
    const rest = gaps.filter(({ id }) => id > this.#lastGapId)
    this.#lastGapId = rest.at(-1)?.id ?? this.#lastGapId
    const addGapsBefore = (/** @type {number} */ id) => {
      for (let gap = rest[0]; gap !== undefined && gap.after < id; gap = rest[0]) {
        rest.shift()
        this.#note(gap.lostAt, describeGap(gap))
      }
    }
    for (const message of messages) {
      if (message.id <= this.#lastId) continue
      addGapsBefore(message.id)
      this.#lastId = message.id
      this.items.push({ kind: 'message', key: `m${message.id}/${this.#startedAt}`, message })
    }
    addGapsBefore(Infinity)
    if (this.items.length > MAX_ITEMS) this.items = this.items.slice(-MAX_ITEMS)
  }

  /** @param {number} at @param {string} text */
  #note(at, text) {
    this.#noteCount += 1
    this.items.push({ kind: 'note', key: `n${this.#noteCount}`, at, text })
  }

  /** The lowest place of a colour that no channel has. @param {Map<string, Channel>} before */
  #freeSlot(before) {
    const taken = new Set([...before.values(), ...this.channels.values()].map(({ slot }) => slot))
    for (let slot = 0; ; slot += 1) if (!taken.has(slot)) return slot
  }

  /** @param {Change[]} changes */
  #tell(...changes) {
    const followers = new Set(changes.flatMap((change) => this.#followers.get(change) ?? []))
    for (const follower of followers) follower()
  }
}

/** @param {GapRecord} gap */
export function describeGap({ reason, dropped, lostAt, resumedAt }) {
  if (reason === 'overflow') {
    return `Gap: the console was too slow, ${dropped ?? 'an unknown number of'} messages were dropped`
  }
  const seconds = ((resumedAt - lostAt) / 1000).toFixed(1)
  return `Gap: messages of ${seconds} s may be missing (${reason})`
}
