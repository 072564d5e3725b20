// A small web server that says whether the relay lives and whether it works, for whoever restarts and watches processes.
import { createServer, type Server, type ServerResponse } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { RelayOptionError } from './errors.js'
import { checkInteger, checkNames, checkText } from './options/checks.js'
import type { Relay, RelayStats } from './relay.js'

/** The host of the URLs that are made of paths. Nothing asks for it. */
const ANY_HOST = 'http://localhost'

/** Where {@link serveHealth} listens. */
export interface HealthOptions {
  /** The port; 0 for any that is free. */
  port: number
  /** The address. @default '127.0.0.1' */
  host?: string | undefined
}

/** A server that tells of the health of a relay. */
export interface HealthServer {
  /** Its address, such as `http://127.0.0.1:8222`. */
  url: string
  /** Ends it. */
  close: () => Promise<void>
}

/** @internal Checks where to listen. */
export function checkHealth(options: HealthOptions): { port: number; host: string } {
  checkNames('health', options, ['port', 'host'])
  return {
    port: checkInteger('health.port', options.port, 0, 65_535),
    host: checkText('health.host', options.host) ?? '127.0.0.1',
  }
}

/**
 * Serves `/healthz`, which answers 200 for as long as the relay runs, and `/readyz`, which answers 200 while the relay leads or stands by
 * with PostgreSQL and NATS connected, and 503 otherwise. Both tell {@link RelayStats} as JSON. Nothing that is secret is among it, but
 * whoever reaches the address can read it. Rejects with {@link RelayOptionError} when an option is wrong, or the address is not free.
 */
export async function serveHealth(relay: Relay, options: HealthOptions): Promise<HealthServer> {
  const { port, host } = checkHealth(options)
  const server = createServer((request, response) => {
    const url = request.url ?? '/'
    // A client may ask for anything, such as `//`, of which no URL can be made.
    const page = URL.canParse(url, ANY_HOST) ? new URL(url, ANY_HOST).pathname : undefined
    const stats = relay.stats()
    if (request.method !== 'GET' && request.method !== 'HEAD') answer(response, 405, {})
    else if (page === '/healthz') answer(response, stats.role === 'stopped' ? 503 : 200, stats)
    else if (page === '/readyz') answer(response, isReady(stats) ? 200 : 503, stats)
    else answer(response, 404, {})
  })
  server.listen(port, host)
  try {
    await once(server, 'listening')
  } catch (error) {
    const { code } = error as { code?: string }
    throw new RelayOptionError(
      `Expected \`health\` to be an address that is free, got ${host}:${port} (${code})`,
      { cause: error },
    )
  }
  server.unref()
  return { url: urlOf(server, host), close: () => close(server) }
}

/** Whether the relay stores notifications, or would at once if the leader went. */
export const isReady = ({ role, isNatsConnected, postgres }: RelayStats): boolean =>
  (role === 'leading' || role === 'standby') && isNatsConnected && postgres === 'connected'

function answer(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' })
  response.end(`${JSON.stringify(body)}\n`)
}

function urlOf(server: Server, host: string): string {
  const { port } = server.address() as AddressInfo
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`
}

async function close(server: Server): Promise<void> {
  const closed = once(server, 'close')
  server.close()
  server.closeAllConnections()
  await closed
}
