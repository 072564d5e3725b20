// What the console tells its pages, as JSON in server-sent events. Moments are in milliseconds since 1970.

export interface Message {
  /** Its number among all messages of the console, from 1. */
  id: number
  /** When it was read. */
  at: number
  channel: string
  /** The backend that notified. */
  processId: number
  payload: string
}

export interface GapRecord {
  /** Its number, from 1. */
  id: number
  /** The id of the last message before it; 0 for none. */
  after: number
  reason: string
  lostAt: number
  resumedAt: number
  dropped: number | null
  message: string
}

export interface ServerState {
  state: 'connecting' | 'connected' | 'away'
  since: number
  /** Why the server is away. */
  reason: string | null
  /** The database and the server, for people to read. */
  address: string
}

export interface Session {
  processId: number
  application: string
  user: string
  state: string
  /** How long it has been in that state. */
  seconds: number | null
  /** What its last statement says of it. */
  seen: 'console' | 'pglisten' | 'listen' | 'unknown'
  /** For a session of pglisten: how many listeners and channels. */
  serves: string | null
}

/** The event `activity`. */
export interface Activity {
  at: number
  sessions: Session[]
  /** How many sessions there are, also those that are left out. */
  total: number
  /** The part of the queue of notifications that is full, from 0 to 1. */
  queueUsage: number | null
  /** Why there is no answer. */
  error: string | null
}

export interface Settings {
  allowSend: boolean
  /** The most messages that a page is sent in a second. */
  rate: number
  /** How many seconds the rates go back. */
  seconds: number
}

/** The event `snapshot`: everything, for a page that is new or could not be told of something. */
export interface Snapshot {
  /** Tells a page that comes back whether it comes back to the same console. */
  startedAt: number
  /** `seconds` are the counts of the last seconds, the newest last. */
  channels: Array<{ name: string; total: number; seconds: number[] }>
  messages: Message[]
  gaps: GapRecord[]
  /** When the newest whole second ended. */
  secondEndedAt: number
  server: ServerState
  activity: Activity | null
  settings: Settings
}

/** The event `messages`: a sample, and the exact totals. */
export interface Sample {
  totals: Array<[channel: string, total: number]>
  messages: Message[]
}

/** The event `second`: the exact counts of a second that is over. */
export interface Second {
  at: number
  counts: Array<[channel: string, count: number]>
  /** How many of its messages were in samples, and how many there were. */
  shown: number
  seen: number
}
