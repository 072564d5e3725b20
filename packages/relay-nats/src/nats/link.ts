// The connection to NATS: for ever reconnecting, and told about at once when it is lost.
//
// What a client publishes while it reconnects is thrown away without a word, so nothing may be published then.
import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { checkServerIdentity, type PeerCertificate } from 'node:tls'
import {
  connect,
  createInbox,
  credsAuthenticator,
  nkeyAuthenticator,
  type Authenticator,
  type NatsConnection,
  type NodeConnectionOptions,
  type TlsOptions,
} from '@nats-io/transport-node'
import { RelayOptionError } from '../errors.js'
import { sleep } from './sleep.js'
import type { ResolvedNats } from '../options/options.js'

const CONNECT_RETRY_MS = 500

export interface LinkEvents {
  /** The connection is up, for the first time or again. */
  onConnected: () => void
  /** The connection was lost. */
  onDisconnected: () => void
  /** Something that the client gets over by itself. */
  onWarning: (message: string, error: unknown) => void
}

/** See the file. */
export class Link {
  readonly nc: NatsConnection
  /** The prefix of the subjects of answers. */
  readonly inbox: string
  #isConnected = true
  readonly #waiting = new Set<() => void>()
  readonly #lost = new Set<(error: Error) => void>()
  readonly #refused = new Set<(error: Error) => void>()
  readonly #events: LinkEvents

  private constructor(nc: NatsConnection, inboxPrefix: string, events: LinkEvents) {
    this.nc = nc
    this.inbox = createInbox(inboxPrefix)
    this.#events = events
    void this.#follow()
    events.onConnected()
  }

  /** Connects, however long no server is there. Rejects when `signal` is aborted, or when the credentials cannot be read. */
  static async open(options: ResolvedNats, events: LinkEvents, signal: AbortSignal): Promise<Link> {
    const settings = connectionOptions(options)
    for (;;) {
      signal.throwIfAborted()
      try {
        const nc = await connect(settings)
        if (signal.aborted) await nc.close()
        signal.throwIfAborted()
        return new Link(nc, options.inboxPrefix, events)
      } catch (error) {
        signal.throwIfAborted()
        events.onWarning('NATS cannot be reached', error)
        await sleep(CONNECT_RETRY_MS, signal)
      }
    }
  }

  get isConnected(): boolean {
    return this.#isConnected && !this.nc.isClosed()
  }

  /** Resolves as soon as there is a connection. */
  async connected(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (this.isConnected) return
    await new Promise<void>((resolve, reject) => {
      const settle = () => {
        this.#waiting.delete(settle)
        signal.removeEventListener('abort', settle)
        if (signal.aborted) reject(signal.reason as Error)
        else resolve()
      }
      this.#waiting.add(settle)
      signal.addEventListener('abort', settle)
    })
  }

  /** Calls `onLost` when the connection is lost, until the returned function is called. */
  whenLost(onLost: (error: Error) => void): () => void {
    this.#lost.add(onLost)
    return () => void this.#lost.delete(onLost)
  }

  /** Calls `onRefused` when the server refuses to let this client publish, until the returned function is called. */
  whenRefused(onRefused: (error: Error) => void): () => void {
    this.#refused.add(onRefused)
    return () => void this.#refused.delete(onRefused)
  }

  async close(): Promise<void> {
    this.#isConnected = false
    await this.nc.close()
  }

  async #follow(): Promise<void> {
    for await (const status of this.nc.status()) {
      if (status.type === 'disconnect' || status.type === 'staleConnection') this.#onLost()
      else if (status.type === 'reconnect') this.#onConnected()
      else if (status.type === 'error') this.#onError(status.error)
    }
    // The client has given up, such as after its credentials were refused twice.
    this.#onLost()
  }

  #onLost(): void {
    if (!this.#isConnected) return
    this.#isConnected = false
    const error = new Error('the connection to NATS was lost')
    for (const tell of this.#lost) tell(error)
    this.#events.onDisconnected()
  }

  #onConnected(): void {
    this.#isConnected = true
    this.#events.onConnected()
    for (const settle of this.#waiting) settle()
  }

  #onError(error: Error): void {
    if (/permissions violation for publish/i.test(error.message))
      for (const tell of this.#refused) tell(error)
    this.#events.onWarning('NATS reports an error', error)
  }
}

function readSecret(name: string, file: string): Uint8Array {
  try {
    return readFileSync(file)
  } catch (error) {
    const { code } = error as { code?: string }
    throw new RelayOptionError(
      `Expected \`${name}\` to be a file that can be read, got ${file} (${code})`,
      { cause: error },
    )
  }
}

/**
 * The authenticator of a file of credentials, which each connection reads again. While the file is being renewed it may be missing or cut
 * short: then the last credentials that could be read are used. The client would end for ever when its authenticator throws.
 */
function authenticatorOf(
  name: string,
  file: string,
  make: (content: Uint8Array) => Authenticator,
): Authenticator {
  let known = make(readSecret(name, file))
  return (nonce) => {
    try {
      const present = make(readFileSync(file))
      const answer = present(nonce)
      known = present
      return answer
    } catch {
      return known(nonce)
    }
  }
}

/**
 * Has a certificate looked at: is it that of the server? The client asks for `localhost` when the address of the server is an IP address,
 * so then the certificate has to be for one of the IP addresses that were given.
 */
function withIdentityCheck(tls: TlsOptions, servers: readonly string[]): TlsOptions {
  const hosts = servers.map(
    (server) => new URL(`nats://${server.replace(/^\w+:\/\//, '')}`).hostname,
  )
  const addresses = hosts.map((host) => host.replaceAll(/[[\]]/g, '')).filter((host) => isIP(host))
  const check = (asked: string, certificate: PeerCertificate): Error | undefined => {
    if (asked !== 'localhost' || addresses.length === 0)
      return checkServerIdentity(asked, certificate)
    const wanted = hosts.includes('localhost') ? [...addresses, 'localhost'] : addresses
    const failures = wanted.map((host) => checkServerIdentity(host, certificate))
    return failures.includes(undefined) ? undefined : failures[0]
  }
  // The client hands on to Node.js what it does not know itself.
  return { ...tls, checkServerIdentity: check } as TlsOptions
}

function connectionOptions(options: ResolvedNats): NodeConnectionOptions {
  const { servers, user, password, token, credsFile, nkeyFile, tls, name, inboxPrefix } = options
  // The client would try for ever to read a file that is not there.
  for (const file of ['caFile', 'certFile', 'keyFile'] as const)
    if (tls?.[file] !== undefined) readSecret(`nats.tls.${file}`, tls[file])
  return {
    servers: [...servers],
    name,
    inboxPrefix,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 100,
    reconnectJitter: 100,
    reconnectJitterTLS: 100,
    pingInterval: options.pingIntervalMs,
    timeout: options.connectTimeoutMs,
    // A server that refuses the credentials now may take them later: they are renewed by others.
    ignoreAuthErrorAbort: true,
    ...(user === undefined ? {} : { user }),
    ...(password === undefined ? {} : { pass: password }),
    ...(token === undefined ? {} : { token }),
    ...(credsFile === undefined
      ? {}
      : { authenticator: authenticatorOf('nats.credsFile', credsFile, credsAuthenticator) }),
    ...(nkeyFile === undefined
      ? {}
      : { authenticator: authenticatorOf('nats.nkeyFile', nkeyFile, nkeyAuthenticator) }),
    ...(tls === undefined ? {} : { tls: withIdentityCheck(tls, servers) }),
  }
}
