/**
 * What postgres.js 3.4 has for listening and notifying, over a listener: a program moves here by changing its import.
 *
 * @packageDocumentation
 * @module pglisten/compat/postgres
 */
import {
  ArgumentTypeError,
  ConnectionPoolExecuteError,
  ListenerCallbackError,
  PglistenError,
} from '../errors.js'
import { clearTimeout, setTimeout } from '../native/timers.js'
import { ConnectionPool } from '../pool.js'
import { poolOptions, type Options } from './postgres-options.js'
import { MAX_DELAY_MS, checkLimit } from './settings.js'

export type { Options } from './postgres-options.js'

/** What `listen()` resolves to. */
export interface ListenMeta {
  /** The session that listens, at any time. */
  state: {
    /** `I`: no transaction is open. */
    readonly status: string
    /** The process id of its backend, which a reconnection changes; 0 while there is no session. */
    readonly pid: number
  }
  /** Ends this registration. Resolves when the server does not listen for it any more. */
  unlisten(): Promise<void>
}

/** The part of postgres.js that listens and notifies. Everything else throws an error. */
export interface Sql {
  /** The options as they were given, without passwords, keys and whole addresses. */
  options: Readonly<Options>
  /**
   * Calls a function for each notification of a channel. Resolves when the LISTEN is committed. `onlisten` is called then,
   * and whenever notifications may have been missed: after each reconnection. Nobody waits for promises that the functions
   * return. After `end()` it rejects, as `notify()` does.
   */
  listen(
    channel: string,
    onnotify: (payload: string) => unknown,
    onlisten?: () => void,
  ): Promise<ListenMeta>
  /** Sends a notification. Resolves when it is committed. */
  notify(channel: string, payload: string): Promise<void>
  /**
   * Waits for notifications that are being sent, for up to `timeout` seconds, and closes every connection. What is being sent then
   * is cancelled, and given up within a second. `Infinity` is no limit; rejects for a `timeout` that is no number from 0 on, and
   * closes nothing then. @default 5
   */
  end(options?: { timeout?: number | null | undefined }): Promise<void>
}

/** Members of postgres.js that are about queries. */
const OF_QUERIES = [
  ...['array', 'begin', 'close', 'file', 'json', 'largeObject', 'reserve', 'subscribe', 'typed'],
  ...['types', 'unsafe', 'parameters', 'PostgresError', 'CLOSE', 'END'],
]

/** Makes what listens and notifies, with the API of [postgres.js](https://github.com/porsager/postgres) 3.4. */
function postgres(options?: Options): Sql
/**
 * Makes what listens and notifies. It opens no connection before the first call.
 *
 * @param url - The address of the server.
 * @param options - Options, which have precedence over the address.
 * @throws `ConnectionPoolConfigurationError` when an option is wrong.
 */
function postgres(url: string | undefined, options?: Options): Sql
function postgres(first?: string | Options, second: Options = {}): Sql {
  const given = typeof first === 'object' ? first : second
  const address = typeof first === 'string' ? { dsn: first } : {}
  const pool = new ConnectionPool({ ...address, ...poolOptions(given) })
  const listener = pool.listener()
  const sending = new Set<Promise<void>>()
  const state: ListenMeta['state'] = {
    status: 'I',
    get pid() {
      return listener.stats().session?.processId ?? 0
    },
  }
  let starting: Promise<void> | undefined
  let ending: Promise<void> | undefined

  async function start(): Promise<void> {
    try {
      await listener.startup()
      listener.listen()
    } catch (error) {
      starting = undefined
      throw error
    }
  }

  function checkOpen(): void {
    if (ending) throw new ConnectionPoolExecuteError('`sql.end()` was called')
  }

  /** Calls a function of the user's, whose promise nobody waits for. */
  function call(work: () => unknown, channel: string, payload?: string): void {
    const result = work() as PromiseLike<unknown> | null | undefined
    if (typeof result?.then === 'function') void report(result, channel, payload)
  }

  /** Tells why a promise rejects, as it is told what a callback throws: unhandled it would end the process. */
  async function report(promise: PromiseLike<unknown>, channel: string, payload?: string) {
    try {
      await promise
    } catch (cause) {
      const about = { cause, channel, payload }
      listener.report('error', new ListenerCallbackError('a callback rejected', about))
    }
  }

  async function listen(
    channel: string,
    onnotify: (payload: string) => unknown,
    onlisten?: () => void,
  ): Promise<ListenMeta> {
    if (typeof onnotify !== 'function')
      throw new ArgumentTypeError('Expected the second argument of `listen()` to be a function')
    checkOpen()
    await (starting ??= start())
    // A listener that was shut down meanwhile would only note the channel for its next start.
    checkOpen()
    const again = () => call(() => onlisten?.(), channel)
    const remove = await listener.addCallback(channel, (_, payload) =>
      call(() => onnotify(payload), channel, payload),
    )
    listener.addGapCallback(again)
    const unlisten = async () => {
      listener.removeGapCallback(again)
      await remove()
    }
    try {
      again()
    } catch (error) {
      await unlisten()
      throw error
    }
    return { state, unlisten }
  }

  async function notify(channel: string, payload: unknown): Promise<void> {
    checkOpen()
    const sent = pool.notify(channel, String(payload))
    sending.add(sent)
    await sent.finally(() => sending.delete(sent))
  }

  async function close(timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, timeoutMs)))
    await Promise.race([Promise.allSettled(sending), late])
    clearTimeout(timer)
    await pool.close({ timeoutMs: Math.max(0, deadline - performance.now()) })
  }

  // What is wrong is refused before anything ends, so that it can be called again.
  const end: Sql['end'] = async (options) => {
    const given: unknown = options?.timeout
    const seconds = Number(given ?? 5)
    checkLimit('timeout', seconds)
    await (ending ??= close(Math.min(seconds * 1000, MAX_DELAY_MS)))
  }
  const sql = () => {
    throw onlyListens('a query')
  }
  Object.assign(sql, { options: Object.freeze(withoutSecrets(given)), listen, notify, end })
  for (const name of OF_QUERIES)
    Object.defineProperty(sql, name, {
      get: () => {
        throw onlyListens(`\`sql.${name}\``)
      },
    })
  return sql as unknown as Sql
}

const SECRETS = new Set(['pass', 'password', 'dsn', 'listenDsn', 'key'])

/** The options that may be shown; `ssl` has a key too. */
function withoutSecrets(options: object): object {
  const shown = Object.entries(options).filter(([name]) => !SECRETS.has(name))
  return Object.fromEntries(
    shown.map(([name, value]: [string, unknown]) => [
      name,
      name === 'ssl' && typeof value === 'object' && value !== null ? withoutSecrets(value) : value,
    ]),
  )
}

const onlyListens = (what: string) =>
  new PglistenError(
    `${what} needs the package \`postgres\`: \`pglisten/compat/postgres\` only listens and notifies`,
  )

// For `import` as compilers to CommonJS write it.
Object.defineProperty(postgres, 'default', { value: postgres })

export default postgres
