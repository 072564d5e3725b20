/**
 * What postgres.js 3.4 has for listening and notifying, over a listener: a program moves here by changing its import.
 *
 * @packageDocumentation
 * @module pglisten/compat/postgres
 */
import { ArgumentTypeError, PglistenError } from '../errors.js'
import { clearTimeout, setTimeout } from '../native/timers.js'
import { ConnectionPool } from '../pool.js'
import { poolOptions, type Options } from './postgres-options.js'

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
  /** The options as they were given, without passwords. */
  options: Readonly<Options>
  /**
   * Calls a function for each notification of a channel. Resolves when the LISTEN is committed. `onlisten` is called then,
   * and whenever notifications may have been missed: after each reconnection.
   */
  listen(
    channel: string,
    onnotify: (payload: string) => unknown,
    onlisten?: () => void,
  ): Promise<ListenMeta>
  /** Sends a notification. Resolves when it is committed. */
  notify(channel: string, payload: string): Promise<void>
  /** Waits for notifications that are being sent, for up to `timeout` seconds, and closes every connection. */
  end(options?: { timeout?: number | undefined }): Promise<void>
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

  async function listen(
    channel: string,
    onnotify: (payload: string) => unknown,
    onlisten?: () => void,
  ): Promise<ListenMeta> {
    if (typeof onnotify !== 'function')
      throw new ArgumentTypeError('Expected the second argument of `listen()` to be a function')
    await (starting ??= start())
    const again = () => onlisten?.()
    // In the order of its notifications: a promise that it returns is not waited for.
    const remove = await listener.addCallback(channel, (_, payload) => {
      onnotify(payload)
    })
    listener.addGapCallback(again)
    onlisten?.()
    return {
      state,
      async unlisten() {
        listener.removeGapCallback(again)
        await remove()
      },
    }
  }

  async function notify(channel: string, payload: unknown): Promise<void> {
    const sent = pool.notify(channel, String(payload))
    sending.add(sent)
    await sent.finally(() => sending.delete(sent))
  }

  async function close(timeoutMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, timeoutMs)))
    await Promise.race([Promise.allSettled(sending), late])
    clearTimeout(timer)
    await pool.close({ timeoutMs })
  }

  const { pass: _pass, password: _password, ...shown } = given as Record<string, unknown>
  const end: Sql['end'] = ({ timeout = 5 } = {}) => (ending ??= close(timeout * 1000))
  const sql = () => {
    throw onlyListens('a query')
  }
  Object.assign(sql, { options: Object.freeze(shown), listen, notify, end })
  for (const name of OF_QUERIES)
    Object.defineProperty(sql, name, {
      get: () => {
        throw onlyListens(`\`sql.${name}\``)
      },
    })
  return sql as unknown as Sql
}

const onlyListens = (what: string) =>
  new PglistenError(
    `${what} needs the package \`postgres\`: \`pglisten/compat/postgres\` only listens and notifies`,
  )

// For `import` as compilers to CommonJS write it.
Object.defineProperty(postgres, 'default', { value: postgres })

export default postgres
